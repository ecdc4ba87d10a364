"""GE MUSE XML, `RestingECG`: eight leads as a rule, from which the other four limb leads follow."""

from __future__ import annotations

from emgecg_cli.core.datasets.formats.recording_files import FileFormat, FileRecording, RecordingFile
from emgecg_cli.core.datasets.formats.safe_xml import checked_xml, root_of
from emgecg_cli.core.datasets.formats.vendor_library import read_by_library

TITLE = "GE MUSE XML"


def _is_muse(file: RecordingFile) -> bool:
    return root_of(file).lower() == "restingecg"


def _read(file: RecordingFile) -> FileRecording:
    return read_by_library(file, checked_xml(file), "ge_muse_xml", TITLE)


FORMAT = FileFormat(TITLE, _is_muse, _read, names_patients=True)
