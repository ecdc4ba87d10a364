"""The split contract: by patient, seeded, stable, hashed, and refused when a patient is on two sides."""

from __future__ import annotations

import hashlib
import random
from collections import Counter

import polars
import pytest

from emgecg_cli.core.datasets import RecordRef
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.store.index import Index
from emgecg_cli.core.store.splits import check_table, parse_split, resolve_split, split_hash


def refs_of(n_patients: int, seed: int = 0, split: str | None = None) -> list[RecordRef]:
    rng = random.Random(seed)
    return [RecordRef(f"{patient}-{i}", f"p{patient}", "", split)
            for patient in range(n_patients) for i in range(rng.choice((1, 1, 1, 2, 5)))]


def assign_splits(refs: list[RecordRef], split: str, seed: int) -> dict[str, str]:
    """Record to side, as a store in the making decides it."""
    index = Index(refs)
    assert index.assign_splits(split, seed) == split
    return {ref.record_id: str(ref.split) for ref in index.refs(0, index.n_records)}


def table_of(rows: list[tuple[str, str, str]]) -> polars.LazyFrame:
    return polars.DataFrame(rows, schema=["record_id", "subject_id", "split"], orient="row").lazy()


@pytest.mark.parametrize("shares", [(70, 10, 20), (80, 10, 10), (98, 1, 1), (100, 0, 0), (50, 0, 50), (33.5, 33.5, 33)])
def test_shares_are_met_and_patients_stay_together(shares: tuple[float, float, float]) -> None:
    refs = refs_of(3000)
    assigned = assign_splits(refs, "/".join(map(str, shares)), seed=0)
    sides: dict[str, set[str]] = {}
    for ref in refs:
        sides.setdefault(ref.subject_id, set()).add(assigned[ref.record_id])
    assert all(len(side) == 1 for side in sides.values())
    counts = Counter(assigned.values())
    for name, share in zip(("train", "val", "test"), shares, strict=True):
        assert abs(counts[name] / len(refs) * 100 - share) < 0.2
        assert counts[name] > 0 or share == 0


def test_the_draw_depends_on_the_seed_and_not_on_the_order_of_records() -> None:
    refs = refs_of(300)
    first = assign_splits(refs, "70/10/20", seed=0)
    assert assign_splits(list(reversed(refs)), "70/10/20", seed=0) == first
    other = assign_splits(refs, "70/10/20", seed=1)
    assert 50 < sum(first[key] != other[key] for key in first) < len(refs)


def test_the_draw_is_the_one_documented() -> None:
    refs = [RecordRef(str(i), f"p{i}", "") for i in range(10)]
    order = sorted(range(10), key=lambda i: hashlib.sha256(f"7:p{i}".encode()).hexdigest())
    expected = {str(i): "train" if at < 7 else "val" if at < 8 else "test" for at, i in enumerate(order)}
    assert assign_splits(refs, "70/10/20", seed=7) == expected


def test_official_where_there_is_one_unless_shares_are_given() -> None:
    official, none = refs_of(5, split="val"), refs_of(5)
    assert resolve_split(True, None) == "official" and resolve_split(False, None) == "70/10/20"
    assert resolve_split(True, "80/10/10") == "80/10/10" and resolve_split(True, "official") == "official"
    assert set(assign_splits(official, "official", 0).values()) == {"val"}
    for refs in (none, [*official, RecordRef("x", "y", "")], []):
        with pytest.raises(MedReportError, match="no official split"):
            Index(refs).assign_splits("official", 0)


@pytest.mark.parametrize("split", ["70/30", "70/10/10/10", "a/b/c", "70/20/20", "-10/60/50", "0/50/50", "", "nan/0/0",
                                   "70,10,20"])
def test_wrong_shares_are_refused(split: str) -> None:
    with pytest.raises(MedReportError) as caught:
        parse_split(split)
    assert "--split 70/10/20" in (caught.value.hint or "")


@pytest.mark.parametrize("pair", [("train", "test"), ("train", "val"), ("val", "test")])
def test_a_patient_on_two_sides_is_refused(pair: tuple[str, str]) -> None:
    refs = [RecordRef("a", "p1", "", "train"), RecordRef("b", "p2", "", pair[0]), RecordRef("c", "p2", "", pair[1])]
    with pytest.raises(MedReportError, match=f"patient p2 is in {pair[0]} .record b. and in {pair[1]} .record c."):
        assign_splits(refs, "official", 0)
    with pytest.raises(MedReportError, match="patient p2"):
        check_table(table_of([(ref.record_id, ref.subject_id, str(ref.split)) for ref in refs]))


def test_a_split_of_another_name_is_refused() -> None:
    with pytest.raises(MedReportError, match="split 'dev' is none of"):
        check_table(table_of([("a", "p", "dev")]))


def test_one_record_twice_is_refused() -> None:
    with pytest.raises(MedReportError, match="record b: twice in one store"):
        check_table(table_of([("a", "p", "val"), ("b", "q", "test"), ("b", "q", "test")]))


def test_the_hash_is_of_sorted_lines() -> None:
    expected = hashlib.sha256(b"a:train\nb:test\n").hexdigest()
    assert split_hash(table_of([("b", "", "test"), ("a", "", "train")])) == expected
    assert split_hash(table_of([("b", "", "train"), ("a", "", "train")])) != expected
