"""The dataclass of every row on disk, and reading and writing JSON lines.

A row class is the schema: `read_rows` refuses a line that lacks a field without a default, and names file and line.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import IO, Any, TypeVar

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.files import write_chunks_atomically

SPLITS = ("train", "val", "test")
PERTURBED = "perturbed.jsonl"  # of a perturbed store: a PerturbedRow for each record that was perturbed
NO_REPORT = "none"
WITHOUT_REPORT = {"no report", "empty report", "no label"}  # why it is set aside where such are not to be kept
# who wrote a report: a physician, the recorder, a template from labels, a translator of one of them, or nobody
REPORT_KINDS = ("physician", "machine", "template", "translation", NO_REPORT)


@dataclass(frozen=True)
class Measurements:
    """What `signals.delineation` measured on one recording; None is undetected, never 0.

    Times in milliseconds, intervals of the median lead; axes in degrees of the frontal plane; ST levels in microvolts,
    60 ms after the J point against QRS onset, one per lead in the order of `leads.LEADS`, None for a lead that is not
    in use. A `_quality` is "good", "fair" or "poor", None where its measure is; that of the QTc is `qt_quality`.
    `n_beats` counts the R peaks. Definitions and accuracy: docs/measurements.md.
    """

    n_beats: int = 0
    heart_rate_bpm: float | None = None
    heart_rate_quality: str | None = None
    rr_cv: float | None = None
    regular: bool | None = None
    regular_quality: str | None = None
    p_present: bool | None = None
    p_present_quality: str | None = None
    p_ms: float | None = None
    p_quality: str | None = None
    pr_ms: float | None = None
    pr_quality: str | None = None
    qrs_ms: float | None = None
    qrs_quality: str | None = None
    qt_ms: float | None = None
    qt_quality: str | None = None
    qtc_bazett_ms: float | None = None
    qtc_fridericia_ms: float | None = None
    p_axis_deg: float | None = None
    p_axis_quality: str | None = None
    qrs_axis_deg: float | None = None
    qrs_axis_quality: str | None = None
    t_axis_deg: float | None = None
    t_axis_quality: str | None = None
    st_uv: list[float | None] | None = None
    st_quality: str | None = None


@dataclass(frozen=True)
class MachineIntervals:
    """What the recorder itself measured, in milliseconds from the start of its beat window and degrees; None is
    missing."""

    rr_ms: float | None = None
    p_onset_ms: float | None = None
    p_end_ms: float | None = None
    qrs_onset_ms: float | None = None
    qrs_end_ms: float | None = None
    t_end_ms: float | None = None
    p_axis_deg: float | None = None
    qrs_axis_deg: float | None = None
    t_axis_deg: float | None = None


@dataclass(frozen=True)
class Sections:
    """The two sections of an EMG report, as they were before they were joined to one text; `height` in cm and `flags`,
    faults of the tables that did not set the record aside, are of the same examination."""

    findings: str = ""
    impression: str = ""
    height: float | None = None
    flags: list[str] | None = None


@dataclass(frozen=True)
class Reading:
    """How the file of a recording was read, where there was more to it than the twelve leads at a whole rate.

    `resampled_by`: output samples per input sample, as in "200/513", where the rate of the file is no whole number and
    the nearest fraction was taken. `unused_signals`: the names of signals of the file that are none of the twelve
    leads. `derived_leads`: limb leads that the file lacks and that were computed from two others. `file_flags`: faults
    of the file that did not set the record aside, a line each.
    """

    resampled_by: str | None = None
    unused_signals: list[str] | None = None
    derived_leads: list[str] | None = None
    file_flags: list[str] | None = None


@dataclass(frozen=True)
class RecordRow:
    """One row of a store's `records.parquet`: one recording, or one window of it, with its report.

    `shard` and `row` say where its signal lies. `recording_id` is the recording's own id and `start_s` where in it the
    row begins, in seconds; `record_id` differs from it only where a recording gives several rows. `report_kind` says
    who wrote the text: one of REPORT_KINDS. A recording without a report has None for it, and is never in train. Counts
    of samples are in samples of the store, over all leads for `n_missing` and `n_clipped`, in time for the others.
    Residuals are in microvolts, at the median and the 99th percentile of the samples; they are None when a limb lead is
    absent. `resampled_from` is the rate in Hz the leads had in the file, whole or not, when it was another one than
    `fs`. The checks are those of `signals.quality`; `signal_hash` and `fingerprint` find equal and nearly equal
    recordings.
    """

    record_id: str
    subject_id: str
    split: str
    fs: int
    sig_len: int
    report: str | None
    report_raw: str | None
    language: str
    codes: list[str]
    source: str
    shard: int
    row: int
    report_kind: str = "physician"
    recording_id: str = ""
    start_s: float = 0.0
    age: float | None = None
    sex: str | None = None
    n_missing: int = 0
    n_clipped: int = 0
    n_trimmed: int = 0
    n_cropped: int = 0
    n_padded: int = 0
    absent_leads: list[str] = field(default_factory=list)
    flat_leads: list[str] = field(default_factory=list)
    flat_stretches: list[str] = field(default_factory=list)
    saturated_leads: list[str] = field(default_factory=list)
    resampled_from: float | None = None
    einthoven_p50_uv: float | None = None
    einthoven_p99_uv: float | None = None
    goldberger_p50_uv: float | None = None
    goldberger_p99_uv: float | None = None
    lead_check: str = "ok"
    lead_glitch: str | None = None
    scale_check: str = "ok"
    signal_hash: str = ""
    fingerprint: str | None = None
    machine: MachineIntervals | None = None
    measurements: Measurements | None = None
    sections: Sections | None = None
    reading: Reading | None = None


@dataclass(frozen=True)
class QuarantineRow:
    """One line of `quarantine.jsonl`: a record that was left out of a store, and why."""

    record_id: str
    reason: str
    detail: str
    source: str


@dataclass(frozen=True)
class PerturbedRow:
    """One line of a perturbed store's `perturbed.jsonl`: a record that was perturbed.

    `snr_db` is the ratio that was reached (None: no value changed, or there was no signal), `changed` the share of time
    in which any lead differs, `n_clipped` the samples at the end of the int16 scale.
    """

    record_id: str
    snr_db: float | None
    changed: float
    n_clipped: int


@dataclass(frozen=True)
class InstructionRow:
    """One line of `instructions.jsonl`: a record's chat, in Hugging Face's convention; without a report, its prompt."""

    record_id: str
    prompt_id: int
    messages: list[dict[str, Any]]


@dataclass(frozen=True)
class PredictionRow:
    """One line of `predictions.jsonl`: a generated report beside its reference, None where the record has no report.

    `signal` says what the model was shown ("real", "shuffled", "zeros" or "none"), `signal_from` whose recording.
    `truncated`: the report was as long as it may be and had not ended; None where that is not known.
    """

    record_id: str
    prediction: str
    reference: str | None
    prompt_id: int | None = None
    subject_id: str | None = None
    dataset: str | None = None
    language: str | None = None
    codes: list[str] | None = None
    signal: str | None = None
    signal_from: str | None = None
    truncated: bool | None = None


Row = TypeVar("Row")

# annotation of a field -> the JSON values it takes, and their name in an error; other annotations are not checked
_JSON_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "str": ((str,), "text"),
    "int": ((int,), "a whole number"),
    "float": ((float, int), "a number"),
    "list[str]": ((list,), "a list of texts"),
    "list[dict[str, Any]]": ((list,), "a list of objects"),
}
_JSON_NAMES = {type(None): "null", bool: "true or false", int: "a number", float: "a number", str: "text",
               list: "a list", dict: "an object"}


def to_json(row: object) -> str:
    """One line of JSON, UTF-8, keys in field order."""
    return json.dumps(asdict(row) if not isinstance(row, dict) else row, ensure_ascii=False)  # type: ignore[call-overload]


def write_rows(path: Path, rows: Iterable[object]) -> None:
    """Write all rows as JSON lines, atomically."""
    write_chunks_atomically(path, ((to_json(row) + "\n").encode("utf-8", "surrogatepass") for row in rows))


def read_rows(path: Path, kind: type[Row]) -> list[Row]:
    """Read JSON lines as rows of `kind`; raises MedReportError naming file and line."""
    try:
        with path.open(encoding="utf-8-sig") as stream:
            return list(parse_rows(stream, kind, str(path)))
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        raise MedReportError(f"{path}: {reason}", "check the path") from None


def parse_rows(stream: IO[str] | Iterable[str], kind: type[Row], name: str) -> Iterator[Row]:
    """Parse JSON lines as rows of `kind`; unknown keys are ignored, so that others may add theirs.

    Raises MedReportError naming the line for bytes that are not UTF-8, for what is not a JSON object, and for a field
    that is missing or of another type.
    """
    known = {f.name: f.default is MISSING and f.default_factory is MISSING for f in fields(kind)}  # type: ignore[arg-type]
    types = {f.name: str(f.type) for f in fields(kind)}  # type: ignore[arg-type]
    for number, line in _numbered_lines(stream, name):
        if not line.strip():
            continue
        where = f"{name}, line {number}"
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise MedReportError(f"{where}: not JSON ({error})", "each line holds one JSON object") from None
        if not isinstance(values, dict):
            raise MedReportError(f"{where}: not a JSON object", "each line holds one JSON object")
        missing = [key for key, required in known.items() if required and key not in values]
        if missing:
            raise MedReportError(f"{where}: lacks {', '.join(missing)}", f"a {kind.__name__} has {', '.join(known)}")
        row = {key: value for key, value in values.items() if key in known}
        for key, value in row.items():
            if expected := _mismatch(value, types[key]):
                raise MedReportError(f"{where}: {key} is {_JSON_NAMES[type(value)]}, where {expected} is needed",
                                     "write the field as its type, or leave the line out")
        yield kind(**row)


def _numbered_lines(stream: IO[str] | Iterable[str], name: str) -> Iterator[tuple[int, str]]:
    """Lines with their numbers from 1."""
    number = 0
    try:
        for number, line in enumerate(stream, 1):
            yield number, line
    except UnicodeDecodeError as error:
        raise MedReportError(f"{name}, after line {number}: not UTF-8 text ({error.reason})",
                             "save the file as UTF-8") from None


def _mismatch(value: object, annotation: str) -> str | None:
    """What a field of this annotation needs, when the value is not that; None when it is."""
    base = annotation.removesuffix(" | None")
    if base not in _JSON_TYPES or (value is None and base != annotation):
        return None
    accepted, expected = _JSON_TYPES[base]
    fits = isinstance(value, accepted) and not isinstance(value, bool)
    if isinstance(value, list):
        item = str if base == "list[str]" else dict
        fits = fits and all(isinstance(one, item) for one in value)
    return None if fits else expected
