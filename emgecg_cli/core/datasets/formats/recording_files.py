"""One recording in one file, in any format of `FILE_FORMATS`: known by its content, never by what it is called.

What is read is bounded before it is read, and a compressed file before it is unpacked. Whatever a file is, it gives
twelve leads by name in int16 microvolts, or a `RecordError` in one line.
"""

from __future__ import annotations

import importlib
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from emgecg_cli.core.datasets.formats import FILE_FORMATS
from emgecg_cli.core.datasets.formats.wfdb_files import RecordError, read_file
from emgecg_cli.core.datasets.formats.wfdb_headers import LARGEST_RATE
from emgecg_cli.core.datasets.formats.wfdb_records import MICROVOLTS, Leads
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.signals.derived_leads import LIMB_LEADS
from emgecg_cli.core.signals.lead_names import lead_of
from emgecg_cli.core.signals.leads import LEADS

LARGEST_FILE = 2 ** 28
HEAD = 4096
_GZIP = b"\x1f\x8b\x08"
COMPANIONS = (".dat", ".mat", ".atr", ".qrs", ".xws", ".d12", ".d16")  # what lies beside a WFDB header
# content that is no recording, and what to say of it
_OTHERS = (
    (b"PK\x03\x04", "a zip archive", "unpack it first"),
    (b"%PDF", "a PDF", "export the recording's samples in place of its picture"),
    (b"\x89PNG", "a picture", "export the recording's samples in place of its picture"),
    (b"\xff\xd8\xff", "a picture", "export the recording's samples in place of its picture"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a document of an office program", "save it as CSV"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", "unpack it first"), (b"BZh", "a bzip2 archive", "unpack it first"),
    (b"\xfd7zXZ\0", "an xz archive", "unpack it first"), (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it first"),
    (b"-----BEGIN PGP", "encrypted", "decrypt it first"), (b"Salted__", "encrypted", "decrypt it first"),
    (b"-----BEGIN CMS", "encrypted", "decrypt it first"), (b"-----BEGIN PKCS7", "encrypted", "decrypt it first"),
    (b"age-encryption.org", "encrypted", "decrypt it first"))


@dataclass(frozen=True)
class Stated:
    """What the user says of files that do not say it themselves: the rate in Hz, the units of their numbers, and what
    their signals are called, in order. What a file says stands."""

    fs: float | None = None
    units: str | None = None
    leads: tuple[str, ...] = ()


NOTHING = Stated()


def stated_by(fs: float | None, units: str | None, leads: str | None) -> Stated:
    """What a user states, `leads` as names between commas or "standard" for the twelve in their order; raises
    MedReportError."""
    if fs is not None and not 0 < fs <= LARGEST_RATE:
        raise MedReportError(f"--file-fs {fs:g}: no rate of a recording", "give the samples per second, such as 500")
    if units is not None and units.lower() not in MICROVOLTS:
        raise MedReportError(f"--file-units {units}", "give uV, mV or V")
    named = LEADS if leads == "standard" else tuple(one.strip() for one in leads.split(",")) if leads else ()
    if leads and not any(lead_of(one) is not None for one in named):
        raise MedReportError(f"--file-leads {leads[:60]}: names none of the twelve leads",
                             "give the names of the signals in order, I,II,V1 say, or standard")
    return Stated(fs, units, named)


@dataclass(frozen=True)
class RecordingFile:
    """A file to be read: where it lies, its content, unpacked, and what is stated of it."""

    root: str
    path: str
    content: bytes = field(repr=False)
    stated: Stated = NOTHING

    @property
    def name(self) -> str:
        """What messages call it."""
        return os.path.basename(self.path)

    @cached_property
    def head(self) -> bytes:
        """The bytes it begins with."""
        return self.content[:HEAD]


@dataclass(frozen=True)
class FileRecording:
    """A recording as its file gives it. `patient` is the file's own id of the patient, "" where it has none; `age` in
    years, `sex` "F" or "M"; `codes` are those of the file. `format` is the title of the format it was in."""

    leads: Leads
    patient: str = ""
    age: float | None = None
    sex: str | None = None
    codes: tuple[str, ...] = ()
    format: str = ""

    @property
    def has_two_limb_leads(self) -> bool:
        """Whether it has I and II alone of the limb leads, as recorders store them: the other four follow from these.
        """
        return [name for name in LIMB_LEADS if name not in self.leads.absent_leads] == ["I", "II"]


@dataclass(frozen=True)
class FileFormat:
    """A format: what it is called, whether a file is in it, and how it is read, by `RecordError` what cannot be.

    `names_patients` says whether its files may hold an id of the patient.
    """

    title: str
    is_one: Callable[[RecordingFile], bool]
    read: Callable[[RecordingFile], FileRecording]
    names_patients: bool = False


def read_recording(root: str, path: str, stated: Stated = NOTHING) -> FileRecording:
    """The recording in a file below `root`; raises RecordError.

    A file beside a WFDB header of its name stands for that record. Raises MedReportError where a library that reads the
    format is not installed.
    """
    file = open_recording(root, path, stated)
    found = format_of(file)
    with np.errstate(over="ignore", invalid="ignore"):  # of numbers beyond all voltages, which are missing samples
        return replace(found.read(file), format=found.title)


def open_recording(root: str, path: str, stated: Stated = NOTHING) -> RecordingFile:
    """The content of a file below `root`, unpacked if it is compressed; raises RecordError."""
    stem, suffix = os.path.splitext(path)
    if suffix.lower() in ("", *COMPANIONS) and os.path.isfile(f"{stem}.hea"):
        path = f"{stem}.hea"
    content = read_file(root, path, LARGEST_FILE)
    if content.startswith(_GZIP):
        content = _unpacked(content, os.path.basename(path))
    if not content:
        raise RecordError("unreadable file", f"{os.path.basename(path)} is empty")
    return RecordingFile(root, path, content, stated)


def format_of(file: RecordingFile) -> FileFormat:
    """The format of a file; raises RecordError for one that is in none."""
    for name in FILE_FORMATS:
        found = file_format(name)
        if found.is_one(file):
            return found
    for magic, what, hint in _OTHERS:
        if file.content.startswith(magic):
            raise RecordError("encrypted file" if what == "encrypted" else "unknown format",
                              f"{file.name} is {what}: {hint}")
    raise RecordError("unknown format", f"{file.name} is in none of the formats that are read: {', '.join(titles())}")


def titles() -> list[str]:
    """What the formats are called."""
    return [file_format(name).title for name in FILE_FORMATS]


def file_format(name: str) -> FileFormat:
    """A format by its name in the table."""
    module, _, attribute = FILE_FORMATS[name].partition(":")
    found: FileFormat = getattr(importlib.import_module(module), attribute)
    return found


def _unpacked(content: bytes, name: str) -> bytes:
    decoder = zlib.decompressobj(wbits=31)
    try:
        found = decoder.decompress(content, LARGEST_FILE + 1)
    except zlib.error as error:
        raise RecordError("unreadable file", f"{name}: damaged gzip ({error})") from None
    if len(found) > LARGEST_FILE:
        raise RecordError("file too large", f"{name} unpacks to more than {LARGEST_FILE} bytes")
    if not decoder.eof:
        raise RecordError("unreadable file", f"{name}: the gzip ends early")
    return found


@contextmanager
def refusing(name: str, what: str) -> Iterator[None]:
    """Turn whatever a library raises on a file that is not what it says into a RecordError of one line.

    Such a library parses bytes from anywhere, and no list of what it may raise is complete.
    """
    try:
        yield
    except (RecordError, MedReportError):
        raise
    except Exception as error:
        said = " ".join(str(error).split())[:160] or type(error).__name__
        raise RecordError("unreadable file", f"{name}: {what} ({said})") from None
