"""`medreport robustness` and `score --curve`: scores against the level of a perturbation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emgecg_cli.commands import console
from emgecg_cli.commands.generate import BatchOpt, LimitOpt, NewOpt, SplitOpt, StoreOpt
from emgecg_cli.commands.options import (
    DownloadOpt,
    InstructionsOpt,
    JsonOpt,
    MovedOpt,
    OutOpt,
    RunArg,
    SeedOpt,
    find_one,
)
from emgecg_cli.commands.perturb import KindOpt, LevelOpt, NoiseOpt, SuiteOpt, WorkersOpt
from emgecg_cli.core import names
from emgecg_cli.core.config import ROBUSTNESS, SCORES, GenerateConfig, ScoreDefaults
from emgecg_cli.core.errors import MedReportError

if TYPE_CHECKING:
    from emgecg_cli.core.evaluation.curve import Curves

ResamplesOpt = Annotated[int, typer.Option("--resamples", min=0, max=100_000, help="Bootstrap draws of the intervals.")]


def robustness(run: RunArg = None, store: StoreOpt = None, instructions: InstructionsOpt = None, kind: KindOpt = None,
               level: LevelOpt = None, suite: SuiteOpt = None, noise_root: NoiseOpt = None,
               split: SplitOpt = GenerateConfig.split, limit: LimitOpt = GenerateConfig.limit,
               batch_size: BatchOpt = GenerateConfig.batch_size, max_new_tokens: NewOpt = GenerateConfig.max_new_tokens,
               resamples: ResamplesOpt = ScoreDefaults.resamples, seed: SeedOpt = GenerateConfig.seed,
               workers: WorkersOpt = None, backbone: MovedOpt = None, allow_download: DownloadOpt = False,
               out: OutOpt = None, as_json: JsonOpt = False) -> None:
    """Perturb the recordings more and more, let a run report on them, and draw its scores beside those without the
    signal. Killed and run again, it goes on where it stopped."""
    from emgecg_cli.core import perturbations
    from emgecg_cli.core.generation import Places
    from emgecg_cli.core.studies.robustness import CURVES, PAGE, Study, study_robustness

    if kind is not None and suite is not None:
        raise MedReportError("--kind and --suite are both given", "leave one of them out")
    if kind is not None:
        names.check("perturbation", kind)
    if (level is None) != (kind is None):
        raise MedReportError("--kind and --level go together",
                             "give --kind gaussian --level 20,10,5,0, say; or neither, for --suite robustness")
    levels = perturbations.plan_of(kind, perturbations.levels_of(level) if level is not None else [],
                                   None if kind else suite or "robustness")
    run = run or find_one("run")
    name = "-".join(filter(None, [run.resolve().name, store.resolve().name if store else "", kind or ""]))
    folder = out or Path(ROBUSTNESS) / name
    config = GenerateConfig(split, batch_size=batch_size, max_new_tokens=max_new_tokens, limit=limit, seed=seed)
    found = study_robustness(run, folder, Study(levels, config, noise_root, resamples), stage=console.stage,
                             workers=workers, places=Places(store, instructions, None, backbone, allow_download))
    show_curves(found, as_json)
    for written in (CURVES, PAGE):
        console.note(f"wrote {(folder / written).as_posix()}")


def score_curve(sources: Sequence[str], out: Path | None, page: Path | None, *, form: str, **settings: Any) -> None:
    """Score the files of a curve together and write it; what `score --curve` does. `form` is "table" or "json"."""
    from emgecg_cli.core.evaluation.curve import curves_of
    from emgecg_cli.core.evaluation.curve_files import check_targets, write_curves

    if form not in ("table", "json"):
        raise MedReportError(f"--curve is not written as {form}", "leave --format out, or give --format json")
    if "-" in sources:
        raise MedReportError("--curve reads files: a stream does not say what was done to its recordings",
                             "give the files that generate wrote")
    paths = [Path(source) for source in sources]
    target = out or Path(SCORES) / f"{paths[0].stem}-curve.json"
    check_targets(target, page)
    with console.progress("score", unit="metrics"):
        found = curves_of(paths, **settings)
        write_curves(target, found, paths, settings, page)
    show_curves(found, form == "json")
    for written in (target, page):
        if written:
            console.note(f"wrote {written.as_posix()}")


def show_curves(found: Curves, as_json: bool) -> None:
    """A table for each perturbation: the headline scores at each level, their areas, and the lines without a signal."""
    from emgecg_cli.core.evaluation.tables import cell_of

    if as_json:
        console.print_json(found)
        return
    for curve in found.curves:
        head = [f"{curve.kind} by {curve.level_name}", *(["as recorded"] if found.clean else []),
                *(f"{point.level:g}" for point in curve.points),
                "area", *(f"above {signal}" for signal in curve.above), *found.no_signal]
        rows = []
        for name in found.headline:
            cells = [found.clean.values.get(name)] if found.clean else []
            cells += [*(point.values.get(name) for point in curve.points), curve.areas.get(name)]
            cells += [*(own.get(name) for own in curve.above.values()),
                      *(point.values.get(name) for point in found.no_signal.values())]
            rows.append([name, *map(cell_of, cells)])
        console.table(head, rows, title=f"{found.n} reports of {found.patients} patients")
    if not found.no_signal:
        console.note("no line without a signal: add predictions of generate --signal none or shuffled")
    for note in found.notes:
        console.note(note)
