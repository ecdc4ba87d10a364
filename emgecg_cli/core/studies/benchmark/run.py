"""A benchmark from its cells: each is prepared, trained, written and scored with the ordinary commands' artefacts.

Everything lies under one folder. Every artefact is finished by itself and shared by the cells and the tasks that need
it: killed and run again, a benchmark goes on where it stopped and ends with the same tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emgecg_cli.core.config import GenerateConfig
from emgecg_cli.core.datasets import open_dataset
from emgecg_cli.core.evaluation.files import score_file
from emgecg_cli.core.files import write_atomically
from emgecg_cli.core.generation import Places, generate_reports
from emgecg_cli.core.generation.job import settings_of
from emgecg_cli.core.instructions.build import build_instructions
from emgecg_cli.core.manifest import hashes_of, input_of, is_finished, manifest_hash, path_at, read_manifest
from emgecg_cli.core.metrics.judged.panel import Panel
from emgecg_cli.core.store import prepare_store
from emgecg_cli.core.studies.benchmark import tables
from emgecg_cli.core.studies.benchmark.cells import Cell, RunSpec, cells_of
from emgecg_cli.core.studies.benchmark.config import Benchmark
from emgecg_cli.core.studies.benchmark.costs import counted
from emgecg_cli.core.studies.benchmark.summary import cost_table, task_table
from emgecg_cli.core.studies.robustness import CURVES, WITHOUT, Study, study_robustness
from emgecg_cli.core.training.run import train

Stage = Callable[[str], AbstractContextManager[Any]]
ALIGNED = ("findings", "labels")  # what the reports of the alignment task are held against beside a judge
_FORMATS = {"md": tables.as_markdown, "csv": tables.as_csv, "tex": tables.as_latex, "html": tables.as_page}


@dataclass(frozen=True)
class Bench:
    """One task of a benchmark under a folder; `stage(description)` is entered around each stage and gives its progress
    callable."""

    task: str
    folder: Path
    asked: Benchmark
    stage: Stage
    judge: Panel | None = None

    def scores_of(self, cell: Cell) -> Path:
        """Where the scores of a cell lie, or its curves."""
        if self.task == "robustness":
            return self.study_of(cell) / CURVES
        return self.folder / "scores" / f"{cell.name}{'-alignment' if self.task == 'alignment' else ''}.json"

    def predictions_of(self, cell: Cell) -> Path:
        """Where the predictions of a cell lie."""
        return self.folder / "predictions" / f"{cell.name}.jsonl"

    def study_of(self, cell: Cell) -> Path:
        """Where all that is made for the robustness of a cell lies."""
        return self.folder / "robustness" / cell.name

    def run_of(self, run: RunSpec) -> Path:
        """Where a run lies."""
        return self.folder / "runs" / run.name

    def store_of(self, source: str) -> Path:
        """Where the store of a source lies."""
        return self.asked.sources[source].store or self.folder / "stores" / source


def run_benchmark(bench: Bench) -> list[tables.Table]:
    """Finish every cell of a task and write its tables; raises MedReportError for settings that cannot be, before
    anything is made, and where a stage fails."""
    cells = cells_of(bench.task, bench.asked)
    for cell in cells:
        cell.run.config(bench.asked)
    for cell in cells:
        _finish(bench, cell)
    return write_tables(bench)


def write_tables(bench: Bench) -> list[tables.Table]:
    """The tables of the cells that are finished, written under `tables/`: of the task, and what it cost."""
    cells = cells_of(bench.task, bench.asked)
    made = [task_table(bench.task, {cell: bench.scores_of(cell) for cell in cells}, bench.judge is not None),
            cost_table(bench.folder, {cell: (bench.run_of(cell.run), bench.predictions_of(cell)) for cell in cells})]
    place = bench.folder / "tables"
    place.mkdir(parents=True, exist_ok=True)
    for table, name in zip(made, (bench.task, f"{bench.task}-cost"), strict=True):
        for suffix, written in _FORMATS.items():
            write_atomically(place / f"{name}.{suffix}", written(table).encode())
    return made


def _finish(bench: Bench, cell: Cell) -> None:
    """All stages of a cell; those that are finished are compared with what is asked for and left as they are."""
    own = _instructions(bench, cell.run.source, cell.run)
    run, out = bench.run_of(cell.run), bench.predictions_of(cell)
    with _stage(bench, f"train {cell.run.name}", run) as progress:
        train(own, run, cell.run.config(bench.asked), store_path=bench.store_of(cell.run.source), progress=progress)
    shown = own if cell.target == cell.run.source else _instructions(bench, cell.target, cell.run)
    places = Places(bench.store_of(cell.target), shown, download=True)
    config = GenerateConfig(**{**bench.asked.generate, "split": cell.split, "seed": bench.asked.seed})
    if bench.task == "robustness":
        _perturb_more_and_more(bench, cell, config, places)
        return
    with _stage(bench, f"generate {cell.name}", out) as progress:
        generate_reports(run, out, config, places=places, progress=progress)
    _score(bench, cell, out)


def _instructions(bench: Bench, source: str, run: RunSpec) -> Path:
    """The instructions of a source for a run, and before them its store."""
    spec, store = bench.asked.sources[source], bench.store_of(source)
    if spec.store is None:
        with _stage(bench, f"prepare {source}", store) as progress:
            opened = open_dataset(spec.dataset, spec.prepare.seed, spec.prepare.fs, **spec.options)
            prepare_store(opened, store, spec.prepare, progress=progress)
    out = bench.folder / "instructions" / f"{source}-{run.instructions}"
    with _stage(bench, f"build instructions {out.name}", out) as progress:
        build_instructions(store, out, pool_size=run.prompts, seed=bench.asked.seed, progress=progress)
    return out


def _perturb_more_and_more(bench: Bench, cell: Cell, config: GenerateConfig, places: Places) -> None:
    """The curves of a cell at the paper's levels, unless they were drawn before."""
    folder, study = bench.study_of(cell), Study([("meit-proportion", one) for one in bench.asked.proportions], config,
                                                resamples=bench.asked.score["resamples"])
    if not _is_drawn(folder, study, bench.run_of(cell.run)):
        study_robustness(bench.run_of(cell.run), folder, study, places=places, stage=bench.stage)


def _is_drawn(folder: Path, study: Study, run: Path) -> bool:
    """Whether curves are there of these levels, made of predictions of this run in this way."""
    if not is_finished(folder / CURVES):
        return False
    manifest = read_manifest(folder / CURVES, None)
    made_of = [path_at(folder / CURVES, one["path"]) for one in manifest.inputs.values()]
    asked = {"real", *WITHOUT, *(f"{kind}-{level:g}" for kind, level in study.levels)}
    if (manifest.arguments, manifest.seed, {path.stem for path in made_of}) != (
            {"resamples": study.resamples}, study.generate.seed, asked) or not all(map(is_finished, made_of)):
        return False
    same = [manifest_hash(path) == one["hash"] for path, one in zip(made_of, manifest.inputs.values(), strict=True)]
    made = [read_manifest(path, "predictions") for path in made_of]
    how = settings_of(study.generate)
    return all(same) and all(one.inputs["run"]["hash"] == manifest_hash(run)
                             and how == one.arguments | {"signal": how["signal"]} for one in made)


def _score(bench: Bench, cell: Cell, predictions: Path) -> None:
    """Score a cell, unless that was done before."""
    out, store, given = bench.scores_of(cell), bench.store_of(cell.target), bench.asked.score
    settings: dict[str, Any] = {"resamples": given["resamples"], "seed": bench.asked.seed}
    judge = bench.judge if bench.task == "alignment" else None
    if bench.task == "alignment":
        metrics: list[str] | None = [*ALIGNED, *(["judge"] if judge else [])]
        settings |= {"settings": {"judge": {"records": bench.asked.judged}}} if judge else {}
    else:
        metrics, bert = None, {name: given.get(f"bertscore_{name}") for name in ("model", "layers", "baseline")}
        bert = {name: value for name, value in bert.items() if value is not None}
        settings |= {"profile": given["profile"], "compat": ["meit"]} | ({"settings": {"bertscore": bert}} if bert
                                                                         else {})
    asked = {"metrics": metrics, **({"judges": judge.asked()} if judge else {}), **settings}
    if _is_scored(out, asked, {"predictions": predictions, "store": store}):
        return
    with bench.stage(f"score {cell.name}") as progress:
        score_file(predictions, out, store_path=store, metrics=metrics, judge=judge, progress=progress, **settings)


def _is_scored(out: Path, asked: Mapping[str, Any], made_of: Mapping[str, Path]) -> bool:
    """Whether scores are there that were made of these artefacts in this way."""
    if not is_finished(out):
        return False
    manifest = read_manifest(out, "scores")
    hashes = hashes_of({role: input_of(path, out) for role, path in made_of.items()})
    return manifest.arguments == asked and hashes.items() <= hashes_of(manifest.inputs).items()


@contextmanager
def _stage(bench: Bench, description: str, artefact: Path) -> Iterator[Any]:
    """A stage that makes an artefact; its cost is counted unless that is finished already."""
    if is_finished(artefact):
        yield None
        return
    with bench.stage(description) as progress, counted(bench.folder, artefact.relative_to(bench.folder).as_posix()):
        yield progress
