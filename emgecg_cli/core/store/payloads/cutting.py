"""From one recording to its rows of a store: windows, rate, checks, and measurements if asked for."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from fractions import Fraction
from math import ceil
from typing import Any

import numpy as np

from emgecg_cli.core.artifacts import NO_REPORT, Measurements, QuarantineRow, Reading, RecordRow
from emgecg_cli.core.config import PrepareConfig
from emgecg_cli.core.datasets import Recording
from emgecg_cli.core.reports.language import UNDETERMINED, detect_language
from emgecg_cli.core.signals.derived_leads import derive_leads
from emgecg_cli.core.signals.fingerprint import fingerprint, signal_hash
from emgecg_cli.core.signals.leads import LEADS, MISSING, count_clipped
from emgecg_cli.core.signals.quality import check_signal
from emgecg_cli.core.signals.resampling import Rate, resample, resampled_length, resampling_ratio
from emgecg_cli.core.signals.windows import window_starts
from emgecg_cli.core.store.payloads.texts import SetAside


def rows_of(recording: Recording, report: str | None,
            config: PrepareConfig) -> Iterator[tuple[RecordRow, np.ndarray] | QuarantineRow]:
    """The rows that a recording gives and their signals, int16 microvolts (12, config.sig_len); `report` None: no text.

    A window is cut at the recording's own rate, given the limb leads that are to be derived, measured there, resampled,
    and padded with missing samples at its end. One in which a present lead has no sample is set aside; raises SetAside
    where that is the only one, and RecordError where a recording that is read in stretches cannot be.
    """
    signal, fs = recording.signal, recording.fs
    if signal.dtype != np.int16 or signal.ndim != 2 or len(signal) != len(LEADS) or not signal.shape[1]:
        raise ValueError(f"record {recording.ref.record_id}: {signal.dtype} {signal.shape}, a source promises int16 "
                         f"({len(LEADS)}, L)")
    length = _samples(config.seconds, fs)
    starts = window_starts(signal.shape[1], length, config.window)
    present = [lead for lead, name in enumerate(LEADS) if name not in recording.absent_leads]
    empty = {start: _empty_leads(signal[:, start:start + length], present) for start in starts}
    kept = [start for start in starts if not empty[start]]
    if not kept:
        raise SetAside(recording, "nan lead", f"no sample in {empty[starts[0]]}")
    used = sum(min(length, signal.shape[1] - start) for start in starts)
    once: dict[str, Any] = {"n_cropped": resampled_length(signal.shape[1] - used, fs, config.fs),
            "n_trimmed": resampled_length(recording.n_trimmed, fs, config.fs)}
    for number, start in enumerate(starts):
        record_id = f"{recording.ref.record_id}#{number}" if len(starts) > 1 else recording.ref.record_id
        if empty[start]:
            yield QuarantineRow(record_id, "nan lead", f"no sample in {empty[start]} from {float(start / fs):g} s on",
                                recording.ref.source)
            continue
        window = signal[:, start:start + length]
        n_clipped = 0 if recording.n_clipped == 0 else count_clipped(window)
        derived: list[str] = []
        if config.derive_leads or recording.limb_leads_follow:
            window, derived = derive_leads(window, recording.absent_leads)
        stored, clipped = _at_rate(window, fs, config)
        row = _row(recording, report, config, record_id, start, stored, window, derived)
        yield replace(row, n_clipped=n_clipped + clipped, **(once if start == kept[-1] else {})), stored


def _samples(seconds: float, fs: Rate) -> int:
    """Samples of a window: at a rate that is not whole, those of which no part is left out."""
    return ceil(Fraction(seconds) * fs) if isinstance(fs, Fraction) else round(seconds * fs)


def _empty_leads(window: np.ndarray, present: list[int]) -> str:
    """The leads without a sample in a window, of those the recording has."""
    return ", ".join(LEADS[lead] for lead in present if (window[lead] == MISSING).all())


def _at_rate(window: np.ndarray, fs: Rate, config: PrepareConfig) -> tuple[np.ndarray, int]:
    """A window at the store's rate and length, and how many samples resampling clipped."""
    n_clipped = 0
    if fs != config.fs:
        window, n_clipped = resample(window, fs, config.fs)
    if window.shape[1] < config.sig_len:
        padded = np.full((len(LEADS), config.sig_len), MISSING, np.int16)
        padded[:, :window.shape[1]] = window
        window = padded
    return window[:, :config.sig_len], n_clipped


def _row(recording: Recording, report: str | None, config: PrepareConfig, record_id: str, start: int,
         stored: np.ndarray, window: np.ndarray, derived: list[str]) -> RecordRow:
    ref, fs = recording.ref, recording.fs
    language = recording.language or detect_language(recording.report or "")
    kind = recording.report_kind
    if report is None:
        language, kind = str(ref.details.get("language") or UNDETERMINED), NO_REPORT
    absent = [name for name in recording.absent_leads if name not in derived]
    n_padded = config.sig_len - min(config.sig_len, resampled_length(window.shape[1], fs, config.fs))
    n_missing = int(np.count_nonzero(stored == MISSING)) - len(absent) * config.sig_len \
        - (len(LEADS) - len(absent)) * n_padded
    return RecordRow(
        record_id=record_id, subject_id=ref.subject_id, split=str(ref.split), fs=config.fs, sig_len=config.sig_len,
        report=report, report_raw=recording.report_raw or recording.report, report_kind=kind, language=language,
        codes=recording.codes, source=ref.source, shard=0, row=0, recording_id=ref.record_id,
        start_s=float(start / fs), age=recording.age, sex=recording.sex, n_missing=n_missing, n_padded=n_padded,
        absent_leads=absent, resampled_from=None if fs == config.fs else fs if isinstance(fs, int) else float(fs),
        **described(stored, config.fs, derived), machine=recording.machine,
        measurements=measured(window, fs) if config.measure else None,
        reading=_reading(recording, config.fs, derived))


def _reading(recording: Recording, fs: int, derived: list[str]) -> Reading | None:
    """How the file was read, if there is anything to note; None for twelve leads at a whole rate."""
    ratio = resampling_ratio(recording.fs, fs) if isinstance(recording.fs, Fraction) else None
    found = Reading(str(ratio) if ratio else None, recording.unused_signals or None, derived or None,
                    recording.file_flags or None)
    return found if found != Reading() else None


def described(stored: np.ndarray, fs: int, derived: Collection[str] = ()) -> dict[str, Any]:
    """The columns of a row that describe its signal as it is stored, int16 microvolts (12, L); `derived` leads
    were computed from others."""
    return vars(check_signal(stored, fs, derived)) | {"signal_hash": signal_hash(stored),
                                                      "fingerprint": fingerprint(stored, fs)}


def measured(window: np.ndarray, fs: Rate) -> Measurements:
    """Measurements at the file's own rate; all undetected where that is too low to measure."""
    from emgecg_cli.core.signals.delineation import FS_RANGE, measure  # takes a moment to import

    if fs > FS_RANGE[1] or not isinstance(fs, int):
        if fs < FS_RANGE[0]:
            return Measurements()
        window, _ = resample(window, fs, 500)
        fs = 500
    return measure(window, fs) if fs >= FS_RANGE[0] else Measurements()
