"""The split contract: by patient, seeded, hashed; never a patient on two sides."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import polars

from emgecg_cli.core.artifacts import SPLITS
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.store.reader import Store

OFFICIAL = "official"
DEFAULT_SHARES = "70/10/20"
UNREPORTED = "test"  # where a patient with a recording without a report goes, unless an official split says otherwise


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


def resolve_split(has_official: bool, split: str | None) -> str:
    """What decides the split: "official" where the source has one and nothing else was asked for, else the shares."""
    if split not in (None, OFFICIAL):
        parse_split(str(split))
        return str(split)
    if split == OFFICIAL and not has_official:
        raise MedReportError("--split official: this dataset has no official split", "give shares: --split 70/10/20")
    return OFFICIAL if has_official else DEFAULT_SHARES


def draw_splits(sizes: Mapping[str, int], shares: tuple[float, float, float], seed: int) -> dict[str, str]:
    """Map subject_id to train, val or test; `sizes` holds the number of records of each patient.

    Patients are put in the order of sha256("seed:subject_id"), so that the draw depends on nothing but the seed and the
    patients, and the order is cut where the cumulative number of records passes the shares (percent); a patient falls
    on the side where the middle of its records lies.
    """
    total = sum(sizes.values())
    patients = sorted(sizes, key=lambda subject_id: (_digest(seed, subject_id), subject_id))
    by_patient: dict[str, str] = {}
    before = 0
    for patient in patients:
        middle = (before + sizes[patient] / 2) / total * 100
        by_patient[patient] = SPLITS[(middle >= shares[0]) + (middle >= shares[0] + shares[1])]
        before += sizes[patient]
    # Without a share there is no patient, whatever the rounding of the cut.
    spare = {name for name, share in zip(SPLITS, shares, strict=True) if share == 0}
    return {patient: SPLITS[0] if name in spare else name for patient, name in by_patient.items()}


def _digest(seed: int, subject_id: str) -> bytes:
    return hashlib.sha256(f"{seed}:{subject_id}".encode("utf-8", "surrogatepass")).digest()


def check_table(records: polars.LazyFrame) -> None:
    """Refuse a table with a split that is no train/val/test, one record twice or a patient on two sides; raises
    MedReportError naming one."""
    wrong = records.filter(~polars.col("split").is_in(SPLITS)).select("record_id", "split").head(1)
    for record_id, split in wrong.collect(engine="streaming").rows():
        raise MedReportError(f"record {record_id}: split '{split}' is none of {', '.join(SPLITS)}", None)
    twice = records.group_by("record_id").len().filter(polars.col("len") > 1).select("record_id").sort("record_id")
    for (record_id,) in twice.head(1).collect(engine="streaming").rows():
        raise MedReportError(f"record {record_id}: twice in one store", "give each recording an id of its own")
    by_side = records.group_by("subject_id", "split").agg(polars.col("record_id").first())
    both = by_side.filter(polars.len().over("subject_id") > 1).sort("subject_id", "split").head(2)
    rows = both.collect().rows()
    if rows:
        (subject, side, one), (_, other_side, other) = rows
        raise two_sides(subject, one, side, other, other_side)


def two_sides(subject: str, one: str, side: str, other: str, other_side: str) -> MedReportError:
    """The error for a patient on two sides of a split, with a record of each."""
    return MedReportError(
        f"patient {subject} is in {side} (record {one}) and in {other_side} (record {other})",
        "a score on such a split is worth nothing: split by patient with --split 70/10/20")


def subject_hashes(store: Store, split: str | None) -> set[str]:
    """The patients of a split, of all where it is None, each as the first 16 hex digits of SHA-256 of dataset and
    subject_id.

    Enough to tell whether two sets share a patient, too little to name one.
    """
    rows = store.indices(split)
    subjects = store.column("subject_id").gather(rows).unique().to_list()
    return {hashlib.sha256(f"{store.population}/{subject}".encode()).hexdigest()[:16] for subject in subjects}


def split_hash(records: polars.LazyFrame) -> str:
    """SHA-256 of the sorted "record_id:split" lines: two stores with the same hash have the same split."""
    lines = records.select((polars.col("record_id") + ":" + polars.col("split") + "\n").alias("line")).sort("line")
    digest = hashlib.sha256()
    for batch in lines.collect_batches(maintain_order=True):
        digest.update("".join(batch["line"].to_list()).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
