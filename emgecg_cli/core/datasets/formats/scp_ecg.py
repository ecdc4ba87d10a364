"""SCP-ECG (EN 1064): sections behind a preamble, each with its checksum."""

from __future__ import annotations

import struct

from emgecg_cli.core.datasets.formats.recording_files import FileFormat, FileRecording, RecordingFile
from emgecg_cli.core.datasets.formats.vendor_library import read_by_library

TITLE = "SCP-ECG"
_HEADER = 16


def _is_scp(file: RecordingFile) -> bool:
    """Section 0 stands first and points to itself, at byte 7."""
    if len(file.content) < 32:
        return False
    size, section, length = struct.unpack_from("<I2xHI", file.content, 2)
    return (section == 0 and length >= _HEADER + 10 and (length - _HEADER) % 10 == 0 and size >= 6 + length
            and struct.unpack_from("<H4xI", file.content, 22) == (0, 7))


def _read(file: RecordingFile) -> FileRecording:
    return read_by_library(file, file.content, "scp_ecg", TITLE)


FORMAT = FileFormat(TITLE, _is_scp, _read, names_patients=True)
