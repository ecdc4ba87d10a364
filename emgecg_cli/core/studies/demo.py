"""`demo`: the whole pipeline on a simulated cohort, ending with one table and one page.

The same model writes reports from the real signals, from another patient's, from none at all, and from noisy ones: so
that the part of its score that comes from the signal is plain to see.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from emgecg_cli.core.config import DemoDefaults, GenerateConfig, PrepareConfig
from emgecg_cli.core.datasets import open_dataset
from emgecg_cli.core.evaluation.about import about_of
from emgecg_cli.core.evaluation.page import page_examples, write_page
from emgecg_cli.core.evaluation.page.charts import differences, run_of
from emgecg_cli.core.evaluation.score import MODEL, Scores, System, score_rows, write_scores
from emgecg_cli.core.evaluation.statistics import joined
from emgecg_cli.core.evidence import Evidence
from emgecg_cli.core.generation import Places, generate_reports
from emgecg_cli.core.instructions.build import build_instructions
from emgecg_cli.core.manifest import input_of, read_manifest
from emgecg_cli.core.pages.training import training_charts
from emgecg_cli.core.perturbations import perturb_store
from emgecg_cli.core.predictions import read_predictions
from emgecg_cli.core.recipes import resolve_train_config
from emgecg_cli.core.store import open_store, prepare_store
from emgecg_cli.core.training.run import train

Stage = Callable[[str], AbstractContextManager[Any]]


@dataclass(frozen=True)
class DemoResult:
    """The combined scores, and where they and the page lie."""

    scores: Scores
    scores_path: Path
    page: Path


def run_demo(folder: Path, *, records: int, steps: int, seed: int, stage: Stage) -> DemoResult:
    """Run all six stages under `folder`; run again, it goes on where it stopped.

    `stage(description)` is entered around each stage and gives its progress callable.
    """
    store, instructions, run = folder / "stores/synthetic", folder / "instructions/synthetic", folder / "runs/tiny"
    with stage("prepare synthetic") as progress:
        source = open_dataset("synthetic", seed, records=records)
        prepare_store(source, store, PrepareConfig(split=DemoDefaults.split, seed=seed), progress=progress)
    with stage("build instructions") as progress:
        build_instructions(store, instructions, seed=seed, progress=progress)
    with stage("train tiny") as progress:
        train(instructions, run, resolve_train_config(backbone="tiny", steps=steps, seed=seed), progress=progress)
    noisy = folder / "stores/synthetic-noisy"
    with stage("perturb") as progress:
        perturb_store(store, noisy, kind="gaussian", levels={"snr_db": DemoDefaults.snr_db}, split="test", seed=seed,
                      progress=progress)
    predictions = {}
    for name, title, signal, shown in (
            ("real", "real signal", "real", store), ("shuffled", "another patient's signal", "shuffled", store),
            ("zeros", "zero signal", "zeros", store),
            ("noisy", f"real signal, {DemoDefaults.snr_db:g} dB noise", "real", noisy)):
        predictions[title] = folder / "predictions" / f"{name}.jsonl"
        with stage(f"generate: {title}") as progress:
            generate_reports(run, predictions[title], GenerateConfig(signal=signal, seed=seed),
                             places=Places(store=shown, instructions=instructions), progress=progress)
    with stage("score"):
        return _score(folder, store, predictions, seed)


def _score(folder: Path, store_path: Path, predictions: dict[str, Path], seed: int) -> DemoResult:
    store = open_store(store_path)
    reports = store.reports("train")
    rows = {name: read_predictions(path).rows for name, path in predictions.items()}
    evidence = Evidence(store)
    scored = {name: score_rows(given, train_reports=reports, evidence=evidence, seed=seed)
              for name, given in rows.items()}
    first = next(iter(scored.values())).scores
    models = [System(name, one.scores.systems[0].values, one.scores.systems[0].texts) for name, one in scored.items()]
    baselines = [system for system in first.systems if system.name != MODEL]
    real = next(iter(predictions))
    about = about_of(rows[real], predictions=predictions[real],
                     manifest=read_manifest(predictions[real], "predictions"), store=store)
    scores = replace(first, systems=[*models, *baselines],
                     tables=[replace(table, system=name) for name, one in scored.items()
                             for table in one.scores.tables],
                     about=replace(about, predictions=None, signal="as each column says"))
    scores_path, page = folder / "scores/demo.json", folder / "report.html"
    inputs = {name: input_of(path, scores_path) for name, path in (predictions | {"store": store_path}).items()}
    write_scores(scores_path, scores, inputs=inputs, arguments={},
                 statistics=joined({name: one.statistics for name, one in scored.items()}, MODEL))
    examples = {name: rows[name] for name in list(rows)[:2]}
    write_page(page, examples=page_examples(store, examples, DemoDefaults.examples), scores=asdict(scores),
               differences=differences(next(iter(scored.values())).computed, MODEL, [one.name for one in baselines]),
               training={"Training": training_charts(run)} if (run := run_of(predictions[real])) else {},
               title="medreport demo: a simulated cohort")
    return DemoResult(scores, scores_path, page)
