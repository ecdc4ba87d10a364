"""XML from outside, looked through before a library parses it: no entities, nothing external, not too deep or large."""

from __future__ import annotations

import re
from functools import lru_cache
from xml.parsers import expat

from emgecg_cli.core.datasets.formats.recording_files import RecordingFile
from emgecg_cli.core.datasets.formats.wfdb_files import RecordError

LARGEST, DEEPEST, MOST_ELEMENTS = 2 ** 26, 100, 2_000_000
_ROOT = re.compile(r"<([A-Za-z_][\w.\-]*:)?([A-Za-z_][\w.\-]*)[\s/>]")
_SKIPPED = re.compile(r"<\?.*?\?>|<!--.*?-->|<!DOCTYPE[^>\[]*(?:\[.*?\]\s*)?>", re.S)
_PROLOG = re.compile(rb"\s*<\?xml[^>]*\?>")


def root_of(file: RecordingFile) -> str:
    """The name of the outermost element without its prefix, as far as the head of a file shows it; "" for no XML."""
    return _root_of(file.head)


@lru_cache(maxsize=16)
def _root_of(head: bytes) -> str:
    encoding = "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    text = head.decode(encoding, "replace").lstrip()
    if text[:1] != "<":
        return ""
    found = _ROOT.search(_SKIPPED.sub(" ", text))
    return found[2] if found else ""


def checked_xml(file: RecordingFile) -> bytes:
    """The content of an XML file that is safe to be parsed, as bytes a parser takes; raises RecordError.

    Bytes that do not fit the encoding a file declares are taken for Latin-1, as recorders write it.
    """
    if len(file.content) > LARGEST:
        raise RecordError("file too large", f"{file.name} holds {len(file.content)} bytes, {LARGEST} are allowed")
    try:
        _look_through(file.content, file.name)
        return file.content
    except expat.ExpatError as error:
        if error.code not in (expat.errors.codes[expat.errors.XML_ERROR_INVALID_TOKEN],
                              expat.errors.codes[expat.errors.XML_ERROR_UNKNOWN_ENCODING],
                              expat.errors.codes[expat.errors.XML_ERROR_INCORRECT_ENCODING]):
            raise _malformed(file.name, error) from None
    content = _PROLOG.sub(b"", file.content, count=1).decode("latin-1").encode()
    try:
        _look_through(content, file.name)
    except expat.ExpatError as error:
        raise _malformed(file.name, error) from None
    return content


def _malformed(name: str, error: expat.ExpatError) -> RecordError:
    return RecordError("unreadable file", f"{name}: malformed XML ({error})")


def _look_through(content: bytes, name: str) -> None:
    parser = expat.ParserCreate()
    depth = count = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth, count
        depth, count = depth + 1, count + 1
        if depth > DEEPEST or count > MOST_ELEMENTS:
            raise RecordError("unsafe XML", f"{name}: more than {DEEPEST} elements within each other, or "
                                            f"{MOST_ELEMENTS:,} in all")
        if tag.rpartition(":")[2] in ("EncryptedData", "EncryptedKey"):
            raise RecordError("encrypted file", f"{name} is encrypted: decrypt it first")

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1

    def refuse(*said: object) -> int:
        raise RecordError("unsafe XML", f"{name} declares entities, which no recording needs")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.EntityDeclHandler = refuse
    parser.UnparsedEntityDeclHandler = refuse
    parser.ExternalEntityRefHandler = refuse
    try:
        parser.Parse(content, True)
    except LookupError as error:  # an encoding that nobody knows
        raise RecordError("unreadable file", f"{name}: malformed XML ({str(error)[:80]})") from None
