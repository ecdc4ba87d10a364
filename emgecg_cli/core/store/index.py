"""The index of a store that is being made: what a source lists, on disk, so that no set is too large to plan.

It is a private SQLite database in a temporary file that nobody can see and that is gone with the process, killed or
not. It finds duplicated ids, counts patients for the split, and gives the references of one shard at a time.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator

from emgecg_cli.core.artifacts import QuarantineRow
from emgecg_cli.core.datasets import RecordRef
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.store.splits import OFFICIAL, UNREPORTED, draw_splits, parse_split, resolve_split, two_sides

_CACHE_KIB = 32 * 1024


class Index:
    """What a source listed: `n_records` references, `n_set_aside` refused rows, and the `hash` of all of it."""

    def __init__(self, listing: Iterable[RecordRef | QuarantineRow]) -> None:
        """Read the whole listing; a record_id that was there before is set aside."""
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._db.executescript("""
            PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA temp_store = FILE;
            CREATE TABLE refs (number INTEGER PRIMARY KEY, record_id BLOB UNIQUE, subject BLOB, split TEXT, rest TEXT,
                               unreported INTEGER);
            CREATE TABLE set_aside (number INTEGER PRIMARY KEY, row TEXT);
            CREATE TABLE subjects (subject BLOB PRIMARY KEY, split TEXT) WITHOUT ROWID;""")
        self.n_records = self.n_set_aside = 0
        digest = hashlib.sha256()
        for item in listing:
            digest.update(self._add(item).encode() + b"\n")
        self.hash = digest.hexdigest()

    def close(self) -> None:
        """Free the disk."""
        self._db.close()

    def _add(self, item: RecordRef | QuarantineRow) -> str:
        """Take one listed row in; returns all of it as text."""
        if isinstance(item, QuarantineRow):
            return self._refuse(item)
        rest = json.dumps([item.source, dict(item.details)])
        taken = self._db.execute("INSERT OR IGNORE INTO refs VALUES (?, ?, ?, ?, ?, ?)",
                                 (self.n_records, _blob(item.record_id), _blob(item.subject_id), item.split, rest,
                                  item.unreported))
        if not taken.rowcount:
            detail = f"entry {self.n_records + self.n_set_aside + 1} of the list, an id that was there before"
            return self._refuse(QuarantineRow(item.record_id, "duplicate id", detail, item.source))
        self.n_records += 1
        return json.dumps([item.record_id, item.subject_id, item.split]) + rest + " unreported" * item.unreported

    def _refuse(self, row: QuarantineRow) -> str:
        text = json.dumps(vars(row))
        self._db.execute("INSERT INTO set_aside VALUES (?, ?)", (self.n_set_aside, text))
        self.n_set_aside += 1
        return text

    def set_aside(self) -> Iterator[QuarantineRow]:
        """What was refused while listing, in order."""
        for (text,) in self._db.execute("SELECT row FROM set_aside ORDER BY number"):
            yield QuarantineRow(**json.loads(text))

    def assign_splits(self, split: str | None, seed: int) -> str:
        """Decide the split of every record; returns what decided it, "official" or the shares.

        A recording without a report is for test, with all of its patient; where an official split has that patient in
        val, it goes there, and where in train, it keeps "train", in which it must not be stored. Raises MedReportError
        as `splits.resolve_split` does, and when an official split shares a patient.
        """
        told = "SELECT 1 FROM refs WHERE split IS {} NULL {} LIMIT 1"
        official = bool(self._one(told.format("NOT", ""))) and not self._one(told.format("", "AND NOT unreported"))
        if self.n_records and not official and not self._one("SELECT 1 FROM refs WHERE NOT unreported LIMIT 1"):
            if split is not None:
                raise MedReportError(f"--split {split}: no recording has a report to train on, so that all are for "
                                     f"{UNREPORTED}", "leave --split out")
            split = UNREPORTED
        else:
            split = resolve_split(official, split)
        if split == OFFICIAL:
            self._keep_official()
        elif split == UNREPORTED:
            self._db.execute("UPDATE refs SET split = ?", (UNREPORTED,))
        else:
            self._draw(parse_split(split), seed)
        return split

    def _draw(self, shares: tuple[float, float, float], seed: int) -> None:
        sizes = {_text(subject): n for subject, n in
                 self._db.execute("SELECT subject, COUNT(*) FROM refs GROUP BY subject HAVING NOT MAX(unreported)")}
        self._db.executemany("INSERT INTO subjects VALUES (?, ?)",
                             ((_blob(subject), side) for subject, side in draw_splits(sizes, shares, seed).items()))
        self._db.execute("INSERT INTO subjects SELECT subject, ? FROM refs GROUP BY subject HAVING MAX(unreported)",
                         (UNREPORTED,))

    def _keep_official(self) -> None:
        self._db.execute("UPDATE refs SET split = NULL WHERE unreported AND split = 'train'")
        shared = self._one("SELECT subject FROM refs GROUP BY subject HAVING COUNT(DISTINCT split) > 1 LIMIT 1")
        if shared:
            (one, side), (other, other_side) = self._db.execute(
                "SELECT MIN(record_id), split FROM refs WHERE subject = ? AND split IS NOT NULL GROUP BY split "
                "ORDER BY MIN(number) LIMIT 2", shared).fetchall()
            raise two_sides(_text(shared[0]), _text(one), side, _text(other), other_side)
        self._db.execute("INSERT INTO subjects SELECT subject, COALESCE(MAX(split), ?) FROM refs GROUP BY subject "
                         "HAVING MAX(split IS NULL)", (UNREPORTED,))

    def _one(self, query: str) -> tuple | None:
        return self._db.execute(query).fetchone()

    def refs(self, start: int, stop: int) -> list[RecordRef]:
        """The references from `start` to before `stop`, in order, each with the split that was decided."""
        rows = self._db.execute(
            "SELECT record_id, refs.subject, COALESCE(subjects.split, refs.split), rest, unreported FROM refs "
            "LEFT JOIN subjects ON subjects.subject = refs.subject WHERE number >= ? AND number < ? ORDER BY number",
            (start, stop))
        return [RecordRef(_text(record_id), _text(subject), *_split_rest(split, rest), bool(unreported))
                for record_id, subject, split, rest, unreported in rows]


def _split_rest(split: str, rest: str) -> tuple[str, str, dict]:
    source, details = json.loads(rest)
    return source, split, details


def build_index(listing: Iterable[RecordRef | QuarantineRow]) -> Index:
    """Read a listing into an index; raises MedReportError when the disk cannot take it."""
    try:
        return Index(listing)
    except sqlite3.Error as error:
        raise MedReportError(f"the list of records cannot be kept in a temporary file ({error})",
                             "free some space there, or set SQLITE_TMPDIR to a folder with more") from None


def _blob(text: str) -> bytes:
    # A file name need not be Unicode, and SQLite's text is.
    return text.encode("utf-8", "surrogatepass")


def _text(blob: bytes) -> str:
    return blob.decode("utf-8", "surrogatepass")
