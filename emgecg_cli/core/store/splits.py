"""The split contract: by patient, seeded, hashed; never a patient on two sides."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Protocol

from emgecg_cli.core.artifacts import SPLITS
from emgecg_cli.core.datasets import RecordRef
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.store.reader import Store

OFFICIAL = "official"
DEFAULT_SHARES = "70/10/20"


class _Row(Protocol):
    @property
    def record_id(self) -> str: ...
    @property
    def subject_id(self) -> str: ...


def parse_split(split: str) -> tuple[float, float, float]:
    """Percentages "train/val/test" such as "70/10/20"; raises MedReportError unless they are three and sum to 100."""
    hint = "write the shares of train, val and test in percent, for example --split 70/10/20"
    try:
        shares = [float(part) for part in split.split("/")]
    except ValueError:
        raise MedReportError(f"--split '{split}': not three numbers", hint) from None
    if len(shares) != 3 or any(not 0 <= share <= 100 for share in shares) or abs(sum(shares) - 100) > 1e-6:
        raise MedReportError(f"--split '{split}': not three shares that sum to 100", hint)
    if shares[0] == 0:
        raise MedReportError(f"--split '{split}': nothing to train on", hint)
    return shares[0], shares[1], shares[2]


def resolve_split(refs: Sequence[RecordRef], split: str | None) -> str:
    """What decides the split: "official" where the source has one and nothing else was asked for, else the shares."""
    if split not in (None, OFFICIAL):
        parse_split(str(split))
        return str(split)
    has_official = bool(refs) and all(ref.split is not None for ref in refs)
    if split == OFFICIAL and not has_official:
        raise MedReportError("--split official: this dataset has no official split", "give shares: --split 70/10/20")
    return OFFICIAL if has_official else DEFAULT_SHARES


def assign_splits(refs: Sequence[RecordRef], split: str, seed: int) -> dict[str, str]:
    """Map record_id to train, val or test.

    `split` is "official" or shares such as "70/10/20". For shares, patients are put in the order of
    sha256("seed:subject_id"), so that the draw depends on nothing but the seed and the patients, and the order is cut
    where the cumulative number of records passes the shares; a patient falls on the side where the middle of its
    records lies. Raises MedReportError when a patient would be on two sides.
    """
    if split == OFFICIAL:
        assigned = {ref.record_id: str(ref.split) for ref in refs}
    else:
        by_patient = _draw(refs, parse_split(split), seed)
        assigned = {ref.record_id: by_patient[ref.subject_id] for ref in refs}
    check_splits(refs, [assigned[ref.record_id] for ref in refs])
    return assigned


def _draw(refs: Sequence[RecordRef], shares: tuple[float, float, float], seed: int) -> dict[str, str]:
    sizes = Counter(ref.subject_id for ref in refs)
    patients = sorted(sizes, key=lambda subject_id: (hashlib.sha256(f"{seed}:{subject_id}".encode()).digest(),
                                                     subject_id))
    by_patient: dict[str, str] = {}
    before = 0
    for patient in patients:
        middle = (before + sizes[patient] / 2) / len(refs) * 100
        by_patient[patient] = SPLITS[(middle >= shares[0]) + (middle >= shares[0] + shares[1])]
        before += sizes[patient]
    # Without a share there is no patient, whatever the rounding of the cut.
    spare = {name for name, share in zip(SPLITS, shares, strict=True) if share == 0}
    return {patient: SPLITS[0] if name in spare else name for patient, name in by_patient.items()}


def check_splits(rows: Sequence[_Row], splits: Sequence[str]) -> None:
    """Refuse a split that is no train/val/test or lets two sides share a patient; raises MedReportError naming one."""
    seen: dict[str, tuple[str, str]] = {}
    for row, split in zip(rows, splits, strict=True):
        if split not in SPLITS:
            raise MedReportError(f"record {row.record_id}: split '{split}' is none of {', '.join(SPLITS)}", None)
        other_id, other = seen.setdefault(row.subject_id, (row.record_id, split))
        if other != split:
            raise MedReportError(
                f"patient {row.subject_id} is in {other} (record {other_id}) and in {split} (record {row.record_id})",
                "a score on such a split is worth nothing: split by patient with --split 70/10/20")


def subject_hashes(store: Store, split: str) -> set[str]:
    """The patients of a split, each as the first 16 hex digits of SHA-256 of dataset and subject_id.

    Enough to tell whether two sets share a patient, too little to name one.
    """
    rows = store.indices(split)
    subjects = store.records["subject_id"].gather(rows).unique().to_list()
    return {hashlib.sha256(f"{store.dataset}/{subject}".encode()).hexdigest()[:16] for subject in subjects}


def split_hash(records: Iterable[tuple[str, str]]) -> str:
    """SHA-256 of the sorted "record_id:split" lines: two stores with the same hash have the same split."""
    lines = sorted(f"{record_id}:{split}\n" for record_id, split in records)
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogatepass")).hexdigest()
