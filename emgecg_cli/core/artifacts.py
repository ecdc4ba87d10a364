"""The dataclass of every row on disk; each is the schema by which `json_lines` writes and reads it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from emgecg_cli.core.json_lines import UNSAID, parse_rows, read_rows, to_json, write_rows

__all__ = ["parse_rows", "read_rows", "to_json", "write_rows"]  # beside the rows themselves

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
    """One line of `instructions.jsonl`: a record's chat, in Hugging Face's convention; without a report, its prompt.

    `recording` is the record of the store, where several things are asked of it and `record_id` is another. `entry`
    holds the fields, but for its conversation, of the entry of a file that the row was read from.
    """

    record_id: str
    prompt_id: int
    messages: list[dict[str, Any]]
    recording: str | None = field(default=None, metadata=UNSAID)
    entry: dict[str, Any] | None = field(default=None, metadata=UNSAID)


@dataclass(frozen=True)
class PredictionRow:
    """One line of `predictions.jsonl`: a generated report beside its reference, None where the record has no report.

    `signal` says what the model was shown ("real", "shuffled", "zeros", "noise" or "none"), `signal_from` whose
    recording. `truncated`: the report was as long as it may be and had not ended; None where that is not known.
    `reference_loss`: the reference's mean loss in nats a token, given what the model was shown, and given another
    patient's in place of what was the record's own; None where nobody asked. `more_references` are further reports of
    the same record, in files of others that have several. `entry_id` is the id of the entry of a file of conversations
    that was asked. `reference_from` is "instructions" where the reference is their answer, and not the store's report.
    `question` is what a record of a benchmark was asked, and `task` which of its tasks it is of.
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
    reference_loss: float | None = field(default=None, metadata=UNSAID)
    reference_loss_shuffled: float | None = field(default=None, metadata=UNSAID)
    more_references: list[str] | None = field(default=None, metadata=UNSAID)
    entry_id: str | None = field(default=None, metadata=UNSAID)
    reference_from: str | None = field(default=None, metadata=UNSAID)
    question: str | None = field(default=None, metadata=UNSAID)
    task: str | None = field(default=None, metadata=UNSAID)
