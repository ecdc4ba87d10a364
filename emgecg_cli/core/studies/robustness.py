"""`robustness`: a run on recordings that are perturbed more and more, and what is left of its scores.

A folder with the perturbed stores (views, which hold no signals), the predictions on each, on the recordings as they
are, and without the signal, and the curves. Every stage is finished by itself: killed and run again, it goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from emgecg_cli.core.config import ALL_SPLITS, GenerateConfig
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.evaluation.curve import Curves, curves_of
from emgecg_cli.core.evaluation.curve_files import OF_STUDY as CURVES
from emgecg_cli.core.evaluation.curve_files import check_targets, write_curves
from emgecg_cli.core.generation import Places, generate_reports
from emgecg_cli.core.generation.run import open_task
from emgecg_cli.core.manifest import input_path, read_manifest
from emgecg_cli.core.perturbations import RECORDS, level_name, perturb_store
from emgecg_cli.core.store import Engine, open_store

PAGE = "curves.html"
WITHOUT = {"none": "the text alone", "shuffled": "another patient's"}
Stage = Callable[[str], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Study:
    """What decides the curves beside run and store: perturbations with their levels, recorded noise for those that take
    it, how reports are generated, and the bootstrap."""

    levels: Sequence[tuple[str, float]]
    generate: GenerateConfig
    noise_root: Path | None = None
    resamples: int = 1000


def study_robustness(run: Path, folder: Path, study: Study, *, places: Places, stage: Stage,
                     workers: int | None = None) -> Curves:
    """Perturb, generate, score and draw under `folder`. `stage(description)` is entered around each stage and gives its
    progress callable. Raises MedReportError when run and store do not fit, and before anything is written for curves
    that cannot be drawn."""
    if not study.levels:
        raise MedReportError("no perturbation is asked for", "give --kind and --level, or --suite robustness")
    check_targets(folder / CURVES, folder / PAGE)
    store = places.store or input_path(run, read_manifest(run, "run", made_by="train"), "store")
    open_store(store).check_has_signals()
    config = study.generate
    open_task(run, folder / "predictions/real.jsonl", config, replace(places, store=store))
    asked: list[tuple[Path, Path, GenerateConfig, str]] = [
        (folder / "predictions/real.jsonl", store, config, "the recordings as they are")]
    asked += [(folder / f"predictions/{signal}.jsonl", store, replace(config, signal=signal), means)
              for signal, means in WITHOUT.items()]
    for kind, level in study.levels:
        recorded = study.noise_root if kind in RECORDS else None
        name = f"{kind}{'-recorded' if recorded else ''}-{level:g}"
        with stage(f"perturb: {kind} {level:g}") as progress:
            perturb_store(store, folder / "stores" / name, kind=kind, levels={level_name(kind): level},
                          split=None if config.split == ALL_SPLITS else config.split, seed=config.seed,
                          noise_root=recorded, engine=Engine("local", workers), progress=progress)
        asked.append((folder / f"predictions/{name}.jsonl", folder / "stores" / name, config, f"{kind} {level:g}"))
    for out, shown, how, means in asked:
        with stage(f"generate: {means}") as progress:
            generate_reports(run, out, how, places=replace(places, store=shown), progress=progress)
    files = [out for out, *_ in asked]
    with stage("score"):
        found = curves_of(files, seed=config.seed, resamples=study.resamples)
        write_curves(folder / CURVES, found, files, {"resamples": study.resamples}, folder / PAGE)
    return found
