"""Philips Sierra XML, `restingecgdata`, compressed (XLI) or not.

XLI is LZW: a small file may announce gigabytes, so how much it unpacks to is counted before anything is unpacked.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from xml.etree import ElementTree

from emgecg_cli.core.datasets.formats.recording_files import FileFormat, FileRecording, RecordingFile
from emgecg_cli.core.datasets.formats.safe_xml import checked_xml, root_of
from emgecg_cli.core.datasets.formats.vendor_library import read_by_library
from emgecg_cli.core.datasets.formats.wfdb_files import RecordError

TITLE = "Philips Sierra XML"
LARGEST_LEAD = 2 ** 22  # bytes of one lead, unpacked: an hour at 500 Hz
BITS, LAST = 10, 2 ** 10 - 2
CHUNK_HEADER = 8


def _is_sierra(file: RecordingFile) -> bool:
    return root_of(file) == "restingecgdata"


def _read(file: RecordingFile) -> FileRecording:
    content = checked_xml(file)
    for chunk in _chunks(content):
        if _unpacked_length(chunk) > LARGEST_LEAD:
            raise RecordError("file too large", f"{file.name}: a lead unpacks to more than {LARGEST_LEAD} bytes")
    return read_by_library(file, content, "sierra_xml", TITLE)


def _chunks(content: bytes) -> Iterator[bytes]:
    """The packed leads of a file, as far as they can be told apart; what is wrong with them the library says."""
    for element in ElementTree.fromstring(content).iter():  # it was looked through before
        if element.tag.rpartition("}")[2] != "parsedwaveforms":
            continue
        try:
            packed = base64.b64decode("".join((element.text or "").split()), validate=True)
        except (binascii.Error, ValueError):
            continue
        at = 0
        while at + CHUNK_HEADER <= len(packed):
            size = int.from_bytes(packed[at:at + 4], "little", signed=True)
            at += CHUNK_HEADER
            if not 0 < size <= len(packed) - at:
                break
            yield packed[at:at + size]
            at += size


def _unpacked_length(chunk: bytes) -> int:
    """How many bytes a chunk of LZW codes of 10 bits unpacks to, counted until there are too many."""
    lengths, before, total = [1] * 256, 0, 0
    for at in range(0, len(chunk) * 8 - BITS + 1, BITS):
        first, shift = divmod(at, 8)
        code = int.from_bytes(chunk[first:first + 3].ljust(3, b"\0"), "big") >> (24 - BITS - shift) & (2 ** BITS - 1)
        if code > LAST or total > LARGEST_LEAD:
            break
        length = lengths[code] if code < len(lengths) else before + 1
        if before and len(lengths) <= LAST:
            lengths.append(before + 1)
        total, before = total + length, length
    return total


FORMAT = FileFormat(TITLE, _is_sierra, _read, names_patients=True)
