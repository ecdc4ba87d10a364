"""A simulated cohort with known truth: 12-lead ECGs and reports, both made from the same named findings.

What a report says can be read off the signal, and only off the signal, so the cohort is a controlled experiment: a
model that does not use the signal cannot score. The codes of a record are the keys of `findings.FINDINGS`:

    sr sbrad stach afib    sinus rhythm, bradycardia, tachycardia, atrial fibrillation (exactly one of these)
    pvc avb1               premature ventricular complexes, first degree AV block
    lbbb rbbb              left and right bundle branch block
    lvh lowv lad rad       left ventricular hypertrophy, low voltage, left and right axis deviation
    ste_* std_* twi_*      ST elevation, ST depression, T inversion; inferior, anterior or lateral
    lqt                    prolonged QT interval

Records are drawn in blocks of patients, each block from its own seed, so that reading needs one block in memory, the
first records of a larger cohort are the same records, and a record is the same bytes however it is asked for.
Simplifications: one dipole (no change is local to an electrode), no rate finding in atrial fibrillation, one shape of
ectopic per patient.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from emgecg_cli.core import names
from emgecg_cli.core.artifacts import QuarantineRow
from emgecg_cli.core.datasets import Listing, Recording, RecordRef, Source
from emgecg_cli.core.datasets.synthetic.findings import CODES, SETS, draw_findings
from emgecg_cli.core.datasets.synthetic.heart import Hearts, draw_hearts
from emgecg_cli.core.datasets.synthetic.render import render
from emgecg_cli.core.datasets.synthetic.reports import write_report
from emgecg_cli.core.datasets.synthetic.rhythm import Beats, draw_beats
from emgecg_cli.core.errors import MedReportError

PATIENTS_PER_BLOCK = 128
MOST_RECORDS = 10_000_000
RECORDS_PER_BLOCK = 192  # half of the patients of a block have two records, the others one
RECORDS_PER_CHUNK = 16  # always rendered together, so that a record cannot depend on what else is asked for
FS_RANGE = (50, 1000)

_RECORD_ID = re.compile(r"syn-([0-9]{6,})")


@dataclass(frozen=True)
class Block:
    """The records of one block, before they are rendered: whose they are, what they have, how they beat and look."""

    patient: np.ndarray
    has: dict[str, np.ndarray]
    beats: Beats
    hearts: Hearts


def open_source(records: int = 5000, seed: int = 0, fs: int = 100, findings: str = "core") -> Source:
    """Open a cohort of exactly `records` recordings of 10 s at `fs` Hz, one or two for each patient.

    `findings` is `core` (17 findings, none rare) or `full` (22). Raises MedReportError for values out of range.
    """
    _check(records, seed, fs, findings)

    arguments = {"records": records, "seed": seed, "findings": findings}
    details = {"findings": {"set": findings, "codes": list(SETS[findings])}}
    return Source("synthetic", Listing(functools.partial(_list, records, seed), [records, seed]),
                  functools.partial(_read, records, seed, fs, findings), arguments, details)


def _check(records: int, seed: int, fs: int, findings: str) -> None:
    if records < 2:
        raise MedReportError(f"a cohort of {records} records cannot be split", "ask for --records 2 or more")
    if records > MOST_RECORDS:
        raise MedReportError(f"a cohort of {records} records", f"ask for --records {MOST_RECORDS} or fewer")
    if not 0 <= seed < 2**32:
        raise MedReportError(f"seed {seed} is out of range", "take a --seed from 0 to 4294967295")
    if not FS_RANGE[0] <= fs <= FS_RANGE[1]:
        raise MedReportError(f"{fs} Hz is out of range", f"take an --fs from {FS_RANGE[0]} to {FS_RANGE[1]} Hz")
    if findings not in SETS:
        raise names.unknown_name("set of findings", findings, SETS)


def _list(records: int, seed: int) -> Iterator[RecordRef]:
    for number in range(-(-records // RECORDS_PER_BLOCK)):
        first = number * RECORDS_PER_BLOCK
        patients = number * PATIENTS_PER_BLOCK + _draw_patients(_block_rng(seed, number))
        for row, patient in enumerate(patients[: records - first]):
            yield RecordRef(f"syn-{first + row:06d}", f"p{seed}-{patient:05d}",
                            f"seed {seed}, block {number}, row {row}")


def _read(records: int, seed: int, fs: int, findings: str,
          refs: Sequence[RecordRef]) -> Iterator[Recording | QuarantineRow]:
    pairs = [(ref, _index_of(ref, records)) for ref in refs]
    for chunk, members in itertools.groupby(pairs, lambda pair: pair[1] // RECORDS_PER_CHUNK):
        number = chunk * RECORDS_PER_CHUNK // RECORDS_PER_BLOCK
        first = chunk * RECORDS_PER_CHUNK % RECORDS_PER_BLOCK
        yield from _read_chunk(draw_block(seed, number, findings), first, [*members], seed, number, fs)


def _block_rng(seed: int, number: int) -> np.random.Generator:
    return np.random.default_rng([seed, number])


def _draw_patients(rng: np.random.Generator) -> np.ndarray:
    """The patient of each record of a block, ascending: the first draw from a block's generator."""
    twice = np.zeros(PATIENTS_PER_BLOCK, int)
    twice[rng.permutation(PATIENTS_PER_BLOCK)[: RECORDS_PER_BLOCK - PATIENTS_PER_BLOCK]] = 1
    return np.repeat(np.arange(PATIENTS_PER_BLOCK), 1 + twice)


@functools.lru_cache(maxsize=2)
def draw_block(seed: int, number: int, findings: str) -> Block:
    """Draw one block of the cohort; findings belong to the patient, the rate to the record."""
    rng = _block_rng(seed, number)
    patient = _draw_patients(rng)
    drawn = draw_findings(PATIENTS_PER_BLOCK, rng, SETS[findings])
    has = {code: values[patient] for code, values in drawn.items()}
    beats = draw_beats(has, rng)
    return Block(patient, has, beats, draw_hearts(has, beats.rr, patient, rng))


def _index_of(ref: RecordRef, records: int) -> int:
    match = _RECORD_ID.fullmatch(ref.record_id)
    if not match or int(match[1]) >= records:
        hint = f"its records are syn-000000 to syn-{records - 1:06d}"
        raise MedReportError(f"no record '{ref.record_id}' in this synthetic cohort", hint)
    return int(match[1])


def _read_chunk(
    block: Block, first: int, members: list[tuple[RecordRef, int]], seed: int, number: int, fs: int
) -> Iterator[Recording]:
    """Render the chunk that begins at row `first` of a block, and yield those of its records that are asked for."""
    rows = range(first, first + RECORDS_PER_CHUNK)
    # numbered from 1: a trailing zero would not change the seed, and give the generator of the block
    own = [np.random.default_rng([seed, number, 1 + row]) for row in rows]
    codes = [[code for code in CODES if block.has[code][row]] for row in rows]
    # words before noise: the text must not depend on how much noise a sampling rate takes
    reports = [
        write_report(has, rate, rng)
        for has, rate, rng in zip(codes, block.beats.rate[rows.start : rows.stop], own, strict=True)
    ]
    signals = render(block.hearts, block.beats, slice(rows.start, rows.stop), fs, own)
    for ref, index in members:
        i = index % RECORDS_PER_CHUNK
        yield Recording(ref, signals[i].copy(), fs, reports[i], "en", list(codes[i]), "template")
