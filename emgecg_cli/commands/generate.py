"""`medreport generate`: a run in, predictions out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from emgecg_cli.commands import console
from emgecg_cli.commands.options import InstructionsOpt, JsonOpt, OutOrPipeOpt, RunArg, SeedOpt, find_one, words
from emgecg_cli.core.config import PREDICTIONS, GenerateConfig
from emgecg_cli.core.errors import MedReportError

StoreOpt = Annotated[Path | None, typer.Option("--store", metavar="STORE", show_default=False,
                                               help="Another store, a perturbed one say; else the one of training.")]
SplitOpt = Annotated[str, typer.Option("--split", metavar="train|val|test", help="Which records.",
                                          autocompletion=words("train", "val", "test"))]
SignalOpt = Annotated[str, typer.Option("--signal", metavar="real|shuffled|zeros|none",
                                        autocompletion=words("real", "shuffled", "zeros", "none"),
                                        help="What the model is shown; shuffled: another patient's recording.")]
BatchOpt = Annotated[int, typer.Option("--batch-size", min=1, help="Records in a batch.")]
BeamsOpt = Annotated[int, typer.Option("--num-beams", min=1, help="Beams; 1 is greedy.")]
NewOpt = Annotated[int, typer.Option("--max-new-tokens", min=1, help="Longest report, in tokens.")]
LimitOpt = Annotated[int | None, typer.Option("--limit", min=1, show_default=False, help="Only the first N records.")]


def generate(run: RunArg = None, store: StoreOpt = None, instructions: InstructionsOpt = None,
             split: SplitOpt = GenerateConfig.split, signal: SignalOpt = GenerateConfig.signal,
             batch_size: BatchOpt = GenerateConfig.batch_size, num_beams: BeamsOpt = GenerateConfig.num_beams,
             max_new_tokens: NewOpt = GenerateConfig.max_new_tokens, limit: LimitOpt = GenerateConfig.limit,
             seed: SeedOpt = GenerateConfig.seed, out: OutOrPipeOpt = None, as_json: JsonOpt = False) -> None:
    """Write a report for every record of a split. Killed and run again, it goes on where it stopped."""
    if out == "-" and as_json:
        raise MedReportError("--out - and --json both write to stdout", "leave one of them out")
    run = run or find_one("run")
    from emgecg_cli.core.generation import generate_reports

    config = GenerateConfig(split, signal, batch_size, num_beams, max_new_tokens, limit, seed)
    path = Path(out) if out else Path(PREDICTIONS) / f"{_name(run, store, config)}.jsonl"
    target = sys.stdout if out == "-" else path
    with console.progress(f"generate {signal}") as progress:
        result = generate_reports(run, target, config, store_path=store, instructions_path=instructions,
                                  progress=progress)
    if result.path is None:
        return
    if result.already_finished:
        console.note(f"{result.path.as_posix()} is finished already")
    if as_json:
        console.print_json(result)
        return
    console.table(["predictions", "records", "written now"], [[result.path.as_posix(), result.records, result.written]])
    console.next_step("score", result.path)


def _name(run: Path, store: Path | None, config: GenerateConfig) -> str:
    """The name of the predictions: the run's, and whatever differs from the usual."""
    usual = GenerateConfig()
    parts = [run.resolve().name, config.signal if config.signal != usual.signal else "",
             store.resolve().name if store else "", config.split if config.split != usual.split else "",
             f"{config.num_beams}-beams" if config.num_beams != usual.num_beams else ""]
    return "-".join(filter(None, parts))
