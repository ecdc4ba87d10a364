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


def build_instructions(store: StoreArg = None, pool_size: PoolOpt = InstructionDefaults.pool_size,
                       rephraser: RephraserOpt = InstructionDefaults.rephraser,
                       base_url: BaseUrlOpt = None, model: ModelOpt = None, language: LanguageOpt = "record",
                       layout: LayoutOpt = "published", references: ReferencesOpt = None, tables: TablesOpt = None,
                       requests_at_once: RequestsOpt = None, price_in: PriceInOpt = None,
                       price_out: PriceOutOpt = None,
                       seed: SeedOpt = InstructionDefaults.seed,
                       out: OutOpt = None, as_json: JsonOpt = False) -> None:
    """Write a pool of prompts and draw one for every record, as chat messages.

    Records of EMG and NCV tables are prompts themselves, in the published layout: no pool, nothing drawn.
    """
    from emgecg_cli.core.instructions.build import build_instructions as build

    store = store or find_one("store")
    with console.progress("build instructions", unit="prompts") as progress:
        result = build(store, out or Path(INSTRUCTIONS) / store.resolve().name, pool_size=pool_size,
                       rephraser=rephraser, seed=seed, base_url=base_url, model=model, language=language, layout=layout,
                       references=references, tables=tables, progress=progress,
                       requests_at_once=requests_at_once, prices=prices_of(price_in, price_out))
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
    if counts.get("values") == 0:
        console.warn("no number has a reference range: a model is to read all of them as text; --references FILE takes "
                     "another store's references.json")
    next_steps.after_instructions(store, result.path, references)
