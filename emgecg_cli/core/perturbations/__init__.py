"""Distortions of a store's signals: one pure function per file, and the command that applies one to a store.

A perturbation is `f(signal, fs, <level>, rng) -> signal`: float32 microvolts (12, L) with NaN for missing samples, and
a level whose parameter name says its unit (`snr_db`, `proportion`, `leads`). What was missing stays missing. A new one
is a new file and a line in `names.PERTURBATIONS`.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import polars

from emgecg_cli.core import names
from emgecg_cli.core.artifacts import PERTURBED, PerturbedRow
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.manifest import Manifest, input_of, is_finished, read_manifest
from emgecg_cli.core.perturbations.reached import achieved_snr_db, summary
from emgecg_cli.core.perturbations.recorded import RECORDS, digest, read_noise
from emgecg_cli.core.perturbations.suites import SUITES
from emgecg_cli.core.perturbations.writing import Job, write_copy, write_view
from emgecg_cli.core.signals.leads import LEADS
from emgecg_cli.core.store import Engine, Store, flag_counts, open_store
from emgecg_cli.core.store.listed import LISTED
from emgecg_cli.core.store.views import VIEW, Drawing, is_view
from emgecg_cli.core.store.writer import IN_THIS_PROCESS, finished_before

__all__ = ["PERTURBED", "RECORDS", "SUITES", "PerturbResult", "achieved_snr_db", "level_name", "levels_of",
           "perturb_store", "place_of", "plan_of"]

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
                  records: float = 1.0, split: str | None = None, seed: int = 0, copy: bool = False,
                  noise_root: Path | None = None, engine: Engine = IN_THIS_PROCESS,
                  progress: Callable[[int, int], None] | None = None) -> PerturbResult:
    """Write a store' with the same records, splits and reports, in which some of the signals are perturbed.

    The store' is a view (`store.views`): it holds what was reached, and draws its signals from the store it is of when
    they are read; with `copy` it holds them itself, and stands without that store. What a row says of its signal
    (checks, hash, fingerprint, clipping, measurements if the store has any) is of the signal as it is now; what its
    recorder had measured is left out for perturbed records.

    `levels` maps level names to values, None = not given; exactly the level of `kind` must be given. `records` is the
    share of the records, of `split` if that is given, that are perturbed; the choice and the noise of a record depend
    on the seed and its record_id alone, so that they do not move with order, shards or other records' noise, and the
    same seed at several levels gives the same noise at several strengths. `out` None means beside the store, under a
    name that says kind and level. `perturbed.jsonl` says which records were perturbed and what ratio was reached; of a
    store that was perturbed before, the manifest keeps what was done then as `earlier`. Killed and run again, it goes
    on. `noise_root` is the folder of recorded noise, for the kinds of `recorded.RECORDS`; the others model theirs.
    `progress(done, total)` counts records. Raises MedReportError for a wrong level, share or split, and when `out`
    holds something else.
    """
    perturb: Perturb = names.resolve("perturbation", kind)
    name = level_name(kind)
    level = _the_level(kind, name, levels)
    store = open_store(store_path)
    store.check_has_signals()
    # An empty recording through the function refuses a level out of range before anything is written.
    perturb(np.zeros((len(LEADS), 1), np.float32), store.fs, level, np.random.default_rng(0))
    noise = read_noise(noise_root, kind, store.fs) if noise_root else None
    out = out or place_of(store_path, kind, level, recorded=noise is not None)
    if out.resolve() == store_path.resolve():
        raise MedReportError(f"{out}: a store cannot be perturbed in place", "choose another --out")
    job = Job(store, Drawing(kind, level, seed, noise), _choose(store, records, split, seed))
    told = {} if noise is None else {"noise": f"recorded: {RECORDS[kind]}"}
    arguments = {"kind": kind, name: level, "records": records, "split": split, "seed": seed} | told
    if noise is not None:
        arguments["noise_hash"] = digest(noise)
    source = input_of(store_path, out)
    identity = {"command": "perturb", "arguments": arguments, "store": source["hash"]}
    if is_finished(out):
        there = is_view(read_manifest(out, "store"))
        if copy and there:
            raise MedReportError(f"{out}: a finished view, which holds no signals of its own",
                                 "give another --out, or remove the folder to make a copy")
        return PerturbResult(out, finished_before(out, identity | ({VIEW: True} if there else {})), True)
    blank = Manifest("store", "perturb", arguments, seed, {}, {"store": source},
                     {"perturbation": {"kind": kind, name: level} | told})
    make = partial(_make_manifest, store, blank)
    if copy:
        return PerturbResult(out, write_copy(job, out, identity, make, engine, progress), False)
    return PerturbResult(out, write_view(job, out, identity | {VIEW: True}, make, engine, progress), False)


def place_of(store_path: Path, kind: str, level: float, recorded: bool = False) -> Path:
    """Where a perturbed store lies unless told: beside its original, under a name that says kind and level, and whether
    the noise was recorded."""
    place = store_path if store_path.name not in ("", "..") else store_path.resolve()
    return place.with_name(f"{place.name}-{kind}{'-recorded' if recorded else ''}-{level:g}")


def levels_of(text: str) -> list[float]:
    """The levels of "20,10,5,0"; raises MedReportError for what is no number, and for one that is there twice."""
    try:
        levels = [float(part) for part in text.split(",")]
    except ValueError:
        raise MedReportError(f"--level '{text}': not numbers separated by commas", "give --level 20,10,5,0") from None
    if len({*levels}) < len(levels):
        raise MedReportError(f"--level '{text}': a level is there twice", "give each once")
    return levels


def plan_of(kind: str | None, levels: Sequence[float], suite: str | None) -> list[tuple[str, float]]:
    """The perturbations that are asked for, each with its level; raises MedReportError for a suite that is none."""
    if suite is None:
        return [(str(kind), level) for level in levels]
    if suite not in SUITES:
        raise names.unknown_name("suite", suite, SUITES)
    return [(one, level) for one, own in SUITES[suite].items() for level in own]


def _make_manifest(store: Store, blank: Manifest, table: polars.LazyFrame, rows: Iterable[PerturbedRow]) -> Manifest:
    """The manifest of a perturbed store, from its table and what was reached in the perturbed records."""
    told, hit = store.manifest.details, list(rows)
    earlier = {"earlier": told["perturbation"]} if told.get("perturbation") else {}
    # without what was found in the recordings as they were, and how those were listed
    details = {name: value for name, value in told.items() if name not in ("honesty", VIEW, LISTED)}
    details |= {"perturbation": blank.details["perturbation"] | summary(hit) | earlier}
    counts = store.manifest.counts | flag_counts(table) | {"perturbed": len(hit)}
    return Manifest(**vars(blank) | {"counts": counts, "details": details})


def _the_level(kind: str, name: str, levels: dict[str, float | None]) -> float:
    """The one level the kind takes; raises MedReportError when it is not given, or another one is."""
    for other, value in levels.items():
        if other != name and value is not None:
            raise MedReportError(f"--kind {kind} takes no {_flag(other)}", f"its level is {_flag(name)}")
    value = levels.get(name)
    if value is None:
        raise MedReportError(f"--kind {kind} needs {_flag(name)}", f"give its level: --kind {kind} {_flag(name)} VALUE")
    return float(value)


_OWN_FLAGS = ("snr_db", "proportion")  # the levels that can be given by their name


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}" if name in _OWN_FLAGS else "--level"


def _choose(store: Store, records: float, split: str | None, seed: int) -> list[int]:
    """The rows that are perturbed: a seeded share of the split's records, and always the same for the same records."""
    if not 0 < records <= 1:
        raise MedReportError(f"a share of {records:g} of the records", "give --records more than 0 and at most 1")
    indices = store.indices(split).tolist()
    if not indices:
        raise MedReportError(f"{store.path}: no record in {split or 'the store'}", "choose another --split")
    record_ids = store.column("record_id").to_list()
    drawn = sorted(indices, key=lambda index: (_draw_digest(seed, record_ids[index]), record_ids[index]))
    return sorted(drawn[:max(1, round(records * len(indices)))])


def _draw_digest(seed: int, record_id: str) -> bytes:
    return hashlib.sha256(f"draw:{seed}:{record_id}".encode("utf-8", "surrogatepass")).digest()
