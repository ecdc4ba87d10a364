"""Whether what is tested was trained on: patients and recordings that train shares with val or test, across stores.

Patients count between splits of one store, and between stores of the same dataset; ids of different datasets mean
nothing to each other. Recordings count wherever they are: equal ones by their hash, nearly equal ones by fingerprint,
each confirmed on the two signals themselves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import polars

from emgecg_cli.core.artifacts import SPLITS
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.signals.duplicates import first_equal, near_matches
from emgecg_cli.core.signals.similarity import SAME_RECORDING, similarity
from emgecg_cli.core.store import Store, open_store

PATIENT, EQUAL, NEAR, TEXT = "shared patient", "equal recording", "near-identical recording", "equal free text"
LONG_TEXT_WORDS = 12
_OTHERS = ("val", "test")

Place = tuple[int, int]  # number of the store, row in it


@dataclass(frozen=True)
class Leak:
    """Two records of which one was trained on and the other should be new; `a` is the one nearer to training.

    `record_a` and `record_b` are the first such records of a shared patient.
    """

    kind: str
    store_a: str
    split_a: str
    record_a: str
    store_b: str
    split_b: str
    record_b: str
    evidence: str


@dataclass(frozen=True)
class LeakReport:
    """What `find_leaks` found: leaks, notes (equal long free texts, no leak by themselves), and what was compared.

    `counts` has the number of records per split over all stores, of records without a fingerprint, of candidates whose
    signals were compared, and of leaks and notes by kind.
    """

    leaks: list[Leak]
    notes: list[Leak]
    counts: dict[str, int]


@dataclass(frozen=True)
class _Side:
    """Rows of some splits of some stores, one after the other: (store number, row) of each."""

    stores: np.ndarray
    rows: np.ndarray


def find_leaks(paths: Sequence[Path], progress: Callable[[int, int], None] | None = None) -> LeakReport:
    """Compare train with val and test within and across stores, and val with test within each.

    Train and train are no leak, and neither is a record of one split in both of two stores, such as a store and its
    perturbed copy. `progress(done, total)` counts confirmed candidates. Raises MedReportError for a path that is no
    finished store, or given twice.
    """
    if len({path.resolve() for path in paths}) < len(paths):
        raise MedReportError("a store is given twice", "name each store once")
    stores = [open_store(path) for path in paths]
    comparisons = [(_side(stores, range(len(stores)), ("train",)), _side(stores, range(len(stores)), _OTHERS))]
    comparisons += [(_side(stores, [number], ("val",)), _side(stores, [number], ("test",)))
                    for number in range(len(stores))]
    leaks = list(_shared_patients(stores))
    equal = [pair for a, b in comparisons for pair in _equal(stores, a, b)]
    leaks += [_leak(stores, EQUAL, *pair, "all samples are the same") for pair in equal]
    near = [pair for a, b in comparisons for pair in _near(stores, a, b)]
    leaks += _confirmed(stores, near, progress)
    notes = list(_equal_texts(stores))
    counts = Counter({split: sum(len(store.indices(split)) for store in stores) for split in SPLITS})
    counts["without_fingerprint"] = sum(store.column("fingerprint").null_count() for store in stores)
    counts["compared_signals"] = len(near)
    counts.update(dict.fromkeys((PATIENT, EQUAL, NEAR, TEXT), 0))
    counts.update(Counter(leak.kind for leak in [*leaks, *notes]))
    return LeakReport(leaks, notes, dict(counts))


def _side(stores: Sequence[Store], numbers: Sequence[int], splits: Sequence[str]) -> _Side:
    rows = [np.sort(np.concatenate([stores[number].indices(split) for split in splits])) for number in numbers]
    return _Side(np.repeat(np.array(numbers, int), [len(part) for part in rows]), np.concatenate(rows))


def _values(stores: Sequence[Store], side: _Side, name: str) -> list[str | None]:
    """A column of the rows of a side."""
    found: list[str | None] = []
    for number in np.unique(side.stores).tolist():
        found += stores[number].column(name).gather(side.rows[side.stores == number]).to_list()
    return found


def _shared_patients(stores: Sequence[Store]) -> Iterator[Leak]:
    column = polars.col
    frames = [store.scan().select("subject_id", "split", "record_id", dataset=polars.lit(store.population),
                                  store=polars.lit(number, polars.Int64)).with_row_index("row")
              for number, store in enumerate(stores)]
    firsts = (polars.concat(frames).group_by("dataset", "subject_id", "split", "store")
              .agg(column("record_id").sort_by("row").first(), polars.len().alias("n")))
    pairs = (firsts.join(firsts, on=["dataset", "subject_id"], suffix="_b")
             .filter((column("split") == "train") & (column("split_b") != "train")
                     | (column("split") == "val") & (column("split_b") == "test")
                     & (column("store") == column("store_b")))
             .sort("store", "store_b", "split", "split_b", "subject_id").collect(engine="streaming"))
    for row in pairs.iter_rows(named=True):
        yield Leak(PATIENT, _name(stores[row["store"]]), row["split"], row["record_id"],
                   _name(stores[row["store_b"]]), row["split_b"], row["record_id_b"],
                   f"patient {row['subject_id']}: {_records(row['n'])} and {_records(row['n_b'])}")


def _records(n: int) -> str:
    return f"{n} record{'s' if n > 1 else ''}"


def _equal(stores: Sequence[Store], a: _Side, b: _Side) -> Iterator[tuple[Place, Place]]:
    first = first_equal(_values(stores, b, "signal_hash"), _values(stores, a, "signal_hash"))
    for at in np.flatnonzero(first >= 0).tolist():
        yield _place(a, int(first[at])), _place(b, at)


def _near(stores: Sequence[Store], a: _Side, b: _Side) -> Iterator[tuple[Place, Place]]:
    matches = near_matches(_values(stores, b, "fingerprint"), _values(stores, a, "fingerprint"))
    for at, first in matches.tolist():
        yield _place(a, first), _place(b, at)


def _place(side: _Side, at: int) -> Place:
    return int(side.stores[at]), int(side.rows[at])


def _confirmed(stores: Sequence[Store], pairs: Sequence[tuple[Place, Place]],
               progress: Callable[[int, int], None] | None) -> Iterator[Leak]:
    """The pairs whose signals are alike; pairs with the very same samples are left to their hashes."""
    for done, (a, b) in enumerate(pairs, 1):
        first, second = stores[a[0]], stores[b[0]]
        found = None
        if _hash(first, a) != _hash(second, b):
            found = similarity(first.signal(a[1]), first.fs, second.signal(b[1]), second.fs)
        if found is not None and found.correlation >= SAME_RECORDING:
            lag = f", {abs(found.lag_s) * 1000:.0f} ms apart" if abs(found.lag_s) > 0.006 else ""
            yield _leak(stores, NEAR, a, b, f"correlation {found.correlation:.3f} (median of {found.n_leads} leads, "
                                            f"{found.seconds:.1f} s){lag}")
        if progress is not None:
            progress(done, len(pairs))


def _hash(store: Store, place: Place) -> str:
    return str(store.column("signal_hash")[place[1]])


def _leak(stores: Sequence[Store], kind: str, a: Place, b: Place, evidence: str) -> Leak:
    def named(place: Place) -> tuple[str, str, str]:
        store = stores[place[0]]
        return _name(store), str(store.column("split")[place[1]]), str(store.column("record_id")[place[1]])

    return Leak(kind, *named(a), *named(b), evidence)


def _name(store: Store) -> str:
    return store.path.as_posix()


def _equal_texts(stores: Sequence[Store]) -> Iterator[Leak]:
    """Long texts that a person wrote once in train and once in val or test, and nowhere else."""
    column = polars.col
    frames = [store.scan().filter((column("report_kind") != "template")
                                  & (column("report").str.count_matches(r"\S+") >= LONG_TEXT_WORDS))
              .select("record_id", "split", "subject_id", "recording_id", text=column("report").hash(),
                      dataset=polars.lit(store.population), store=polars.lit(number, polars.Int64))
              for number, store in enumerate(stores)]
    # Windows of one recording, and the same recording in two stores, have one text.
    texts = polars.concat(frames).unique(["dataset", "recording_id", "text"], keep="first", maintain_order=True)
    twice = (texts.filter(polars.len().over("text") == 2)
             .filter((column("split") == "train").sum().over("text") == 1)
             .sort("text", column("split") != "train").collect())
    for _, (a, b) in groupby(twice.iter_rows(named=True), key=lambda row: row["text"]):
        yield Leak(TEXT, _name(stores[a["store"]]), a["split"], a["record_id"], _name(stores[b["store"]]), b["split"],
                   b["record_id"], "the same long report, of no other recording")
