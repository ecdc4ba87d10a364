"""EDF, EDF+ and BDF files, read by pyedflib (`medreport[hospital]`), each signal at its own rate."""

from __future__ import annotations

import os
import tempfile
from fractions import Fraction
from typing import Any

import numpy as np

from emgecg_cli.core.datasets.formats.channels import Channel, check_count, leads_of, microvolts_per, rate_of
from emgecg_cli.core.datasets.formats.recording_files import FileFormat, FileRecording, RecordingFile, refusing
from emgecg_cli.core.datasets.formats.wfdb_files import RecordError
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.person import read_sex
from emgecg_cli.core.signals.lead_names import lead_of

_EDF, _BDF = b"0       ", b"\xffBIOSEMI"


def _is_edf(file: RecordingFile) -> bool:
    return file.content.startswith(_EDF) and len(file.content) >= 256


def _is_bdf(file: RecordingFile) -> bool:
    return file.content.startswith(_BDF)


def _read(file: RecordingFile) -> FileRecording:
    """The library opens a path, so it is given a copy of what was looked at."""
    try:
        import pyedflib
    except ImportError:
        raise MedReportError("pyedflib is not installed, which reads EDF and BDF", "pip install 'medreport[hospital]'"
                             ) from None
    _check_size(file)
    with tempfile.TemporaryDirectory(prefix="medreport-") as folder, refusing(file.name, "not a readable EDF or BDF"):
        path = os.path.join(folder, "recording")
        with open(path, "wb") as stream:
            stream.write(file.content)
        try:
            reader = pyedflib.EdfReader(path, pyedflib.DO_NOT_READ_ANNOTATIONS, pyedflib.CHECK_FILE_SIZE)
        except OSError as error:
            raise RecordError("unreadable file", f"{file.name}: {str(error).replace(path + ': ', '')[:160]}") from None
        with reader:
            return _recording(file, reader)


def _check_size(file: RecordingFile) -> None:
    """Refuse a file that is cut short, which the library tells from others only by its size."""
    try:
        n_signals, records = int(file.content[252:256]), int(file.content[236:244])
        at = 256 + n_signals * 216
        samples = sum(int(file.content[at + 8 * i:at + 8 * i + 8]) for i in range(n_signals))
    except ValueError:
        raise RecordError("unreadable header", f"{file.name}: not the header of an EDF or BDF file") from None
    there = len(file.content) - 256 * (n_signals + 1)
    needed = records * samples * (3 if _is_bdf(file) else 2)
    if records < 1 or n_signals < 1 or there < needed:
        raise RecordError("wrong length", f"{file.name} holds {max(0, there)} bytes of samples, its header announces "
                                          f"{max(0, needed)}")
    check_count(records * samples)


def _recording(file: RecordingFile, reader: Any) -> FileRecording:
    names = [label.strip() for label in reader.getSignalLabels()]
    chosen = [i for i, name in enumerate(names) if lead_of(name) is not None]
    fields = reader.getSignalHeaders()
    seconds = Fraction(reader.getFileDuration())
    channels = []
    for i in chosen:
        head = fields[i]
        span = head["digital_max"] - head["digital_min"]
        if not span or head["physical_max"] == head["physical_min"]:
            raise RecordError("no calibration", f"lead {names[i][:40]} has no usable range")
        values = np.asarray(reader.readSignal(i), dtype=np.float64)
        fs = rate_of(float(head["sample_frequency"]))
        channels.append(Channel(names[i], values * microvolts_per(head["dimension"], names[i]), fs))
    if seconds <= 0:
        raise RecordError("wrong length", "no samples")
    sex = read_sex(reader.getSex())
    others = [name for i, name in enumerate(names) if i not in chosen]
    return FileRecording(leads_of(channels, others), patient=str(reader.getPatientCode()).strip(), sex=sex)


EDF = FileFormat("EDF", _is_edf, _read, names_patients=True)
BDF = FileFormat("BDF", _is_bdf, _read, names_patients=True)
