"""A WFDB header as a recording in a file: its signal files are those it names."""

from __future__ import annotations

import re

from emgecg_cli.core.datasets.formats.recording_files import FileFormat, FileRecording, RecordingFile
from emgecg_cli.core.datasets.formats.wfdb_headers import read_header_at
from emgecg_cli.core.datasets.formats.wfdb_records import read_leads

_FIRST = re.compile(rb"(?:\s*#[^\n]*\n|\s*\n)*\s*\S+?(?:/\d{1,9})?[ \t]+\d{1,9}(?:[ \t]+[\d.]|[ \t]*[\r\n])")


def _is_header(file: RecordingFile) -> bool:
    """Its signal files can be found only beside a file of its ending."""
    return file.path.endswith(".hea") and _FIRST.match(file.head) is not None


def _read(file: RecordingFile) -> FileRecording:
    from emgecg_cli.core.datasets.header_comments import age_of, codes_of, read_comments, sex_of

    header = read_header_at(file.root, file.path[:-4])
    said = read_comments(header.comments)
    return FileRecording(read_leads(header), age=age_of(said), sex=sex_of(said), codes=tuple(codes_of(said)))


FORMAT = FileFormat("WFDB", _is_header, _read)
