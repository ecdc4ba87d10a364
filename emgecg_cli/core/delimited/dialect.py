"""How a CSV is written, detected from its bytes: its encoding, its separator, lines before its heading."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TextIO

from emgecg_cli.core.delimited.headings import plain_heading
from emgecg_cli.core.errors import MedReportError

CHUNK = 1 << 20
HEAD = 1 << 16
LONGEST_CELL = 1 << 20
SAMPLED = 30  # rows whose width is compared with the heading's
SEPARATORS = (",", ";", "\t")
NAMES = {"utf-16-le": "UTF-16", "utf-16-be": "UTF-16", "gb18030": "GB 18030", "cp1252": "Windows-1252"}
_BOMS = ((codecs.BOM_UTF32_LE, ""), (codecs.BOM_UTF32_BE, ""), (codecs.BOM_UTF8, "utf-8"),
         (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_END = r"(?:\r\n|\n|\r)"
# What may stand before a heading: a line that names the separator, and lines of nothing.
_BEFORE = re.compile(rf'(?:"?sep=(?P<separator>[,;|\t])"?[ \t]*[;,]*{_END})?(?:[ \t;,]*{_END})*', re.I)
_LINE = re.compile(r'(?:[^"\r\n]|"[^"]*")*(\r\n|\n|\r)')
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x19\x1b-\x1f\x7f]")
_HIGH_RUN = re.compile(rb"([a-z]?)([\x80-\xff]+)([a-z]?)")


@dataclass(frozen=True)
class Dialect:
    """How a file is written: its encoding, with a byte order mark of `n_bom` bytes or without; the separator; how many
    lines stand before the heading ("sep=;", or nothing); whether lines end with a carriage return alone; and whether
    the encoding is a guess, since the bytes fit several."""

    encoding: str = "utf-8"
    n_bom: int = 0
    separator: str = ","
    n_before: int = 0
    carriage_returns: bool = False
    guessed: bool = False

    @property
    def is_utf8(self) -> bool:
        """Whether the file can be read as it lies, byte by byte."""
        return self.encoding == "utf-8" and not self.carriage_returns


def detect(path: Path, known: Sequence[str] = ()) -> Dialect:
    """How a CSV is written; `known` are headings by which its separator is recognised.

    UTF-8, UTF-16 by its mark or its zeros, GB 18030 where the bytes come in pairs, else Windows-1252. A file of damaged
    UTF-8 counts as UTF-8. Reads the whole file once. Raises MedReportError for bytes that are no text, and OSError.
    """
    state = path.stat()
    encoding, n_bom, guessed = _encoding(path, state.st_mtime_ns, state.st_size)
    with path.open("rb") as stream:
        head = stream.read(HEAD)[n_bom:]
    text = codecs.getincrementaldecoder(encoding)("replace").decode(head)
    before = _BEFORE.match(text)
    assert before is not None  # it matches nothing as well
    rest = text[before.end():]
    # A head that breaks off in the last line says nothing about that line.
    lines = rest if len(head) < HEAD - n_bom else rest[:max(rest.rfind("\n"), rest.rfind("\r")) + 1] or rest
    separator = before["separator"] or _separator(lines, known, path.suffix.lower() == ".tsv")
    first = _LINE.match(rest)
    returns = first is not None and first[1] == "\r"
    return Dialect(encoding, n_bom, separator, len(re.findall(_END, before[0])), returns, guessed)


@lru_cache(maxsize=64)
def _encoding(path: Path, changed: int, size: int) -> tuple[str, int, bool]:
    """Encoding, length of the byte order mark, and whether it is a guess."""
    with path.open("rb") as stream:
        head = stream.read(HEAD)
    for mark, encoding in _BOMS:
        if head.startswith(mark):
            if not encoding:
                raise _no_text(path)
            if encoding != "utf-8" and not _decodes(path, encoding):
                raise _no_text(path)
            return encoding, len(mark), False
    if b"\0" in head and (encoding := _utf16(head)) and _decodes(path, encoding):
        return encoding, 0, False
    n_good, n_bad = _letters(path)
    if not n_bad or n_good > n_bad:
        return "utf-8", 0, False
    n_pairs, n_single, is_control = _high_bytes(path)
    likely = ("gb18030", "cp1252") if n_pairs >= n_single else ("cp1252", "gb18030")
    for encoding in () if is_control else likely:
        if _decodes(path, encoding):
            return encoding, 0, True
    raise _no_text(path)


def _no_text(path: Path) -> MedReportError:
    return MedReportError(f"{path}: not a readable CSV (neither UTF-8, UTF-16, GB 18030 nor Windows-1252 text)",
                          "save it as CSV in UTF-8")


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            yield chunk


def _decodes(path: Path, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        for chunk in _chunks(path):
            decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _utf16(head: bytes) -> str:
    """The order of UTF-16 without a mark: the one in which separators and line ends are there, and no zeros."""
    best, found = 0, ""
    for encoding in ("utf-16-le", "utf-16-be"):
        text = head[:len(head) // 2 * 2].decode(encoding, "replace")
        n = sum(text.count(mark) for mark in (*SEPARATORS, "\n", "\r"))
        if n > best and "\0" not in text:
            best, found = n, encoding
    return found


def _letters(path: Path) -> tuple[int, int]:
    """How many letters beyond ASCII are good UTF-8, and how many bytes are not."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    n_good = n_bad = 0
    for chunk in _chunks(path):
        n = _beyond(decoder, chunk)
        n_good, n_bad = n_good + n[0], n_bad + n[1]
    rest = _beyond(decoder, b"", final=True)
    return n_good + rest[0], n_bad + rest[1]


def _beyond(decoder: codecs.IncrementalDecoder, chunk: bytes, final: bool = False) -> tuple[int, int]:
    text = decoder.decode(chunk, final)
    if text.isascii():
        return 0, 0
    n_bad = sum(map(len, re.findall("[\udc80-\udcff]+", text)))
    return sum(map(len, re.findall("[^\0-\x7f]+", text))) - n_bad, n_bad


def _high_bytes(path: Path) -> tuple[int, int, bool]:
    """Bytes beyond ASCII that come as Chinese does, in even runs, and those that come as letters in Latin words; and
    whether there are bytes that no text has."""
    n_pairs = n_single = 0
    is_control = False
    for chunk in _chunks(path):
        is_control = is_control or bool(_CONTROL.search(chunk))
        for before, run, behind in _HIGH_RUN.findall(chunk):
            if len(run) % 2 or (len(run) == 2 and (before or behind)):
                n_single += len(run)
            else:
                n_pairs += len(run)
    return n_pairs, n_single, is_control


def _separator(text: str, known: Sequence[str], tabs_first: bool) -> str:
    """The separator under which most known headings are found, else the one that gives all rows one width."""
    names = {plain_heading(name) for name in known}
    best: tuple[int, float, int] = (0, 0.0, 1)
    found = "\t" if tabs_first else ","
    for separator in ("\t", ",", ";") if tabs_first else SEPARATORS:
        try:
            rows = [row for row, _ in zip(csv.reader(io.StringIO(text, newline=""), delimiter=separator),
                                          range(SAMPLED), strict=False) if row]
        except csv.Error:
            continue
        if not rows or len(rows[0]) < 2:
            continue
        share = sum(len(row) == len(rows[0]) for row in rows) / len(rows)
        score = sum(plain_heading(name) in names for name in rows[0]), share, len(rows[0])
        if score > best:
            best, found = score, separator
    return found


def open_text(path: Path, dialect: Dialect) -> TextIO:
    """The file as text from its heading on, line ends as they are."""
    stream = path.open("rb")
    stream.seek(dialect.n_bom)
    text = io.TextIOWrapper(stream, dialect.encoding, newline="")
    for _ in range(dialect.n_before):
        end = ""
        while end not in ("\n", "\r") and (end := text.read(1)):
            pass
        place = text.tell()
        if end == "\r" and text.read(1) != "\n":
            text.seek(place)
    return text


def read_rows(path: Path, dialect: Dialect) -> Iterator[tuple[int, list[str]]]:
    """The rows with their numbers, line 1 of the file being row 1, the heading first; empty ones are skipped."""
    csv.field_size_limit(LONGEST_CELL)  # a whole table may stand in one cell
    with open_text(path, dialect) as stream:
        for number, row in enumerate(csv.reader(stream, delimiter=dialect.separator), 1 + dialect.n_before):
            if any(cell.strip() for cell in row):
                yield number, row


def utf8_content(path: Path, dialect: Dialect) -> bytes:
    """The whole file from its heading on as UTF-8 with line feeds: for a file that is not `is_utf8`."""
    with open_text(path, dialect) as stream:
        text = stream.read()
    return (text.replace("\r", "\n") if dialect.carriage_returns else text).encode()


def dialect_details(dialect: Dialect) -> dict[str, Any]:
    """How a file is written, for a manifest; empty for comma-separated UTF-8."""
    told: dict[str, Any] = {}
    if dialect.separator != ",":
        told["separator"] = {"\t": "tab"}.get(dialect.separator, dialect.separator)
    if dialect.encoding != "utf-8":
        told["encoding"] = NAMES[dialect.encoding]
    if dialect.guessed:
        told["note"] = f"no UTF-8; read as {NAMES[dialect.encoding]}, which is a guess: look at its letters"
    return told
