"""HL7 annotated ECG, `AnnotatedECG`, as regulators take it."""

from __future__ import annotations

from emgecg_cli.core.datasets.formats.recording_files import FileFormat, FileRecording, RecordingFile
from emgecg_cli.core.datasets.formats.safe_xml import checked_xml, root_of
from emgecg_cli.core.datasets.formats.vendor_library import read_by_library

TITLE = "HL7 aECG"


def _is_annotated(file: RecordingFile) -> bool:
    return root_of(file) == "AnnotatedECG"


def _read(file: RecordingFile) -> FileRecording:
    return read_by_library(file, checked_xml(file), "hl7_aecg", TITLE)


FORMAT = FileFormat(TITLE, _is_annotated, _read, names_patients=True)
