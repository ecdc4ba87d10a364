"""Vendors' formats that ecgdatakit (`medreport[hospital]`) reads: its leads in microvolts, and what it warned of.

The library opens a path and finds out itself what is there, so it is given a copy of what was looked at, and its answer
is held against the format that was found.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from typing import Any

from emgecg_cli.core.datasets.formats.channels import Channel, check_count, leads_of, rate_of
from emgecg_cli.core.datasets.formats.recording_files import FileRecording, RecordingFile, refusing
from emgecg_cli.core.datasets.formats.wfdb_files import RecordError
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.person import OLDEST
from emgecg_cli.core.signals.lead_names import lead_of


def read_by_library(file: RecordingFile, content: bytes, source: str, title: str) -> FileRecording:
    """The recording in `content`, which is to be of the library's format `source`; raises RecordError.

    A checksum that does not fit, and samples that a file announces and lacks, set it aside; other warnings are flags.
    """
    record, said = _parsed(file.name, content, title)
    if record.source_format != source:
        raise RecordError("unknown format", f"{file.name} begins as {title} and is something else")
    with refusing(file.name, f"not a readable {title}"):
        return _recording(file, record, said)


def _parsed(name: str, content: bytes, title: str) -> tuple[Any, list[str]]:
    try:
        from ecgdatakit import ChecksumWarning, FileParser
    except ImportError:
        raise MedReportError(f"ecgdatakit is not installed, which reads {title}", "pip install 'medreport[hospital]'"
                             ) from None
    with tempfile.TemporaryDirectory(prefix="medreport-") as folder:
        path = os.path.join(folder, "recording")
        with open(path, "wb") as stream:
            stream.write(content)
        with warnings.catch_warnings(record=True) as caught, refusing(name, f"not a readable {title}"):
            warnings.simplefilter("always")
            try:
                record = FileParser.parse(path, units="uV")
            except Exception as error:
                text = str(error).replace(f" in {path}", "").replace(path, name)
                raise RecordError("unreadable file", f"{name}: {' '.join(text.split())[:200]}") from None
    if any(issubclass(one.category, ChecksumWarning) for one in caught):
        raise RecordError("checksum mismatch", f"{name}: its samples are not those that were written")
    return record, [" ".join(str(one.message).replace(path, name).split())[:200] for one in caught]


def _recording(file: RecordingFile, record: Any, said: list[str]) -> FileRecording:
    channels, others = [], []
    check_count(sum(len(lead.samples) for lead in record.leads))
    for lead in record.leads:
        if lead_of(lead.label) is None:
            others.append(lead.label)
            continue
        if lead.is_raw or lead.units != "uV":
            raise RecordError("no calibration", f"{file.name} does not say what one step of lead {lead.label[:40]} is")
        late = int(lead.annotations.get("start_sample", "1")) - 1
        channels.append(Channel(lead.label, lead.samples, rate_of(_exact_rate(record, lead)), max(0, late)))
    patient = record.patient
    age = float(patient.age) if patient.age is not None and 0 <= patient.age <= OLDEST else None
    return FileRecording(leads_of(channels, others, said), patient=str(patient.patient_id or "").strip(), age=age,
                         sex=patient.sex if patient.sex in ("F", "M") else None)


def _exact_rate(record: Any, lead: Any) -> float:
    """The rate before the library made it whole, where it says so."""
    return float(record.raw_metadata.get("rhythm_time", {}).get("sampling_rate_exact") or lead.sampling_rate)
