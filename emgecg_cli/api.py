"""The Python front door: the commands as functions, which take and return values. `import emgecg_cli as mr`.

Each does what the command of its name does, to the same files, and may be killed and called again like it: what is
finished is not made twice. Artefacts are given by their path or as the value that another function returned. Errors
are `MedReportError`, one line and a hint. Nothing is printed; `progress(done, total, **fields)` is called where it is
given. `workers` are processes beside this one: a script that asks for more than one needs `if __name__ == "__main__":`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from emgecg_cli.core import names
from emgecg_cli.core.config import INSTRUCTIONS, RUNS, STORES, GenerateConfig, PrepareConfig
from emgecg_cli.core.errors import MedReportError

if TYPE_CHECKING:
    import numpy as np
    import polars

    from emgecg_cli.core.artifacts import Measurements
    from emgecg_cli.core.drafting import Drafted
    from emgecg_cli.core.evaluation.score import Scores
    from emgecg_cli.core.instructions.build import Instructions
    from emgecg_cli.core.store import Store
    from emgecg_cli.core.training.run import TrainResult
    from emgecg_cli.core.view import Viewed, ViewedTables

__all__ = ["MedReportError", "build_instructions", "generate", "measure", "open_store", "perturb", "prepare",
           "read_predictions", "report", "score", "train", "view"]

PathLike: TypeAlias = "str | Path"
Progress = Callable[..., None]


def prepare(dataset: str, root: PathLike | None = None, out: PathLike | None = None, *, workers: int = 1,
            progress: Progress | None = None, **settings: Any) -> Store:
    """Read a data set of `medreport prepare` into a store (default `stores/DATASET`), and open it.

    `settings` are the options of the command by their names: of the store (`fs`, `seconds`, `split`, `measure`, …) and
    of the source (`reports`, `records`, …). Raises MedReportError for one that is neither.
    """
    from emgecg_cli.core.datasets import open_dataset
    from emgecg_cli.core.store import Engine, open_store, prepare_store

    own = {one.name for one in fields(PrepareConfig)}
    config = PrepareConfig(**{name: value for name, value in settings.items() if name in own})
    of_source = {name: value for name, value in settings.items() if name not in own}
    of_source |= {"no_reports": True} if config.no_reports else {}
    source = open_dataset(dataset, config.seed, config.fs, root=_path(root), **{
        name: Path(value) if name in ("reports", "codes", "mapping") else value for name, value in of_source.items()})
    place = _path(out) or Path(STORES) / dataset
    return open_store(prepare_store(source, place, config, Engine("local", workers), progress).path)


def open_store(path: PathLike) -> Store:
    """A finished store: `len`, `store[i]` (a row with its `signal`), `scan()` (a polars LazyFrame), `signal(i)`."""
    from emgecg_cli.core.store import open_store as opened

    return opened(Path(path))


def view(store: Store | PathLike, record: str | int) -> Viewed | ViewedTables:
    """A record by its id, or by its row number, with its measurements; notebooks draw it on ECG paper."""
    from emgecg_cli.core.view import open_record

    opened = open_store(store) if isinstance(store, str | Path) else store
    return open_record(opened, None, record) if isinstance(record, int) else open_record(opened, record)


def measure(signal: np.ndarray, fs: int) -> Measurements:
    """Rate, rhythm, PR, QRS, QT, axes and ST levels of a recording.

    `signal` (12, L): leads I II III aVR aVL aVF V1-V6, int16 microvolts (-32768 missing) as stores hold them, or
    floating-point millivolts (NaN missing); `fs` from 100 to 1000 Hz. Raises MedReportError for other shapes.
    """
    import numpy as np

    from emgecg_cli.core.signals.delineation import measure as measured
    from emgecg_cli.core.signals.leads import to_int16_uv

    given = np.asarray(signal)
    if given.ndim != 2 or given.shape[0] != 12:
        raise MedReportError(f"a signal of shape {given.shape}", "give (12, L): leads I II III aVR aVL aVF V1 to V6")
    if np.issubdtype(given.dtype, np.floating):
        given, _ = to_int16_uv(given * 1000.0)
    return measured(given.astype(np.int16), int(fs))


def build_instructions(store: Store | PathLike, out: PathLike | None = None, *, progress: Progress | None = None,
                       **settings: Any) -> Instructions:
    """Draw a prompt for every record of a store (default `instructions/STORE`), and open what was written.

    `settings` are options of the command: `pool_size`, `rephraser`, `seed`, `tables`, …; `kind` "grounded" with
    `writer` and `inputs`, or `from_file` with `remap`, pairs of an old and a new beginning of paths.
    """
    from emgecg_cli.core.instructions.build import open_instructions
    from emgecg_cli.core.instructions.kinds import REPORT, build_of_kind, usual_name

    place, file = _place(store), settings.pop("from_file", None)
    name = usual_name(place, settings.get("kind", REPORT), _path(file))
    return open_instructions(build_of_kind(place, _path(out) or Path(INSTRUCTIONS) / name, from_file=_path(file),
                                           progress=progress, **settings).path)


def train(instructions: Instructions | PathLike, out: PathLike | None = None, *, store: Store | PathLike | None = None,
          progress: Progress | None = None, **settings: Any) -> TrainResult:
    """Train a model in this process (default `runs/BACKBONE-INSTRUCTIONS`, rewarded `runs/RUN-grpo`), or go on with one
    that was interrupted.

    `settings` are options of the command: `backbone`, `recipe`, `encoder`, `fusion`, `steps`, … and `file`, a
    `config.yaml` of another run.
    """
    from emgecg_cli.core.config.train import usual_run_name
    from emgecg_cli.core.recipes import resolve_train_config
    from emgecg_cli.core.training.run import train as trained

    config, place = resolve_train_config(**settings), _place(instructions)
    return trained(place, _path(out) or Path(RUNS) / usual_run_name(config, place), config,
                   store_path=_place(store) if store else None, progress=progress)


def generate(run: TrainResult | PathLike, out: PathLike | None = None, *, store: Store | PathLike | None = None,
             instructions: Instructions | PathLike | None = None, progress: Progress | None = None,
             **settings: Any) -> polars.DataFrame:
    """Write a report for every record of a split: one row each, with the reference beside it.

    With `out` they are written to that file too, and the call can be killed and repeated. `settings` are options of the
    command: `split`, `signal` ("real", "shuffled", "zeros", "noise", "none"), `batch_size`, `num_beams`, `limit`, …
    """
    from emgecg_cli.core.generation import Places, generate_reports

    known = [one.name for one in fields(GenerateConfig)]
    if unknown := next((name for name in settings if name not in known), None):
        raise names.unknown_name("setting of generate", unknown, known)
    places = Places(store=_place(store) if store else None,
                    instructions=_place(instructions) if instructions else None)
    target, stream = _path(out), io.StringIO()
    generate_reports(_place(run), target or stream, GenerateConfig(**settings), places=places, progress=progress)
    if target:
        return read_predictions(target)
    stream.seek(0)
    return _frame(stream)


def report(run: TrainResult | PathLike, *files: PathLike, fs: float | None = None, units: str | None = None,
           leads: str | None = None, references: PathLike | None = None, mapping: PathLike | None = None,
           backbone: PathLike | None = None, max_new_tokens: int | None = None, progress: Progress | None = None
           ) -> Drafted:
    """Draft the reports of recordings in files of any format of docs/files.md, or of EMG tables: `.drafts`, each with
    its text, measurements and the claims that the recording contradicts, and `.refused`, what could not be read.

    `fs`, `units` and `leads` are what a file does not say itself. A draft, not a diagnosis.
    """
    from emgecg_cli.core.datasets.formats.recording_files import stated_by
    from emgecg_cli.core.drafting import Asked, draft_reports

    asked = Asked([Path(file) for file in files], stated_by(fs, units, leads), _path(mapping), _path(references),
                  _path(backbone), False, max_new_tokens)
    return draft_reports(_place(run), asked, None, progress)


def perturb(store: Store | PathLike, kind: str, level: float, out: PathLike | None = None, *,
            workers: int = 1, progress: Progress | None = None, **settings: Any) -> Store:
    """The same store with distorted signals: `kind` is one of `medreport perturb --kind`, `level` is in its unit.

    `settings` are options of the command: `split`, `records`, `seed`, `copy`, `noise_root`.
    """
    from emgecg_cli.core.perturbations import level_name, perturb_store
    from emgecg_cli.core.store import Engine, open_store

    names.check("perturbation", kind)
    made = perturb_store(_place(store), _path(out), kind=kind, levels={level_name(kind): float(level)},
                         engine=Engine("local", workers), progress=progress, **settings)
    return open_store(made.path)


def read_predictions(path: PathLike, **fields: str) -> polars.DataFrame:
    """Predictions as a frame: ours, or others', whose fields are named: `prediction="output", record_id="id"`."""
    from emgecg_cli.core.predictions import parse_fields
    from emgecg_cli.core.predictions import read_predictions as read

    return _frame_of(read(Path(path), parse_fields(f"{name}={theirs}" for name, theirs in fields.items())).rows)


def score(predictions: Any, out: PathLike | None = None, *, store: Store | PathLike | None = None,
          progress: Progress | None = None, **settings: Any) -> Scores:
    """Score reports against their references, beside baselines that see no signal.

    `predictions` is a path, a polars or pandas frame or a list of mappings with `record_id`, `prediction` and
    `reference`; a mapping of names to several of them is a comparison by paired tests. With `store` they are held
    against it, and its train reports make the baselines. `settings` are those of the command: `metrics`, `profile`,
    `compat`, `resamples`, `seed`, `language`, `segmentation`, `section`, …
    """
    from emgecg_cli.core.evaluation.files import score_file

    sources = {name: _source(one) for name, one in predictions.items()} if isinstance(predictions, Mapping) \
        else _source(predictions)
    return score_file(sources, _path(out), store_path=_place(store) if store else None, progress=progress, **settings)


def _path(given: PathLike | None) -> Path | None:
    return None if given is None else Path(given)


def _place(given: Any) -> Path:
    """The path of an artefact, given as it or as a value that has one."""
    return Path(given) if isinstance(given, str | Path) else Path(given.path)


def _source(given: Any) -> Path | io.StringIO:
    """Predictions as a file: a path, or the rows of a frame as lines."""
    from emgecg_cli.core.pages.printable import json_text

    if isinstance(given, str | Path):
        return Path(given)
    rows: Sequence[Mapping[str, Any]] = given.to_dicts() if hasattr(given, "to_dicts") else \
        given.to_dict("records") if hasattr(given, "to_dict") else given
    lines = [json_text({name: value for name, value in row.items() if value is not None}) for row in rows]
    stream = io.StringIO("".join(f"{line}\n" for line in lines))
    stream.name = "predictions"
    return stream


def _frame(stream: io.StringIO) -> polars.DataFrame:
    from emgecg_cli.core.predictions import read_predictions as read

    return _frame_of(read(stream, None).rows)


def _frame_of(rows: Sequence[Any]) -> polars.DataFrame:
    """Rows as a frame, without the columns that none of them has."""
    from dataclasses import asdict

    import polars

    frame = polars.DataFrame([asdict(row) for row in rows], infer_schema_length=None)
    return frame.select([name for name in frame.columns if frame[name].null_count() < len(frame)])
