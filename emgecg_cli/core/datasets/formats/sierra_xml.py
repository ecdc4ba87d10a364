"""Philips Sierra XML, `restingecgdata`, compressed (XLI) or not."""

from __future__ import annotations

from emgecg_cli.core.datasets.formats.recording_files import FileFormat, FileRecording, RecordingFile
from emgecg_cli.core.datasets.formats.safe_xml import checked_xml, root_of
from emgecg_cli.core.datasets.formats.vendor_library import read_by_library

TITLE = "Philips Sierra XML"


def _is_sierra(file: RecordingFile) -> bool:
    return root_of(file) == "restingecgdata"


def _read(file: RecordingFile) -> FileRecording:
    return read_by_library(file, checked_xml(file), "sierra_xml", TITLE)


FORMAT = FileFormat(TITLE, _is_sierra, _read, names_patients=True)
