"""`medreport prepare`: recordings and reports of one dataset in, a store out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from emgecg_cli.commands import console
from emgecg_cli.commands.options import DatasetArg, JsonOpt, OutOpt, complete, words
from emgecg_cli.core import names
from emgecg_cli.core.config import DATA, LARGEST_SEED, STORES, WINDOWS, PrepareConfig

RootOpt = Annotated[Path | None, typer.Option("--root", metavar="DIR", show_default=False,
                                              help=f"The dataset's folder, as its publisher lays it out; "
                                                   f"{DATA}/DATASET if not given.")]
FsOpt = Annotated[int, typer.Option("--fs", metavar="HZ", help="Sampling frequency to store.")]
SecondsOpt = Annotated[float, typer.Option("--seconds", metavar="S", help="Length of each signal.")]
WindowOpt = Annotated[str, typer.Option("--window", metavar="|".join(WINDOWS), autocompletion=words(*WINDOWS),
                                        help="What a longer recording gives: its first seconds, its middle, or all of "
                                             "it as several records.")]
ReportsOpt = Annotated[Path | None, typer.Option("--reports", metavar="CSV", show_default=False,
                                                 help="ptb-xl: other texts, columns ecg_id,report_en; "
                                                      "wfdb: the texts, columns record,report.")]
CodesOpt = Annotated[Path | None, typer.Option("--codes", metavar="CSV", show_default=False,
                                               help="SNOMED sets: more statements, columns code,statement.")]
RecordsOpt = Annotated[int | None, typer.Option("--records", metavar="N", show_default=False,
                                                help="synthetic: how many records; 5000 if not given.")]
FindingsOpt = Annotated[str | None, typer.Option("--findings", metavar="core|full", show_default=False,
                                                 autocompletion=words("core", "full"),
                                                 help="synthetic: 17 (core) or 22 findings; core if not given.")]
SplitOpt = Annotated[str | None, typer.Option("--split", metavar="70/10/20", show_default=False,
                                              help="Shares of train, val and test, by patient; "
                                                   "else the official folds, or 70/10/20.")]
CleanOpt = Annotated[str, typer.Option("--clean", metavar="RULES", help="Text rules to apply, or none.")]
MinWordsOpt = Annotated[int, typer.Option("--min-words", min=0, help="Set aside shorter reports (the paper: 5).")]
MeasureOpt = Annotated[bool, typer.Option("--measure", help="Measure rate, intervals, axes and ST levels as well.")]
SeedOpt = Annotated[int, typer.Option("--seed", min=0, max=LARGEST_SEED,
                                      help="Seed of the split, and of a simulated cohort.")]
EngineOpt = Annotated[str, typer.Option("--engine", metavar="NAME", autocompletion=complete("engine"),
                                        help=f"Where to work: {' or '.join(names.choices('engine'))} (processes here, "
                                             "or a Ray cluster).")]
WorkersOpt = Annotated[int | None, typer.Option("--workers", metavar="N", min=1, show_default=False,
                                                help="Processes; as many as there are processors if not given.")]


def prepare(dataset: DatasetArg, root: RootOpt = None, fs: FsOpt = PrepareConfig.fs,
            seconds: SecondsOpt = PrepareConfig.seconds, window: WindowOpt = PrepareConfig.window,
            reports: ReportsOpt = None, codes: CodesOpt = None, records: RecordsOpt = None,
            findings: FindingsOpt = None, split: SplitOpt = None, clean: CleanOpt = PrepareConfig.clean,
            min_words: MinWordsOpt = PrepareConfig.min_words, measure: MeasureOpt = False,
            seed: SeedOpt = PrepareConfig.seed, engine: EngineOpt = "local", workers: WorkersOpt = None,
            out: OutOpt = None, as_json: JsonOpt = False) -> None:
    """Read a dataset into a store: leads by name, microvolts, splits by patient, clean reports, and a data card that
    says what is wrong with it."""
    from emgecg_cli.core.datasets import open_dataset, takes
    from emgecg_cli.core.store import Engine, prepare_store

    names.check("engine", engine)
    config = PrepareConfig(fs=fs, seconds=seconds, window=window, clean=clean, min_words=min_words, split=split,
                           seed=seed, measure=measure)
    if root is None and takes(dataset, "root"):
        root = Path(DATA) / dataset
        if root.is_dir():
            console.note(f"reading {root.as_posix()}")
    source = open_dataset(dataset, seed=seed, fs=fs, root=root, reports=reports, codes=codes, records=records,
                          findings=findings)
    with console.progress(f"prepare {dataset}") as progress:
        result = prepare_store(source, out or Path(STORES) / dataset, config, Engine(engine, workers), progress)
    if result.already_finished:
        console.note(f"{result.path.as_posix()} is finished already")
    if as_json:
        console.print_json({"path": result.path, "counts": result.manifest.counts})
        return
    _render(result.path, result.manifest.counts)


def _render(path: Path, counts: dict[str, Any]) -> None:
    place = path.as_posix()
    console.table(["store", "records", "patients", "train", "val", "test", "set aside"],
                  [[place, *(counts[key] for key in ("records", "subjects", "train", "val", "test")),
                    sum(counts["quarantined"].values())]])
    for reason, number in counts["quarantined"].items():
        console.warn(f"{number} set aside: {reason}; see {place}/quarantine.jsonl")
    console.next_step("build-instructions", path)
