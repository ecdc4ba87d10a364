"""Views: a perturbed store that holds no signals. What it shows is drawn from its original when it is read.

A view has a manifest, which names the original and the perturbation with its level and seed, `perturbed.jsonl`, which
says what was reached in each perturbed record, and `perturbed.parquet`, with those columns of its table that are not
the original's. A signal depends on the original, the seed and the record's id alone, and is checked against the
checksum that it had when the view was made. Measurements are made again for the row that is read; the table has none
for perturbed records.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import polars

from emgecg_cli.core import names
from emgecg_cli.core.artifacts import Measurements
from emgecg_cli.core.emg.examination import Examination
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.manifest import Manifest, is_finished, manifest_hash, path_at
from emgecg_cli.core.references import References
from emgecg_cli.core.signals.fingerprint import checksum
from emgecg_cli.core.signals.leads import LEADS, MISSING, count_clipped, to_float_uv, to_int16_uv
from emgecg_cli.core.signals.quality import SignalChecks
from emgecg_cli.core.store.payloads import Payload
from emgecg_cli.core.store.payloads.cutting import described, measured
from emgecg_cli.core.store.stored_rows import Rows
from emgecg_cli.core.store.table import BASE_SCHEMA, CHECKSUM, GROUP_SCHEMAS

VIEW = "view"  # what a manifest calls the perturbation that is drawn on read
CHANGED = "perturbed.parquet"
NOISE = "noise.npy"  # recorded noise that a view draws from, where it does
AT = "at"  # its column of row numbers
# the columns of a store's table that are of the samples
OF_SIGNAL = (*(one.name for one in fields(SignalChecks)), "signal_hash", "fingerprint", "n_clipped", "n_missing",
             "absent_leads")
SCHEMA = {AT: polars.Int64, "record_id": polars.String, CHECKSUM: polars.Int64, "snr_db": polars.Float64,
          "changed": polars.Float64} | {name: BASE_SCHEMA[name] for name in OF_SIGNAL}
# what its recorder, or an earlier measurement on other samples, had found
_ABSENT = (*GROUP_SCHEMAS["machine"], *GROUP_SCHEMAS["measurements"])
_HINT = "remove the folder and run `medreport perturb` again"


@dataclass(frozen=True)
class Drawing:
    """A perturbation as it is applied to records: its kind, level and seed, and, of a kind that takes noise as it was
    recorded, that noise, int16 (channels, T)."""

    kind: str
    level: float
    seed: int
    noise: np.ndarray | None = field(default=None, repr=False, compare=False)

    def draw(self, signal: np.ndarray, fs: int, record_id: str) -> np.ndarray:
        """A record's signal after the perturbation, int16 microvolts (12, L); what is missing stays missing."""
        perturb: Callable[..., np.ndarray] = names.resolve("perturbation", self.kind)
        digest = hashlib.sha256(f"noise:{self.seed}:{record_id}".encode("utf-8", "surrogatepass")).digest()
        rng = np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))
        more = () if self.noise is None else (self.noise,)
        drawn, _ = to_int16_uv(perturb(to_float_uv(signal), fs, self.level, rng, *more))
        return np.where(signal == MISSING, np.int16(MISSING), drawn)


@dataclass(frozen=True, eq=False)
class DrawnSignals:
    """The recordings of a view; see `payloads.Payload`. `hit` are the rows that are perturbed, in order, `ids` their
    record ids, and `sums` the checksums they had when the view was made, None while it is made."""

    original: Payload
    drawing_of: Drawing
    fs: int
    place: Path
    hit: np.ndarray = field(repr=False)
    ids: list[str] = field(repr=False)
    sums: np.ndarray | None = field(default=None, repr=False)
    seen: np.ndarray = field(default_factory=lambda: np.zeros(0, bool), repr=False)

    def at(self, index: int) -> int | None:
        """The number of a row among those that are perturbed; None for the others."""
        at = int(np.searchsorted(self.hit, index))
        return at if at < len(self.hit) and self.hit[at] == index else None

    def signal(self, index: int) -> np.ndarray:
        """See `payloads.Payload`."""
        return self.after(index, self.original.signal(index))

    def after(self, index: int, before: np.ndarray) -> np.ndarray:
        """What the original's signal of a row becomes."""
        at = self.at(index)
        if at is None:
            return before
        drawn = self.drawing_of.draw(before, self.fs, self.ids[at])
        if self.sums is not None and not self.seen[at]:
            if checksum(drawn) != self.sums[at]:
                raise MedReportError(
                    f"{self.place}: the signal of record {self.ids[at]} is drawn otherwise than when the view was made",
                    "another version of numpy draws other noise; remove the folder and run `medreport perturb` again")
            self.seen[at] = True
        drawn.flags.writeable = False
        return drawn

    def drawing(self, index: int) -> np.ndarray | None:
        """See `payloads.Payload`."""
        return self.signal(index)

    def case(self, index: int, values: Mapping[str, Any]) -> Examination:
        """See `payloads.Payload`."""
        return self.original.case(index, values)

    def references(self) -> References | None:
        """See `payloads.Payload`."""
        return self.original.references()

    def shown(self, index: int, values: Mapping[str, Any]) -> dict[str, Any]:
        """See `payloads.Payload`."""
        return {"signal": self.signal(index)}

    def is_checked(self) -> bool:
        """See `payloads.Payload`."""
        return True


@dataclass(frozen=True, eq=False)
class ViewRows:
    """The rows of a view: the original's, with the columns that describe the drawn signal."""

    original: Rows
    signals: DrawnSignals
    place: Path

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the original's columns."""
        return self.original.columns

    @property
    def home(self) -> Path:
        """The folder of the store that the rows are of."""
        return self.original.home

    def __len__(self) -> int:
        return len(self.original)

    def values(self, index: int) -> dict[str, Any]:
        """The columns of a row that it has."""
        values = self.original.values(index)
        if self.signals.at(index) is None:
            return values
        before = self.signals.original.signal(index)
        return values | of_signal(values, before, self.signals.after(index, before))

    def scan(self) -> polars.LazyFrame:
        """The table: the original's, with the columns that describe the signal as they are now for perturbed
        records."""
        table = self.original.scan().with_row_index(AT).with_columns(polars.col(AT).cast(polars.Int64))
        there = table.collect_schema().names()
        new = [name for name in (*OF_SIGNAL, CHECKSUM) if name in there]
        changed = polars.scan_parquet(self.place / CHANGED, glob=False).select(
            AT, polars.lit(True).alias(".hit"), *(polars.col(name).alias(f".{name}") for name in new))
        hit = polars.col(".hit").is_not_null()
        now = [polars.when(hit).then(polars.col(f".{name}")).otherwise(polars.col(name)).alias(name) for name in new]
        gone = [polars.when(hit).then(None).otherwise(polars.col(name)).alias(name) for name in _ABSENT
                if name in there]
        return table.join(changed, on=AT, how="left", maintain_order="left").with_columns(*now, *gone) \
            .select(name for name in there if name != AT)


def of_signal(values: Mapping[str, Any], before: np.ndarray, after: np.ndarray, measure: bool = True) -> dict[str, Any]:
    """The columns of a row that say something of its signal, int16 (12, L), as it is after a perturbation; with
    `measure`, measurements where the row had any."""
    fs, derived = int(values["fs"]), values.get("derived_leads") or ()
    lost, kept = _dropped(before, after), int(values["sig_len"]) - int(values["n_padded"])
    others = [lead for lead in range(len(LEADS)) if lead not in lost]
    n_missing = values["n_missing"] - int(np.count_nonzero(before[lost, :kept] == MISSING)) + int(
        np.count_nonzero((after[others] == MISSING) & (before[others] != MISSING)))
    absent = {*values["absent_leads"], *(LEADS[lead] for lead in lost)}
    found = described(after, fs, derived) | {
        "n_clipped": count_clipped(after), "n_missing": n_missing,
        "absent_leads": [name for name in LEADS if name in absent] if lost else values["absent_leads"]}
    found |= {name: None for name in GROUP_SCHEMAS["machine"] if name in values}
    if measure and any(values.get(one.name) is not None for one in fields(Measurements)):
        found |= vars(measured(after[:, :kept], fs))
    return found


def _dropped(before: np.ndarray, after: np.ndarray) -> list[int]:
    """The leads that had samples and have none now."""
    return np.flatnonzero((after == MISSING).all(axis=1) & (before != MISSING).any(axis=1)).tolist()


def is_view(manifest: Manifest) -> bool:
    """Whether a store's signals are drawn from another one's."""
    return VIEW in manifest.details


def original_of(view: Path, manifest: Manifest) -> Path:
    """Where the store lies that a view is of; raises MedReportError where it is gone, or not the same any more."""
    named = manifest.inputs["store"]
    path = path_at(view, named["path"])
    if not is_finished(path):
        raise MedReportError(f"{view}: a view of the store {path.as_posix()}, which is not there",
                             "put it back there, or make the view again from where it lies now")
    if manifest_hash(path) != named["hash"]:
        raise MedReportError(f"{view}: a view of the store {path.as_posix()}, which has been made anew since",
                             "remove the folder and run `medreport perturb` again")
    return path


def open_view(view: Path, manifest: Manifest, rows: Rows, payload: Payload) -> tuple[ViewRows, DrawnSignals]:
    """The rows and signals of a view, from those of its original; raises MedReportError where its files are not what
    the manifest says."""
    told = manifest.details[VIEW]
    names.check("perturbation", told["kind"])
    try:
        hit = polars.read_parquet(view / CHANGED, columns=[AT, "record_id", CHECKSUM], glob=False)
        at, sums = hit[AT].to_numpy(), hit[CHECKSUM].to_numpy()
    except (polars.exceptions.PolarsError, OSError) as error:
        raise MedReportError(f"{view / CHANGED}: not readable ({str(error).partition(chr(10))[0][:200]})",
                             _HINT) from None
    if len(at) and (at.min() < 0 or at.max() >= len(rows) or (np.diff(at) <= 0).any()):
        raise MedReportError(f"{view / CHANGED}: names rows that the original does not have", _HINT)
    try:
        noise = np.load(view / NOISE, mmap_mode="r", allow_pickle=False) if told.get("noise") else None
    except (OSError, ValueError) as error:
        raise MedReportError(f"{view / NOISE}: not readable ({error})", _HINT) from None
    signals = DrawnSignals(payload, Drawing(told["kind"], float(told["level"]), int(told["seed"]), noise),
                           int(manifest.details["fs"]), view, at, hit["record_id"].to_list(), sums,
                           np.zeros(len(at), bool))
    return ViewRows(rows, signals, view), signals
