"""The index of a store in the making: order, duplicates, splits, and one hash of all that was listed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from emgecg_cli.core.artifacts import QuarantineRow
from emgecg_cli.core.datasets import RecordRef
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.store.index import Index, build_index


def ref(number: int, **fields: object) -> RecordRef:
    return RecordRef(f"r{number}", f"p{number // 2}", f"file {number}", None, fields)


def test_what_was_listed_comes_back_in_order_and_in_parts() -> None:
    refs = [ref(i, report="sinus\nrhythm \u00e4", codes=["A"], age=None, machine=[1.5, None]) for i in range(100)]
    index = Index(refs)
    split = index.assign_splits("50/25/25", 3)
    found = [one for start in range(0, 100, 7) for one in index.refs(start, start + 7)]
    assert split == "50/25/25" and index.n_records == 100
    assert [(one.record_id, one.subject_id, one.source, one.details) for one in found] == \
        [(one.record_id, one.subject_id, one.source, one.details) for one in refs]
    sides = {one.subject_id: {other.split for other in found if other.subject_id == one.subject_id} for one in found}
    assert all(len(side) == 1 for side in sides.values()) and {one.split for one in found} == {"train", "val", "test"}


def test_a_second_record_of_one_id_is_set_aside_and_the_first_one_stays() -> None:
    refused = QuarantineRow("x", "bad row", "row 3", "f")
    index = Index([ref(1), refused, RecordRef("r1", "other", "again"), ref(2)])
    assert [one.record_id for one in index.refs(0, 9)] == ["r1", "r2"]
    first, second = index.set_aside()
    assert first == refused and (second.record_id, second.reason, second.source) == ("r1", "duplicate id", "again")
    assert second.detail.startswith("entry 3 of the list") and index.n_set_aside == 2


def test_the_hash_is_of_everything_and_of_the_order() -> None:
    base = [ref(1, report="a"), ref(2, report="b")]
    others = [[*reversed(base)], base[:1], [base[0], ref(2, report="c")], [*base, QuarantineRow("x", "bad", "", "")],
              [base[0], RecordRef("r2", "p1", "file 2", "train", {"report": "b"})],
              [base[0], RecordRef("r2", "p9", "file 2", None, {"report": "b"})]]
    hashes = {Index(listing).hash for listing in [base, list(base), *others]}
    assert len(hashes) == 1 + len(others)


def test_names_that_are_not_unicode_survive() -> None:
    name = b"r\xff".decode("utf-8", "surrogateescape")
    index = Index([RecordRef(name, name, name, "train", {"report": name})])
    index.assign_splits(None, 0)
    assert index.refs(0, 1) == [RecordRef(name, name, name, "train", {"report": name})]


def test_the_listing_is_taken_one_by_one() -> None:
    alive: list[int] = []

    class Seen(dict):
        def __init__(self) -> None:
            super().__init__()
            alive.append(1)

        def __del__(self) -> None:
            alive.pop()

    def listing() -> Iterator[RecordRef]:
        for i in range(1000):
            assert len(alive) <= 2
            yield RecordRef(str(i), "p", "", None, Seen())

    assert Index(listing()).n_records == 1000


def test_a_full_disk_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(Index, "__init__", full)
    with pytest.raises(MedReportError, match="database or disk is full") as caught:
        build_index([])
    assert "SQLITE_TMPDIR" in (caught.value.hint or "")
