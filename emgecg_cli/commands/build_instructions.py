"""`medreport build-instructions`: a store in, one instruction for each of its records out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from emgecg_cli.commands import console, next_steps
from emgecg_cli.commands.endpoint_options import (
    PriceInOpt,
    PriceOutOpt,
    RequestsOpt,
    prices_of,
    say_spent,
)
from emgecg_cli.commands.options import JsonOpt, OutOpt, RephraserOpt, SeedOpt, StoreArg, find_one, words
from emgecg_cli.core.config import INSTRUCTIONS, InstructionDefaults

PoolOpt = Annotated[int, typer.Option("--pool-size", metavar="N", min=0,
                                       help="Prompts in the pool: 128, 256, 512 …; 1 is MEIT's fixed prompt, 0 no "
                                            "words beside the recording.")]
BaseUrlOpt = Annotated[str | None, typer.Option("--base-url", metavar="URL", show_default=False,
                                                help=f"openai: the endpoint; {InstructionDefaults.base_url} if not "
                                                     "given.")]
ModelOpt = Annotated[str | None, typer.Option("--model", metavar="NAME", show_default=False,
                                              help=f"openai: the model; {InstructionDefaults.model} if not given.")]
LanguageOpt = Annotated[str, typer.Option(
    "--language", metavar="record|en|zh", autocompletion=words("record", "en", "zh"),
    help="Tables: the language of the prompt around them and of their words; record: that of each record's report.")]
LayoutOpt = Annotated[str, typer.Option(
    "--layout", metavar="published|labelled", autocompletion=words("published", "labelled"),
    help="Tables: a column for each measure and side, or each number with its own name.")]

ReferencesOpt = Annotated[Path | None, typer.Option(
    "--references", metavar="FILE", show_default=False,
    help="Tables: another store's references.json, for a store without reports, which has none of its own.")]
TablesOpt = Annotated[Path | None, typer.Option(
    "--tables", metavar="STORE", show_default=False,
    help="Recordings: a store of tables of the same record ids, which then stand behind the prompts.")]
KindOpt = Annotated[str, typer.Option(
    "--kind", metavar="report|grounded", autocompletion=words("report", "grounded"),
    help="Recordings: answers are the reports of the store, or interpretations grounded in measurements.")]
WriterOpt = Annotated[str | None, typer.Option(
    "--writer", metavar="rules|llm", show_default=False, autocompletion=words("rules", "llm"),
    help="grounded: who writes; rules if not given. llm sends reports and measurements to --model at --base-url.")]
InputsOpt = Annotated[str | None, typer.Option(
    "--inputs", metavar="ecg|image|ecg,image", show_default=False, autocompletion=words("ecg", "image", "ecg,image"),
    help="grounded, --from: what stands in the prompt for the recording; ecg if not given. Runs that read pages show "
         "them without being told.")]
FromOpt = Annotated[Path | None, typer.Option(
    "--from", metavar="FILE", show_default=False,
    help="The conversations of GEM's or ECGBench's .json, .jsonl or .parquet file, joined to the store's records.")]
RemapOpt = Annotated[list[str] | None, typer.Option(
    "--remap", metavar="OLD=NEW", show_default=False,
    help="--from, --write-gem: the beginning of paths in the file, and what stands in its place; may be repeated.")]
WriteGemOpt = Annotated[Path | None, typer.Option(
    "--write-gem", metavar="FILE", show_default=False,
    help="Recordings: write the instructions besides as GEM's .json, as .jsonl, or as ECGBench's .parquet.")]


def build_instructions(store: StoreArg = None, pool_size: PoolOpt = InstructionDefaults.pool_size,
                       rephraser: RephraserOpt = InstructionDefaults.rephraser,
                       base_url: BaseUrlOpt = None, model: ModelOpt = None, language: LanguageOpt = "record",
                       layout: LayoutOpt = "published", references: ReferencesOpt = None, tables: TablesOpt = None,
                       requests_at_once: RequestsOpt = None, price_in: PriceInOpt = None,
                       price_out: PriceOutOpt = None,
                       kind: KindOpt = "report", writer: WriterOpt = None, inputs: InputsOpt = None,
                       from_file: FromOpt = None, remap: RemapOpt = None, write_gem: WriteGemOpt = None,
                       seed: SeedOpt = InstructionDefaults.seed,
                       out: OutOpt = None, as_json: JsonOpt = False) -> None:
    """Write a pool of prompts and draw one for every record, as chat messages.

    Records of EMG and NCV tables are prompts themselves, in the published layout: no pool, nothing drawn. With --kind
    grounded the answers are interpretations that rest on what is measured lead by lead, each of them checked; with
    --from they are the conversations of a file of GEM or ECGBench.
    """
    from emgecg_cli.core.instructions.files.entries import parse_rules
    from emgecg_cli.core.instructions.kinds import build_of_kind, check_kind, usual_name

    check_kind(kind, from_file)
    store, rules = store or find_one("store"), parse_rules(remap or [])
    drawn = kind == "report" and from_file is None
    with console.progress("build instructions", unit="prompts" if drawn else "records") as progress:
        result = build_of_kind(
            store, out or Path(INSTRUCTIONS) / usual_name(store, kind, from_file), kind=kind, from_file=from_file,
            remap=() if write_gem and not from_file else rules, inputs=inputs, writer=writer, pool_size=pool_size,
            rephraser=rephraser, language=language, layout=layout, references=references, tables=tables, seed=seed,
            base_url=base_url, model=model, requests_at_once=requests_at_once, prices=prices_of(price_in, price_out),
            progress=progress)
    if write_gem:
        _write_gem(result.path, store, write_gem, rules)
    if result.asked:
        say_spent(result.asked)
    if result.already_finished:
        console.note(f"{result.path.as_posix()} is finished already")
    if as_json:
        console.print_json({"path": result.path, "counts": result.manifest.counts, "requests": result.requests})
        return
    counts = result.manifest.counts
    console.table(["instructions", "prompts", "records"],
                  [[result.path.as_posix(), counts["prompts"], counts["records"]]])
    if aside := counts.get("set_aside"):
        console.warn(f"{aside} set aside, each with its reason in {(result.path / 'quarantine.jsonl').as_posix()}")
    details = result.manifest.details
    if why := details.get("set_aside") or details.get("rejected"):
        console.note(("set aside" if "set_aside" in details else f"{counts['rejected']} answers were rejected") + ": "
                     + ", ".join(f"{reason} {count}" for reason, count in why.items()))
    if counts.get("values") == 0:
        console.warn("no number has a reference range: a model is to read all of them as text; --references FILE takes "
                     "another store's references.json")
    next_steps.after_instructions(store, result.path, references)


def _write_gem(path: Path, store: Path, file: Path, rules: list[tuple[str, str]]) -> None:
    from emgecg_cli.core.instructions.build import open_instructions
    from emgecg_cli.core.instructions.files.build import write_file
    from emgecg_cli.core.store import open_store

    count = write_file(open_instructions(path), open_store(store), file, rules)
    console.note(f"{file.as_posix()}: {count} entries")
