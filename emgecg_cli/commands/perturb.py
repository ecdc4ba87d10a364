"""`medreport perturb`: a store in, the same store with distorted signals out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emgecg_cli.commands import console, next_steps
from emgecg_cli.commands.options import JsonOpt, OutOpt, SeedOpt, SplitOpt, StoreArg, complete, find_one, words
from emgecg_cli.core import names
from emgecg_cli.core.errors import MedReportError

if TYPE_CHECKING:
    from emgecg_cli.core.perturbations import PerturbResult

KindOpt = Annotated[str | None, typer.Option("--kind", metavar="NAME", autocompletion=complete("perturbation"),
                                             show_default=False,
                                             help=f"One of {', '.join(names.choices('perturbation'))}.")]
LevelOpt = Annotated[str | None, typer.Option("--level", metavar="X[,X…]", show_default=False,
                                              help="Level of the kind, in its own unit (docs/perturbations.md); "
                                                   "several make a store each.")]
SuiteOpt = Annotated[str | None, typer.Option("--suite", metavar="NAME", show_default=False,
                                              autocompletion=words("robustness"),
                                              help="All perturbations of a suite, in place of --kind: robustness.")]
SnrOpt = Annotated[float | None, typer.Option("--snr-db", metavar="DB", show_default=False,
                                              help="Level of noise: 10·log10(signal power / noise power).")]
ProportionOpt = Annotated[float | None, typer.Option("--proportion", metavar="P", show_default=False,
                                                     help="Level of meit-proportion: the longest share of time hit.")]
CopyOpt = Annotated[bool, typer.Option("--copy", help="Write all signals, for a folder that stands without STORE.")]
WorkersOpt = Annotated[int | None, typer.Option("--workers", metavar="N", min=1, show_default=False,
                                                help="Processes that draw; as many as there are processors.")]
NoiseOpt = Annotated[Path | None, typer.Option("--noise-root", metavar="DIR", show_default=False,
                                               help="The MIT-BIH Noise Stress Test Database (bw, em, ma): baseline "
                                                    "wander, electrode motion and muscle noise as recorded there; "
                                                    "modelled otherwise.")]
RecordsOpt = Annotated[float, typer.Option("--records", metavar="FRACTION", help="Share of the records that are hit.")]


def perturb(store: StoreArg = None, kind: KindOpt = None, level: LevelOpt = None, suite: SuiteOpt = None,
            snr_db: SnrOpt = None, proportion: ProportionOpt = None, noise_root: NoiseOpt = None,
            records: RecordsOpt = 1.0,
            split: SplitOpt = None, seed: SeedOpt = 0, copy: CopyOpt = False, workers: WorkersOpt = None,
            out: OutOpt = None, as_json: JsonOpt = False) -> None:
    """Write a store with the same records and reports, but distorted signals: a view, which draws them from STORE when
    they are read."""
    from emgecg_cli.core import perturbations
    from emgecg_cli.core.store import Engine

    given: dict[str, float | None] = {"snr_db": snr_db, "proportion": proportion}
    if (kind is None) == (suite is None):
        raise MedReportError("give either --kind or --suite",
                             "for example --kind gaussian --snr-db 10; see `medreport perturb --help`")
    if kind is not None:
        names.check("perturbation", kind)
    if sum(value is not None for value in (level, suite, *given.values())) > 1:
        raise MedReportError("--level is the level, as --snr-db and --proportion are, and a suite has its own",
                             "give one of them")
    several = perturbations.plan_of(kind, perturbations.levels_of(level) if level is not None else [], suite)
    if len(several) > 1 and out:
        raise MedReportError(f"--out names one place, and {len(several)} stores are made",
                             "leave --out out: each goes beside the store, under its kind and level")
    asked = [(one, {perturbations.level_name(one): value}) for one, value in several] or [(str(kind), given)]
    store = store or find_one("store")
    made = []
    for one, levels in asked:
        recorded = noise_root if suite is None or one in perturbations.RECORDS else None
        with console.progress(f"perturb {one}") as progress:
            made.append(perturbations.perturb_store(store, out, kind=one, levels=levels, records=records, split=split,
                                                    seed=seed, copy=copy, noise_root=recorded,
                                                    engine=Engine("local", workers), progress=progress))
        if made[-1].already_finished:
            console.note(f"{made[-1].path.as_posix()} is finished already")
    _show(made, as_json)


def _show(made: list[PerturbResult], as_json: bool) -> None:
    """What was reached in each store."""
    told = [result.manifest.details["perturbation"] for result in made]
    if as_json:
        shown = [{"path": result.path, "counts": result.manifest.counts} | details
                 for result, details in zip(made, told, strict=True)]
        console.print_json(shown[0] if len(shown) == 1 else shown)
        return
    console.table(["store", "records", "perturbed", "unchanged", "SNR reached, dB: median", "5 %", "95 %"],
                  [[one.path.as_posix(), one.manifest.counts["records"], details["perturbed"], details["unchanged"],
                    *((details["achieved_snr_db"] or {}).get(key) for key in ("p50", "p5", "p95"))]
                   for one, details in zip(made, told, strict=True)])
    next_steps.after_perturb(made[0].path)
