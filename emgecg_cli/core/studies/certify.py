"""`certify`: does a run use its signal? The same records, shown their own recording and four things that are not it.

A certificate is a folder: the predictions under each condition, and `certificate.json` with the verdict, beside the
statistics of every report. Every file is finished by itself, so that a killed study goes on where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from emgecg_cli.core import names
from emgecg_cli.core.artifacts import PredictionRow, read_rows
from emgecg_cli.core.claims import claim
from emgecg_cli.core.config import CertifyDefaults, GenerateConfig
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.evaluation.audit import check_rows, check_tokens
from emgecg_cli.core.evaluation.compute import Computed, Value, clusters_of, compute
from emgecg_cli.core.evaluation.statistics import statistics_frame, statistics_path, write_statistics
from emgecg_cli.core.evaluation.tasks import Asked, metrics_asked, tasks_of
from emgecg_cli.core.evidence import Evidence
from emgecg_cli.core.files import write_atomically
from emgecg_cli.core.generation import Places, generate_reports
from emgecg_cli.core.generation.job import chosen_records
from emgecg_cli.core.generation.run import open_task
from emgecg_cli.core.manifest import Manifest, file_hashes, input_of, write_manifest
from emgecg_cli.core.store import Store
from emgecg_cli.core.studies.information import Information, facts_of, information, said_of
from emgecg_cli.core.studies.verdict import (
    FEWEST,
    LOSS_MARGIN,
    MARGIN,
    OTHER,
    Difference,
    differences_of,
    loss_difference,
    rule_text,
    verdict_of,
)

REAL = "real"
MEANS = {REAL: "the record's own", OTHER: "another patient's", "zeros": "zeros",
         "noise": "noise of equal power in each lead", "none": "nothing: the text alone"}
_OF_VALUES = {"zeros": "a table of zeros is no blank one: 0 is a response that is absent",
              "noise": "values of a table have no power that noise could have"}
CERTIFICATE = "certificate.json"
Stage = Callable[[str], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Condition:
    """What records are shown: `signal` as `generate` takes it, None with the `reason` why it makes no sense here."""

    name: str
    means: str
    signal: str | None
    reason: str | None = None


@dataclass(frozen=True)
class Settings:
    """What decides a certificate beside run and store; `margin` and `loss_margin` are those of the rule."""

    generate: GenerateConfig
    resamples: int = CertifyDefaults.resamples
    margin: float = MARGIN
    loss_margin: float = LOSS_MARGIN


@dataclass(frozen=True)
class Certificate:
    """What `certificate.json` holds: the verdict with the scores `because` of which it is, the rule, the values under
    each condition and the mean losses of the references (nats a token), the paired differences, and what the reports of
    a condition know of the facts of their own records."""

    verdict: str
    because: list[str]
    rule: str
    run: str
    store: str
    split: str
    n: int
    patients: int
    seed: int
    resamples: int
    margin: float
    loss_margin: float
    conditions: list[Condition]
    values: dict[str, list[Value]]
    losses: dict[str, float]
    differences: list[Difference]
    information: dict[str, list[Information]]
    notes: list[str]


def certify(run: Path, folder: Path, settings: Settings, *, places: Places, stage: Stage) -> Certificate:
    """Generate under each condition into `folder`, compare, and write the certificate; run again, it goes on.

    `stage(description)` is entered around each stage and gives its progress callable. Raises MedReportError when run
    and store do not fit, when records have no reports, and for fewer patients than the rule holds for.
    """
    config = replace(settings.generate, reference_loss=True, signal=REAL)
    task = open_task(run, folder / f"{REAL}.jsonl", config, places)
    chosen = chosen_records(task.store, config)
    subjects, reports = (task.store.column(name).gather(chosen).to_list() for name in ("subject_id", "report"))
    _check_patients(len({subject or number for number, subject in enumerate(subjects) if reports[number] is not None}))
    conditions = conditions_of(task.shown.names)
    files: dict[str, Path] = {}
    for one in conditions:
        if one.signal is not None:
            files[one.name] = folder / f"{one.name}.jsonl"
            with stage(f"generate: {one.means}") as progress:
                generate_reports(run, files[one.name], replace(config, signal=one.signal), places=places,
                                 progress=progress)
    with stage("compare") as progress:
        rows = {name: read_rows(path, PredictionRow) for name, path in files.items()}
        found, computed, checked = compare_conditions(rows, task.store, settings, progress)
        found = replace(found, run=run.resolve().name, conditions=conditions)
    _write(folder / CERTIFICATE, found, computed, checked, {"run": run, "store": task.store.path, **files}, settings)
    return found


def conditions_of(inputs: Sequence[str]) -> list[Condition]:
    """The five conditions for a run that reads these inputs. Where tables are all it reads, zeros and noise make no
    sense; beside recordings they are hidden while those are zeros or noise."""
    found = [Condition(name, means, name) for name, means in MEANS.items()]
    if "values" not in inputs:
        return found
    if set(inputs) == {"values"}:
        return [replace(one, signal=None, reason=reason) if (reason := _OF_VALUES.get(one.name)) else one
                for one in found]
    hidden = {name: ",".join(f"{each}={'none' if each == 'values' else name}" for each in inputs)
              for name in _OF_VALUES}
    return [replace(one, signal=hidden.get(one.name, one.signal)) for one in found]


def compare_conditions(rows: Mapping[str, Sequence[PredictionRow]], store: Store, settings: Settings,
                       progress: Callable[..., None] | None = None) \
        -> tuple[Certificate, Computed, list[PredictionRow]]:
    """The certificate of predictions by condition, the statistics behind it, and the rows of the real condition; raises
    MedReportError for fewer patients than the rule holds for."""
    rows = {name: [row for row in own if row.reference is not None] for name, own in rows.items()}
    checked, notes = _checked(rows)
    clusters, _ = clusters_of(checked[REAL])
    patients = len(set(clusters))
    _check_patients(patients)
    seed, evidence = settings.generate.seed, Evidence(store)
    computed, more = _scored(checked, store, evidence, settings.resamples, seed, progress)
    differences = differences_of(computed, REAL)
    losses = {name: np.array([row.reference_loss for row in own], np.float64) for name, own in checked.items()}
    differences += [loss_difference(name, losses[REAL], own, clusters, settings.resamples, seed)
                    for name, own in losses.items() if name != REAL]
    facts = facts_of(checked[REAL], evidence)
    knows = {name: information(facts, said_of(facts, own), clusters, seed) for name, own in checked.items()}
    decided = verdict_of(differences, settings.margin, settings.loss_margin)
    decisive = sum(one.decisive for one in differences if one.condition == OTHER)
    found = Certificate(
        decided.verdict, decided.because, rule_text(settings.margin, settings.loss_margin, decisive), "",
        store.path.resolve().name, settings.generate.split, len(checked[REAL]), patients, seed, settings.resamples,
        settings.margin, settings.loss_margin, [], computed.values,
        {name: round(float(own.mean()), 10) for name, own in losses.items()}, differences, knows, notes + more)
    return found, computed, checked[REAL]


def _check_patients(patients: int) -> None:
    if patients < FEWEST:
        raise MedReportError(f"{patients} patients with a report: too few to certify anything",
                             f"give a split, or a --limit, with {FEWEST} patients or more")


def _checked(rows: Mapping[str, Sequence[PredictionRow]]) -> tuple[dict[str, list[PredictionRow]], list[str]]:
    """The rows of all conditions in the order of the real one, which batches of other lengths may have changed."""
    real = check_rows(rows[REAL], None)
    place = {row.record_id: i for i, row in enumerate(real)}
    found = {name: sorted(check_rows(own, None), key=lambda row: place[row.record_id]) for name, own in rows.items()}
    silent = sum(not row.prediction.strip() for row in found[REAL])
    return found, [f"{silent} of {len(real)} reports from the real recordings are empty"] if silent else []


def _scored(rows: Mapping[str, list[PredictionRow]], store: Store, evidence: Evidence, resamples: int, seed: int,
            progress: Callable[..., None] | None) -> tuple[Computed, list[str]]:
    """Every metric of texts under every condition, all with the same draws, and notes."""
    real, notes, segmentation = rows[REAL], [], None
    try:
        check_tokens(real, None)
    except MedReportError:
        segmentation = "char"
        notes.append("text without blanks between words is cut by character")
    wanted = [name for name in metrics_asked(None, "standard", (), None, {})
              if names.resolve("metric", name).declared.kind != "loss"]
    reports = [report for report in store.reports("train") if report and report.strip()]
    asked = Asked(wanted, "all", segmentation, reports, evidence)
    tasks = tasks_of(rows, {name: [row.prediction for row in own] for name, own in rows.items()}, asked)
    computed = compute(tasks, real, resamples, seed, progress)
    return computed, notes + [f"{name} not computed: {reason}" for name, reason in computed.missing.items()]


def _write(path: Path, found: Certificate, computed: Computed, rows: Sequence[PredictionRow],
           inputs: Mapping[str, Path], settings: Settings) -> None:
    """Write the certificate, the statistics of every report beside it, and its manifest."""
    text = json.dumps(asdict(found), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with claim(path, {"command": "certify"}, replaces=True) as claimed:
        claimed.begin()
        write_atomically(path, text.encode("utf-8", "backslashreplace"))
        write_statistics(statistics_path(path), statistics_frame(rows, computed.blocks))
        write_manifest(path, Manifest(
            kind="certificate", command="certify", arguments=asdict(settings), seed=found.seed,
            counts={"records": found.n, "patients": found.patients},
            inputs={role: input_of(where, path) for role, where in inputs.items()},
            details={"verdict": found.verdict,
                     "files": file_hashes(path.parent, [path.name, statistics_path(path).name])}))
        claimed.finish()
