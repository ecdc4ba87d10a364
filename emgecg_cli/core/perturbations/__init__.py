"""Distortions of a store's signals: one pure function per file, and the command that applies one to a store.

A perturbation is `f(signal, fs, <level>, rng) -> signal`: float32 microvolts (C, L) with NaN for missing samples, and a
level whose parameter name says its unit (`snr_db`, `proportion`). A new one is a new file and a line in
`names.PERTURBATIONS`.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from emgecg_cli.core import names
from emgecg_cli.core.artifacts import PERTURBED, PerturbedRow, QuarantineRow, RecordRow, read_rows, write_rows
from emgecg_cli.core.config import PrepareConfig
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.manifest import Manifest, input_of
from emgecg_cli.core.signals.leads import LARGEST_UV, MISSING, to_float_uv, to_int16_uv
from emgecg_cli.core.store import (
    QUARANTINE,
    Shard,
    Store,
    Written,
    described,
    flag_counts,
    make_shard,
    measured,
    open_store,
    shard_file,
    write_store,
)

Perturb = Callable[[np.ndarray, int, float, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class PerturbResult:
    """A perturbed store: where it is, its manifest, and whether it had been there before this call."""

    path: Path
    manifest: Manifest
    already_finished: bool


def level_name(kind: str) -> str:
    """The name of a perturbation's level, which is its third parameter: `snr_db`, `proportion`, …"""
    return list(inspect.signature(names.resolve("perturbation", kind)).parameters)[2]


def perturb_store(store_path: Path, out: Path | None, *, kind: str, levels: dict[str, float | None],
                  records: float = 1.0, split: str | None = None, seed: int = 0,
                  progress: Callable[[int, int], None] | None = None) -> PerturbResult:
    """Write a store' with the same records, splits and reports, in which some of the signals are perturbed.

    What a row says of its signal (checks, hash, fingerprint, clipping, measurements if the store has any) is of the
    signal as it is now; what its recorder had measured is left out where it was hit.

    `levels` maps level names to values, None = not given; exactly the level of `kind` must be given. `records` is the
    share of the records, of `split` if that is given, that are hit; the choice and the noise of a record depend on the
    seed and its record_id alone, so that they do not move with order, shards or other records' noise, and the same seed
    at several levels gives the same noise at several strengths. `out` None means beside the store, under a name that
    says kind and level. `perturbed.jsonl` says which records were hit and what ratio was reached; of a store that was
    perturbed before, the manifest keeps what was done then as `earlier`. Killed and run again, it goes on. Raises
    MedReportError for a wrong level, share or split, and when `out` holds something else.
    """
    perturb: Perturb = names.resolve("perturbation", kind)
    name = level_name(kind)
    level = _the_level(kind, name, levels)
    # An empty recording through the function refuses a level out of range before anything is written.
    perturb(np.zeros((1, 1), np.float32), 1, level, np.random.default_rng(0))
    store = open_store(store_path)
    store.check_has_signals()
    if out is None:
        place = store_path if store_path.name not in ("", "..") else store_path.resolve()
        out = place.with_name(f"{place.name}-{kind}-{level:g}")
    if out.resolve() == store_path.resolve():
        raise MedReportError(f"{out}: a store cannot be perturbed in place", "choose another --out")
    hit = _choose(store, records, split, seed)
    arguments = {"kind": kind, name: level, "records": records, "split": split, "seed": seed}
    source = input_of(store_path, out)
    shard_size = PrepareConfig().shard_size
    starts = range(0, len(store), shard_size)

    def build_shard(number: int, _: None) -> Shard:
        indices = range(starts[number], min(starts[number] + shard_size, len(store)))
        return make_shard(number, [_perturbed(store, i, perturb, level, seed) if i in hit
                                   else (store.row(i), store.signal(i)) for i in indices], [], {})

    def make_manifest(written: Written) -> Manifest:
        rows = _measure(store, out, sorted(hit), shard_size)
        write_rows(out / PERTURBED, rows)
        earlier = {"earlier": before} if (before := store.manifest.details.get("perturbation")) else {}
        details = store.manifest.details | {"perturbation": {"kind": kind, name: level} | _summary(rows) | earlier}
        details.pop("honesty", None)  # of the recordings as they were
        counts = store.manifest.counts | flag_counts(written.records) | {"perturbed": len(rows)}
        return Manifest("store", "perturb", arguments, seed, counts, {"store": source}, details)

    identity = {"command": "perturb", "arguments": arguments, "store": source["hash"]}
    written = write_store(out, identity=identity, sizes=[min(shard_size, len(store) - start) for start in starts],
                          job=lambda number: None, build=build_shard, make_manifest=make_manifest,
                          set_aside=read_rows(store_path / QUARANTINE, QuarantineRow), files=[PERTURBED],
                          progress=progress)
    return PerturbResult(out, written.manifest, written.already_finished)


def _the_level(kind: str, name: str, levels: dict[str, float | None]) -> float:
    """The one level the kind takes; raises MedReportError when it is not given, or another one is."""
    for other, value in levels.items():
        if other != name and value is not None:
            raise MedReportError(f"--kind {kind} takes no {_flag(other)}", f"its level is {_flag(name)}")
    value = levels.get(name)
    if value is None:
        raise MedReportError(f"--kind {kind} needs {_flag(name)}", f"give its level: --kind {kind} {_flag(name)} VALUE")
    return float(value)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _choose(store: Store, records: float, split: str | None, seed: int) -> set[int]:
    """The rows that are hit: a seeded share of the split's records, and always the same for the same records."""
    if not 0 < records <= 1:
        raise MedReportError(f"a share of {records:g} of the records", "give --records more than 0 and at most 1")
    indices = store.indices(split).tolist()
    if not indices:
        raise MedReportError(f"{store.path}: no record in {split or 'the store'}", "choose another --split")
    record_ids = store.column("record_id").to_list()
    drawn = sorted(indices, key=lambda index: (_digest("draw", seed, record_ids[index]), record_ids[index]))
    return set(drawn[:max(1, round(records * len(indices)))])


def _digest(purpose: str, seed: int, record_id: str) -> bytes:
    return hashlib.sha256(f"{purpose}:{seed}:{record_id}".encode("utf-8", "surrogatepass")).digest()


def _perturbed(store: Store, index: int, perturb: Perturb, level: float, seed: int) -> tuple[RecordRow, np.ndarray]:
    """One record's row and signal after the perturbation, int16 microvolts (12, L)."""
    digest = _digest("noise", seed, str(store.column("record_id")[index]))
    rng = np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))
    signal = store.signal(index)
    noisy, _ = to_int16_uv(perturb(to_float_uv(signal), store.fs, level, rng))
    noisy = np.where(signal == MISSING, MISSING, noisy)
    row = store.row(index)
    length = row.sig_len - row.n_padded
    derived = (row.reading and row.reading.derived_leads) or ()
    return replace(row, **described(noisy, store.fs, derived), n_clipped=_count_clipped(noisy), machine=None,
                   measurements=row.measurements and measured(noisy[:, :length], store.fs)), noisy


def _count_clipped(signal: np.ndarray) -> int:
    """Samples at either end of the int16 scale."""
    return int(np.count_nonzero(np.abs(signal.astype(np.int32)) == LARGEST_UV))


def _measure(store: Store, out: Path, hit: Sequence[int], shard_size: int) -> list[PerturbedRow]:
    """What was reached in each record that was hit, from the signals as they were and as they were written."""
    rows = []
    opened, shard = -1, np.empty(0)
    for index in hit:
        if index // shard_size != opened:
            opened = index // shard_size
            shard = np.load(out / shard_file(opened), mmap_mode="r", allow_pickle=False)
        before = store.signal(index)
        after = shard[index % shard_size]
        changed = float(np.mean((before != after).any(axis=0)))
        rows.append(PerturbedRow(str(store.column("record_id")[index]), achieved_snr_db(before, after),
                                 round(changed, 6), _count_clipped(after)))
    return rows


def achieved_snr_db(before: np.ndarray, after: np.ndarray) -> float | None:
    """10 log10 of signal power to noise power, both summed over all leads, of two int16 signals (12, L).

    The signal's power is about each lead's own mean. None when nothing was changed, or there was no signal.
    """
    values, noise = to_float_uv(before).astype(np.float64), to_float_uv(after).astype(np.float64)
    present = np.isfinite(values)
    mean = np.where(present, values, 0).sum(axis=1, keepdims=True) / np.maximum(present.sum(axis=1, keepdims=True), 1)
    n = np.maximum(present.sum(axis=1), 1)
    signal_power = float((np.where(present, values - mean, 0) ** 2).sum(axis=1).dot(1 / n))
    noise_power = float((np.where(present, noise - values, 0) ** 2).sum(axis=1).dot(1 / n))
    if signal_power == 0 or noise_power == 0:
        return None
    return round(float(10 * np.log10(signal_power / noise_power)), 4)


def _summary(rows: Sequence[PerturbedRow]) -> dict[str, Any]:
    """What the manifest says about the records that were hit."""
    reached = [row.snr_db for row in rows if row.snr_db is not None]
    quantiles = {f"p{q}": round(float(np.percentile(reached, q)), 2) for q in (5, 50, 95)} if reached else None
    return {"perturbed": len(rows), "unchanged": sum(row.snr_db is None for row in rows),
            "achieved_snr_db": quantiles, "mean_changed": round(float(np.mean([row.changed for row in rows])), 4),
            "clipped_samples": sum(row.n_clipped for row in rows)}
