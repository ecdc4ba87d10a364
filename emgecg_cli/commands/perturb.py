"""`medreport perturb`: a store in, the same store with distorted signals out."""

from __future__ import annotations

from typing import Annotated

import typer

from emgecg_cli.commands import console, next_steps
from emgecg_cli.commands.options import JsonOpt, OutOpt, SeedOpt, SplitOpt, StoreArg, complete, find_one
from emgecg_cli.core import names

KindOpt = Annotated[str, typer.Option("--kind", metavar="NAME", autocompletion=complete("perturbation"),
                                      show_default=False, help=f"{' or '.join(names.choices('perturbation'))}.")]
SnrOpt = Annotated[float | None, typer.Option("--snr-db", metavar="DB", show_default=False,
                                              help="Level of gaussian: 10·log10(signal power / noise power) per lead.")]
ProportionOpt = Annotated[float | None, typer.Option("--proportion", metavar="P", show_default=False,
                                                     help="Level of meit-proportion: the longest share of time hit.")]
CopyOpt = Annotated[bool, typer.Option("--copy", help="Write all signals, for a folder that stands without STORE.")]
WorkersOpt = Annotated[int | None, typer.Option("--workers", metavar="N", min=1, show_default=False,
                                                help="Processes that draw; as many as there are processors.")]
RecordsOpt = Annotated[float, typer.Option("--records", metavar="FRACTION", help="Share of the records that are hit.")]


def perturb(kind: KindOpt, store: StoreArg = None, snr_db: SnrOpt = None, proportion: ProportionOpt = None,
            records: RecordsOpt = 1.0, split: SplitOpt = None, seed: SeedOpt = 0, copy: CopyOpt = False,
            workers: WorkersOpt = None, out: OutOpt = None, as_json: JsonOpt = False) -> None:
    """Write a store with the same records and reports, but noisy signals: a view, which draws them from STORE when they
    are read."""
    from emgecg_cli.core.perturbations import perturb_store
    from emgecg_cli.core.store import Engine

    names.check("perturbation", kind)
    store = store or find_one("store")
    with console.progress(f"perturb {kind}") as progress:
        result = perturb_store(store, out, kind=kind, levels={"snr_db": snr_db, "proportion": proportion},
                               records=records, split=split, seed=seed, copy=copy, engine=Engine("local", workers),
                               progress=progress)
    if result.already_finished:
        console.note(f"{result.path.as_posix()} is finished already")
    details = result.manifest.details["perturbation"]
    if as_json:
        console.print_json({"path": result.path, "counts": result.manifest.counts} | details)
        return
    reached = details["achieved_snr_db"] or {}
    console.table(["store", "records", "perturbed", "unchanged", "SNR reached, dB: median", "5 %", "95 %"],
                  [[result.path.as_posix(), result.manifest.counts["records"], details["perturbed"],
                    details["unchanged"], *(reached.get(key) for key in ("p50", "p5", "p95"))]])
    next_steps.after_perturb(result.path)
