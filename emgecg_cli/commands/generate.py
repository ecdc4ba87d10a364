"""`medreport generate`: a run in, predictions out."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path
from typing import Annotated

import typer

from emgecg_cli.commands import console, next_steps
from emgecg_cli.commands.options import (
    DownloadOpt,
    InstructionsOpt,
    JsonOpt,
    MovedOpt,
    OutOrPipeOpt,
    RunArg,
    SeedOpt,
    find_one,
    words,
)
from emgecg_cli.core.config import PREDICTIONS, GenerateConfig
from emgecg_cli.core.errors import MedReportError

DECODING = "How the text is made"
MACHINE = "Several processes"
StoreOpt = Annotated[Path | None, typer.Option("--store", metavar="STORE", show_default=False,
                                               help="Another store, a perturbed one say; else the one of training.")]
ReferencesOpt = Annotated[Path | None, typer.Option("--references", metavar="FILE", show_default=False,
                                                   help="Another hospital's references.json, for runs on tables.")]
SplitOpt = Annotated[str, typer.Option("--split", metavar="train|val|test|all",
                                       help="Which records; all: of a store of patients the run was not trained on.",
                                       autocompletion=words("train", "val", "test", "all"))]
SignalOpt = Annotated[str, typer.Option("--signal", metavar="real|shuffled|zeros|noise|none",
                                        autocompletion=words("real", "shuffled", "zeros", "noise", "none"),
                                        help="What the model is shown; shuffled: another patient's recording or "
                                             "values; noise: of each recording's power. Of several inputs, each by "
                                             "name: ecg=shuffled,values=real.")]
LossOpt = Annotated[bool, typer.Option("--reference-loss", help="Also write how likely each reference is to the model, "
                                                                "shown this and another patient's: score compares.")]
BatchOpt = Annotated[int, typer.Option("--batch-size", min=1,
                                     help="Records at once; eight times as many are written together.")]
LimitOpt = Annotated[int | None, typer.Option("--limit", min=1, show_default=False, help="Only the first N records.")]
NewOpt = Annotated[int | None, typer.Option("--max-new-tokens", metavar="N", min=1, show_default=False,
                                            rich_help_panel=DECODING,
                                            help="Longest report, in tokens; if not given, the longest of training and "
                                                 "an eighth more, as far as the backbone's positions go.")]
BeamsOpt = Annotated[int, typer.Option("--num-beams", min=1, rich_help_panel=DECODING, help="Beams; 1 is greedy.")]
LengthOpt = Annotated[float | None, typer.Option("--length-penalty", show_default=False, rich_help_panel=DECODING,
                                                 help="Above 0 beams favour longer reports, below 0 shorter ones.")]
TemperatureOpt = Annotated[float | None, typer.Option("--temperature", show_default=False, rich_help_panel=DECODING,
                                                      help="Sample, with the logits divided by this.")]
TopPOpt = Annotated[float | None, typer.Option("--top-p", show_default=False, rich_help_panel=DECODING,
                                               help="Sample from the likeliest tokens that hold this probability.")]
TopKOpt = Annotated[int | None, typer.Option("--top-k", show_default=False, rich_help_panel=DECODING,
                                             help="Sample from the K likeliest tokens.")]
PenaltyOpt = Annotated[float | None, typer.Option(
    "--repetition-penalty", show_default=False, rich_help_panel=DECODING,
    help="Above 1, tokens the report has already become less likely.")]
NgramOpt = Annotated[int | None, typer.Option("--no-repeat-ngram-size", show_default=False, rich_help_panel=DECODING,
                                              help="No N tokens in a row twice in a report.")]
ProcessesOpt = Annotated[int, typer.Option("--num-processes", min=1, rich_help_panel=MACHINE,
                                           help="Writers on this machine, a GPU each where there are GPUs.")]
WriterOpt = Annotated[str | None, typer.Option(
    "--writer", metavar="R/W", envvar="MEDREPORT_WRITER", show_default=False, rich_help_panel=MACHINE,
    help="Be the R-th of W writers that share the work, on any machines; without it, finish what they left.")]


def generate(run: RunArg = None, store: StoreOpt = None, instructions: InstructionsOpt = None,
             references: ReferencesOpt = None, split: SplitOpt = GenerateConfig.split,
             signal: SignalOpt = GenerateConfig.signal, reference_loss: LossOpt = GenerateConfig.reference_loss,
             limit: LimitOpt = GenerateConfig.limit, batch_size: BatchOpt = GenerateConfig.batch_size,
             max_new_tokens: NewOpt = GenerateConfig.max_new_tokens, num_beams: BeamsOpt = GenerateConfig.num_beams,
             length_penalty: LengthOpt = GenerateConfig.length_penalty,
             temperature: TemperatureOpt = GenerateConfig.temperature, top_p: TopPOpt = GenerateConfig.top_p,
             top_k: TopKOpt = GenerateConfig.top_k, repetition_penalty: PenaltyOpt = GenerateConfig.repetition_penalty,
             no_repeat_ngram_size: NgramOpt = GenerateConfig.no_repeat_ngram_size, seed: SeedOpt = GenerateConfig.seed,
             backbone: MovedOpt = None, allow_download: DownloadOpt = False, num_processes: ProcessesOpt = 1,
             writer: WriterOpt = None, out: OutOrPipeOpt = None, as_json: JsonOpt = False) -> None:
    """Write a report for every record of a split. Killed and run again, it goes on where it stopped."""
    if out == "-" and as_json:
        raise MedReportError("--out - and --json both write to stdout", "leave one of them out")
    if num_processes > 1 and (writer or out == "-"):
        other = "--writer" if writer else "--out -"
        raise MedReportError(f"{other} is one process, not --num-processes {num_processes}", "leave one of them out")
    config = GenerateConfig(split, signal, batch_size, num_beams, max_new_tokens, limit, seed, temperature, top_p,
                            top_k, repetition_penalty, no_repeat_ngram_size, length_penalty, reference_loss)
    number = _writer(writer)
    run = run or find_one("run")
    from emgecg_cli.core.generation import Places, generate_reports, write_parts

    path = Path(out) if out and out != "-" else Path(PREDICTIONS) / f"{_name(run, store, references, config)}.jsonl"
    places = Places(store, instructions, references, backbone, allow_download)
    with console.progress(f"generate {signal}") as progress:
        if num_processes > 1 and (status := write_parts(run, path, config, num_processes, places=places,
                                                        progress=progress)):
            raise typer.Exit(status)
        result = generate_reports(run, sys.stdout if out == "-" else path, config, places=places, writer=number,
                                  progress=progress)
    if result.truncated:
        console.warn(f"{result.truncated} of {result.records} reports had not ended after {result.max_new_tokens} "
                     "tokens and were cut; --max-new-tokens allows longer ones")
    if result.why_static:
        console.note(f"batches ran until their longest report ended: {result.why_static}")
    if result.path is None:
        return
    if result.already_finished:
        console.note(f"{result.path.as_posix()} is finished already")
    if as_json:
        console.print_json(result)
        return
    written = result.written if num_processes == 1 else ""  # by all of them: who knows how much was there before
    truncated = "" if result.truncated is None else result.truncated
    console.table(["predictions", "records", "written now", "at most", "truncated"],
                  [[result.path.as_posix(), result.records, written, result.max_new_tokens, truncated]])
    if number and not result.already_finished:
        console.note(f"when all writers have ended: the same command without --writer finishes {path.as_posix()}")
    else:
        next_steps.after_generate(result.path)


def _writer(given: str | None) -> tuple[int, int] | None:
    """R/W as two numbers."""
    if given is None:
        return None
    numbers = given.split("/")
    if len(numbers) != 2 or not all(number.isdecimal() for number in numbers):
        raise MedReportError(f"--writer is {given}", "give R/W: --writer 1/4 is the first of four")
    return int(numbers[0]), int(numbers[1])


def _name(run: Path, store: Path | None, references: Path | None, config: GenerateConfig) -> str:
    """The name of the predictions: the run's, and whatever differs from the usual."""
    usual = GenerateConfig()
    signal = config.signal.replace("=", "-").replace(",", "-")
    parts = [run.resolve().name, signal if signal != usual.signal else "",
             store.resolve().name if store else "",
             f"references-{references.resolve().stem}" if references else "",
             config.split if config.split != usual.split else "",
             f"{config.num_beams}-beams" if config.num_beams != usual.num_beams else ""]
    names = [f.name for f in fields(config) if f.default is None and f.name not in ("limit", "max_new_tokens")]
    names += ["seed"] if config.samples and config.seed != usual.seed else []
    parts += [f"{name.replace('_', '-')}-{getattr(config, name):g}" for name in names
              if getattr(config, name) is not None]
    return "-".join(filter(None, parts))
