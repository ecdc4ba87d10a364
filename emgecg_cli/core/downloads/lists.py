"""Lists of a set's files and their checksums, as PhysioNet (`SHA256SUMS.txt`) and Zenodo (JSON) publish them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from emgecg_cli.core.errors import MedReportError

LONGEST_LINE = 4096
_LINE = re.compile(r"([0-9a-fA-F]{64}) [ *]?(\S.*)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")


@dataclass(frozen=True)
class Entry:
    """One file of a set: its path under the root, its address behind the base, and its checksum "algorithm:hex"."""

    name: str
    address: str
    checksum: str
    size: int | None = None


def iterate_sums(path: Path, wanted: Sequence[str], inside: str) -> Iterator[Entry]:
    """The wanted files of a `SHA256SUMS.txt`, line by line; `inside` is taken off the front of their names.

    Names are taken letter by letter, hashes in either case. Raises MedReportError for a line that is not a hash and a
    path, and for a path that leads out of the root; the lines before it have been yielded by then.
    """
    with path.open("rb") as stream:
        for number, raw in enumerate(iter(lambda: stream.readline(LONGEST_LINE), b""), 1):
            entry = _parse_line(raw, f"{path.name}, line {number}")
            if entry is None or not entry.name.startswith(inside) or not _is_wanted(entry.name[len(inside):], wanted):
                continue
            yield Entry(entry.name[len(inside):], entry.address, entry.checksum)


def _parse_line(raw: bytes, where: str) -> Entry | None:
    try:
        line = raw.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        line = "?"
    if not line.strip():
        return None
    match = _LINE.fullmatch(line)
    if match is None or len(raw) == LONGEST_LINE:
        raise MedReportError(f"{where}: not a SHA-256 hash and a path",
                             "--mirror is the address of the folder that holds SHA256SUMS.txt; if it is, report it "
                             "to whoever keeps the set")
    name = match[2].removeprefix("./")
    check_name(name, where)
    return Entry(name, name, f"sha256:{match[1].lower()}")


def _is_wanted(name: str, wanted: Sequence[str]) -> bool:
    return not wanted or any(name == one or (one.endswith("/") and name.startswith(one)) for one in wanted)


def check_name(name: str, where: str) -> None:
    """Refuse a path that leads out of the root, or that no honest list holds; raises MedReportError."""
    parts = name.split("/")
    if (_CONTROL.search(name) or name.startswith("/") or any(part in ("", ".", "..") for part in parts)
            or ":" in parts[0] or parts[0].startswith(".medreport") or len(name) > 1024):
        raise MedReportError(f"{where}: the path {name[:80]!r} leads out of the folder",
                             "nothing was fetched; do not use this source, and tell whoever keeps it")


def read_record(path: Path) -> list[Entry]:
    """The files of a Zenodo record, from the answer of its API; raises MedReportError for what is none."""
    try:
        files = json.loads(path.read_bytes())["files"]
        entries = [Entry(str(file["key"]), f"files/{file['key']}/content", str(file["checksum"]), int(file["size"]))
                   for file in files]
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        entries = []
    if not entries or not all(re.fullmatch(r"md5:[0-9a-f]{32}", entry.checksum) for entry in entries):
        raise MedReportError(f"{path.name}: not the files of a Zenodo record",
                             "--mirror stands for https://zenodo.org/api/records/NUMBER")
    for entry in entries:
        check_name(entry.name, path.name)
    return entries
