"""DICOM waveforms, 12-lead, general and ambulatory ECG, read by pydicom (`medreport[hospital]`).

Leads are known by the code of their source (SCP-ECG or IEEE 11073), else by its meaning or the channel's label. Of
several multiplex groups all that are rhythm are read, each at its rate and from its time on; averaged beats are not.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from emgecg_cli.core.datasets.formats.channels import Channel, check_count, leads_of, microvolts_per, rate_of
from emgecg_cli.core.datasets.formats.recording_files import FileFormat, FileRecording, RecordingFile, refusing
from emgecg_cli.core.datasets.formats.wfdb_files import RecordError
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.person import read_age, read_sex
from emgecg_cli.core.signals.lead_names import lead_of

TITLE = "DICOM"
DEFLATED, BIG_ENDIAN = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
LEAD_CODES = {1: "I", 2: "II", 3: "V1", 4: "V2", 5: "V3", 6: "V4", 7: "V5", 8: "V6", 61: "III", 62: "aVR", 63: "aVL",
              64: "aVF"}
_SCHEMES = {"SCPECG": "5.6.3-9-", "MDC": "2:"}
_BEATS = ("MEDIAN", "AVERAGE", "REPRESENTATIVE", "MEAN BEAT")
_TYPES = {(8, "SB"): "i1", (8, "UB"): "u1", (16, "SS"): "i2", (16, "US"): "u2", (32, "SL"): "i4", (32, "UL"): "u4"}
_LATEST = 24 * 3600 * 1000.0


def _is_dicom(file: RecordingFile) -> bool:
    return file.content[128:132] == b"DICM"


def _read(file: RecordingFile) -> FileRecording:
    try:
        import pydicom
    except ImportError:
        raise MedReportError("pydicom is not installed, which reads DICOM", "pip install 'medreport[hospital]'"
                             ) from None
    if DEFLATED.encode() in file.head[:1024]:  # unpacked without a bound by the library
        raise RecordError("compressed file", f"{file.name} is deflated DICOM: save it uncompressed")
    with warnings.catch_warnings(), refusing(file.name, "not a readable DICOM waveform"):
        warnings.simplefilter("ignore")
        return _recording(file, pydicom.dcmread(io.BytesIO(file.content)))


def _recording(file: RecordingFile, data: Any) -> FileRecording:
    groups = list(data.get("WaveformSequence") or [])
    if not groups:
        what = str(data.get("Modality") or "")[:20]
        raise RecordError("no standard leads", f"{file.name} holds no waveform{f', but {what}' if what else ''}")
    syntax = getattr(getattr(data, "file_meta", None), "TransferSyntaxUID", "")
    order = ">" if syntax == BIG_ENDIAN else "<"
    rhythm = [group for group in groups
              if not any(word in str(group.get("MultiplexGroupLabel") or "").upper() for word in _BEATS)]
    channels, others = [], []
    for group in rhythm:
        for channel in _channels(file, group, order):
            (others.append(channel.name) if lead_of(channel.name) is None else channels.append(channel))
    flags = [] if len(rhythm) == len(groups) else ["averaged beats: not read"]
    return FileRecording(leads_of(channels, others, flags), patient=str(data.get("PatientID") or "").strip(),
                         age=_age(str(data.get("PatientAge") or "")), sex=read_sex(data.get("PatientSex")))


def _channels(file: RecordingFile, group: Any, order: str) -> Iterator[Channel]:
    """The signals of a multiplex group; of one that is no lead the name alone is looked at."""
    n_channels, n_samples = int(group.NumberOfWaveformChannels), int(group.NumberOfWaveformSamples)
    kind = (int(group.WaveformBitsAllocated), str(group.WaveformSampleInterpretation).upper())
    if kind not in _TYPES:
        raise RecordError("unreadable signal", f"{file.name}: samples of {kind[0]} bits, {kind[1][:8]!r}")
    dtype = np.dtype(order + _TYPES[kind])
    check_count(n_channels * n_samples)
    content, needed = group.WaveformData, n_channels * n_samples * dtype.itemsize
    if n_channels < 1 or n_samples < 1 or not needed <= len(content) <= needed + 1:  # a byte makes its length even
        raise RecordError("wrong length", f"{file.name}: {n_channels} signals of {n_samples} samples are announced, "
                                          f"and {len(content)} bytes are there")
    stored = np.frombuffer(content[:needed], dtype).reshape(n_samples, n_channels)
    missing = _padding(group, dtype)
    fs = rate_of(float(group.SamplingFrequency))
    offset = float(group.get("MultiplexGroupTimeOffset") or 0)
    if not 0 <= offset <= _LATEST:
        raise RecordError("unreadable header", f"{file.name}: a multiplex group begins at {offset:g} ms")
    definitions = list(group.get("ChannelDefinitionSequence") or [])
    if len(definitions) != n_channels:
        raise RecordError("unreadable header", f"{file.name}: {n_channels} signals, {len(definitions)} described")
    for column, definition in enumerate(definitions):
        name = _name(definition)
        values = stored[:, column].astype(np.float64)
        if missing is not None:
            values[stored[:, column] == missing] = np.nan
        if lead_of(name) is not None:
            values = _microvolts(values, definition, name)
        yield Channel(name, values, fs, round(offset * float(fs) / 1000))


def _padding(group: Any, dtype: np.dtype) -> Any:
    raw = group.get("WaveformPaddingValue")
    if not isinstance(raw, bytes) or len(raw) < dtype.itemsize:
        return None
    return np.frombuffer(raw[:dtype.itemsize], dtype)[0]


def _microvolts(values: np.ndarray, definition: Any, name: str) -> np.ndarray:
    """Sensitivity, its correction, and the baseline in the units of the channel."""
    units = _first(definition, "ChannelSensitivityUnitsSequence")
    if definition.get("ChannelSensitivity") is None or units is None:
        raise RecordError("no calibration", f"lead {name} has no sensitivity")
    step = float(definition.ChannelSensitivity) * float(definition.get("ChannelSensitivityCorrectionFactor") or 1)
    found = values * step + float(definition.get("ChannelBaseline") or 0)
    return found * microvolts_per(str(units.get("CodeValue") or ""), name)


def _name(definition: Any) -> str:
    source = _first(definition, "ChannelSourceSequence")
    if source is not None:
        start = _SCHEMES.get(str(source.get("CodingSchemeDesignator") or ""))
        number = str(source.get("CodeValue") or "")
        if start and number.startswith(start) and number[len(start):].isdecimal():
            return LEAD_CODES.get(int(number[len(start):][:6]), f"{start}{number[len(start):][:6]}")
        meaning = str(source.get("CodeMeaning") or "").partition("(")[0]
        if lead_of(meaning) is not None:
            return meaning
    return str(definition.get("ChannelLabel") or "")


def _first(item: Any, keyword: str) -> Any:
    found = item.get(keyword)
    return found[0] if found else None


def _age(text: str) -> float | None:
    """Years of `042Y`, `006M`, `003W`, `010D`."""
    number, unit = text.strip()[:-1], text.strip()[-1:]
    if not number.isdecimal() or unit not in "YMWD":
        return None
    return read_age(str(round(int(number) / {"Y": 1, "M": 12, "W": 52.18, "D": 365.25}[unit], 3)))


FORMAT = FileFormat(TITLE, _is_dicom, _read, names_patients=True)
