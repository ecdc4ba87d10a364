"""`medreport prepare`: recordings and reports of one dataset in, a store out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from emgecg_cli.commands import console
from emgecg_cli.commands.options import DatasetArg, JsonOpt, OutOpt, words
from emgecg_cli.core.config import LARGEST_SEED, STORES, PrepareDefaults

RootOpt = Annotated[Path | None, typer.Option("--root", metavar="DIR", show_default=False,
                                              help="ptb-xl: the folder as PhysioNet lays it out.")]
FsOpt = Annotated[int | None, typer.Option("--fs", metavar="HZ", show_default=False,
                                           help="Sampling frequency to store. [100]")]
ReportsOpt = Annotated[Path | None, typer.Option("--reports", metavar="CSV", show_default=False,
                                                 help="ptb-xl: other texts, columns ecg_id,report_en.")]
RecordsOpt = Annotated[int | None, typer.Option("--records", metavar="N", show_default=False,
                                                help="synthetic: how many records. [5000]")]
FindingsOpt = Annotated[str | None, typer.Option("--findings", metavar="core|full", show_default=False,
                                                 autocompletion=words("core", "full"),
                                                 help="synthetic: 17 or 22 findings. [core]")]
SplitOpt = Annotated[str | None, typer.Option("--split", metavar="70/10/20", show_default=False,
                                              help="Shares of train, val and test, by patient; "
                                                   "else the official folds, or 70/10/20.")]
CleanOpt = Annotated[str, typer.Option("--clean", metavar="RULES", help="Text rules to apply, or none.")]
MinWordsOpt = Annotated[int, typer.Option("--min-words", min=0, help="Set aside shorter reports (the paper: 5).")]
SeedOpt = Annotated[int, typer.Option("--seed", min=0, max=LARGEST_SEED,
                                      help="Seed of the split, and of a simulated cohort.")]


def prepare(dataset: DatasetArg, root: RootOpt = None, fs: FsOpt = None, reports: ReportsOpt = None,
            records: RecordsOpt = None, findings: FindingsOpt = None, split: SplitOpt = None,
            clean: CleanOpt = PrepareDefaults.clean, min_words: MinWordsOpt = PrepareDefaults.min_words,
            seed: SeedOpt = PrepareDefaults.seed, out: OutOpt = None, as_json: JsonOpt = False) -> None:
    """Read a dataset into a store: leads by name, microvolts, splits by patient, clean reports."""
    from emgecg_cli.core.datasets import open_dataset
    from emgecg_cli.core.store import prepare_store

    source = open_dataset(dataset, seed=seed, root=root, fs=fs, reports=reports, records=records, findings=findings)
    with console.progress(f"prepare {dataset}") as progress:
        result = prepare_store(source, out or Path(STORES) / dataset, clean=clean, min_words=min_words, split=split,
                               seed=seed, shard_size=PrepareDefaults.shard_size, progress=progress)
    if result.already_finished:
        console.note(f"{result.path.as_posix()} is finished already")
    if as_json:
        console.print_json({"path": result.path, "counts": result.manifest.counts})
        return
    counts = result.manifest.counts
    console.table(["store", "records", "patients", "train", "val", "test", "set aside"],
                  [[result.path.as_posix(), *(counts[key] for key in ("records", "subjects", "train", "val", "test")),
                    sum(counts["quarantined"].values())]])
    for reason, number in counts["quarantined"].items():
        console.warn(f"{number} set aside: {reason}; see {result.path.as_posix()}/quarantine.jsonl")
    console.next_step("build-instructions", result.path)
