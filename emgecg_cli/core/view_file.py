"""Viewing a recording as its file holds it: read, checked and measured at its own rate, ten seconds of it, no store."""

from __future__ import annotations

import os
from dataclasses import replace
from math import ceil
from pathlib import Path

from emgecg_cli.core.artifacts import Measurements, QuarantineRow
from emgecg_cli.core.config import PrepareConfig
from emgecg_cli.core.datasets import Recording, RecordRef
from emgecg_cli.core.datasets.formats.recording_files import NOTHING, Stated, read_recording
from emgecg_cli.core.datasets.formats.wfdb_files import RecordError
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.store.payloads.cutting import rows_of
from emgecg_cli.core.store.payloads.texts import SetAside
from emgecg_cli.core.view import Viewed

SECONDS = 10.0
RATES = (100, 1000)  # that a recording is shown at as it is; others are brought to the rate of measurements
OTHER_RATE = 500


def view_file(path: Path, start: float = 0.0, stated: Stated = NOTHING, seconds: float = SECONDS) -> Viewed:
    """Ten seconds, or as many as are asked for, of the recording in a file, from `start` seconds on, with what is
    measured on them; raises MedReportError for a file that cannot be read. The dataset it names is the format."""
    try:
        return _view(path, start, stated, seconds)
    except RecordError as error:
        raise MedReportError(f"{path}: {error.reason}: {error.detail}", None if "give --file" in error.detail else
                             "docs/files.md lists the formats that are read") from None
    except SetAside as refused:
        raise MedReportError(f"{path}: {refused.row.reason}: {refused.row.detail}",
                             "choose another --start") from None


def _view(path: Path, start: float, stated: Stated, seconds: float) -> Viewed:
    place = os.path.realpath(path)  # who names a link means what it leads to
    found = read_recording(os.path.dirname(place), place, stated)
    leads, fs = found.leads, found.leads.fs
    length = leads.signal.shape[1]
    if start * fs >= length:
        raise MedReportError(f"{path} has no second {start:g}", f"it is {float(length / fs):g} s long")
    first = round(start * fs)
    window = leads.signal[:, first:min(length, first + ceil(seconds * fs))]
    keeps = isinstance(fs, int) and RATES[0] <= fs <= RATES[1] and (seconds * fs).is_integer()
    rate = int(fs) if keeps else OTHER_RATE
    ref = RecordRef(path.name, path.name, path.name, "test", {}, unreported=True)
    recording = Recording(ref, window, fs, None, codes=list(found.codes), age=found.age, sex=found.sex,
                          limb_leads_follow=found.has_two_limb_leads, **leads.facts())
    config = PrepareConfig(fs=rate, seconds=seconds, measure=True, no_reports=True)
    row, signal = next(one for one in rows_of(recording, None, config) if not isinstance(one, QuarantineRow))
    row = replace(row, split="", start_s=float(first / fs), n_cropped=length - window.shape[1])
    return Viewed(found.format, row, signal[:, :row.sig_len - row.n_padded], row.measurements or Measurements(), True)
