"""The synthetic cohort: the same bytes however it is read, and a truth that can be measured on the signal."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any

import numpy as np
import pytest

from emgecg_cli.core.artifacts import QuarantineRow
from emgecg_cli.core.datasets import Recording, RecordRef, Source, open_dataset
from emgecg_cli.core.datasets.synthetic import PATIENTS_PER_BLOCK, RECORDS_PER_BLOCK, draw_block, open_source
from emgecg_cli.core.datasets.synthetic.findings import CODES, FINDINGS, RHYTHMS, SETS
from emgecg_cli.core.datasets.synthetic.render import render
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.signals.leads import LEADS


def read_all(source: Source, refs: list[RecordRef] | None = None) -> list[Recording]:
    recordings = list(source.read(list(source.listing()) if refs is None else refs))
    assert not any(isinstance(recording, QuarantineRow) for recording in recordings)
    return recordings  # type: ignore[return-value]


@cache
def cohort() -> list[Recording]:
    return read_all(open_source(2000, seed=4, fs=50))


def same(left: Recording, right: Recording) -> bool:
    return (
        (left.ref, left.report, left.codes, left.fs) == (right.ref, right.report, right.codes, right.fs)
        and left.signal.dtype == right.signal.dtype == np.int16
        and left.signal.tobytes() == right.signal.tobytes()
    )


# ---- listing and reading


def test_exactly_n_records_of_patients_with_one_or_two() -> None:
    for n in (2, 191, 192, 193, 3000):
        refs = list(open_source(n).listing())
        assert len(refs) == len({ref.record_id for ref in refs}) == n
        assert set(Counter(ref.subject_id for ref in refs).values()) <= {1, 2}
        assert {ref.split for ref in refs} == {None}
    assert (refs[123].record_id, refs[0].subject_id) == ("syn-000123", "p0-00000")
    assert len({ref.subject_id for ref in refs[: 15 * RECORDS_PER_BLOCK]}) == 15 * PATIENTS_PER_BLOCK


def test_any_subset_in_any_order_is_the_same_bytes() -> None:
    source = open_source(400, seed=7)
    whole = {recording.ref.record_id: recording for recording in read_all(source)}
    rng = np.random.default_rng(0)
    refs = list(source.listing())
    picked = [refs[i] for i in rng.permutation(400)[:25]]
    for recording in read_all(open_source(400, seed=7), picked):
        assert same(recording, whole[recording.ref.record_id])
    assert [recording.ref for recording in read_all(source, picked)] == picked
    assert read_all(source, []) == []


def test_the_first_records_of_a_larger_cohort_are_the_same() -> None:
    small, large = open_source(200, seed=2), open_source(500, seed=2)
    assert list(large.listing())[:200] == list(small.listing())
    assert all(map(same, read_all(small), read_all(large, list(large.listing())[:200])))


def test_seeds_and_records_differ() -> None:
    first, second = read_all(open_source(64, seed=0)), read_all(open_source(64, seed=1))
    signals = {recording.signal.tobytes() for recording in first + second}
    assert len(signals) == 128
    assert [r.codes for r in first] != [r.codes for r in second]


def test_recordings_own_their_signal() -> None:
    source = open_source(4)
    first = read_all(source)[0]
    before = first.signal.copy()
    read_all(source)[1].signal[:] = 0
    assert np.array_equal(read_all(source)[0].signal, before) and first.signal.base is None


@pytest.mark.parametrize("fs", [50, 100, 333, 500, 1000])
def test_shape_einthoven_and_goldberger_at_any_rate(fs: int) -> None:
    source = open_source(32, fs=fs)
    assert source.dataset == "synthetic"
    for recording in read_all(source):
        lead = dict(zip(LEADS, recording.signal.astype(float), strict=True))
        assert recording.signal.shape == (12, 10 * fs) and recording.signal.flags.c_contiguous
        assert np.abs(recording.signal.astype(int)).max() < 12_000
        for residual in (
            lead["I"] + lead["III"] - lead["II"],
            lead["aVR"] + lead["aVL"] + lead["aVF"],
            lead["aVR"] + (lead["I"] + lead["II"]) / 2,
            lead["aVF"] - (lead["II"] + lead["III"]) / 2,
        ):
            assert np.abs(residual).max() <= 1.5


def test_same_ecg_and_same_words_at_any_rate() -> None:
    block = draw_block(3, 0, "core")
    rows = slice(0, 48)
    coarse = render(block.hearts, block.beats, rows, 100, None).astype(int)
    fine = render(block.hearts, block.beats, rows, 500, None).astype(int)
    assert np.abs(fine[:, :, ::5] - coarse).max() <= 3
    at_100, at_500 = read_all(open_source(48, seed=3, fs=100)), read_all(open_source(48, seed=3, fs=500))
    assert [(r.report, r.codes) for r in at_100] == [(r.report, r.codes) for r in at_500]
    noise = np.stack([r.signal for r in at_100]).astype(int) - coarse
    assert 4 < np.abs(noise).mean() < 150


@pytest.mark.parametrize(("fs", "audible"), [(500, True), (150, True), (120, False)])
def test_mains_only_where_an_acquisition_filter_lets_it_through(fs: int, audible: bool) -> None:
    power = 0.0
    for recording in read_all(open_source(32, fs=fs)):
        spectrum = np.abs(np.fft.rfft(recording.signal[8].astype(float)))
        power += spectrum[500] / np.median(spectrum[[490, 494, 506, 510]])
    assert (power / 32 > 5) == audible


# ---- who has what


def test_prevalences() -> None:
    has = {code: np.mean([code in r.codes for r in cohort()]) for code in CODES}
    core = set(SETS["core"])
    assert {code for code, share in has.items() if share} == core and len(core) == 17
    for code in core - set(RHYTHMS):
        assert 0.04 < has[code] < 0.14, (code, has[code])
    for code, low, high in (("sr", 0.60, 0.74), ("sbrad", 0.06, 0.13), ("stach", 0.07, 0.14), ("afib", 0.09, 0.17)):
        assert low < has[code] < high
    assert 0.34 < np.mean([r.codes == ["sr"] for r in cohort()]) < 0.44


def test_the_full_set_has_all_findings() -> None:
    codes = [r.codes for r in read_all(open_source(2000, seed=1, fs=50, findings="full"))]
    assert len(CODES) == len(FINDINGS) == 22
    for code in CODES:
        assert np.mean([code in has for has in codes]) > 0.015, code


def test_exclusions_and_one_patient_one_set() -> None:
    of_patient: dict[str, list[str]] = {}
    st = {code for code in CODES if code.startswith(("ste", "std"))}
    for findings in ("core", "full"):
        of_patient.clear()
        for recording in read_all(open_source(1500, seed=6, fs=50, findings=findings)):
            codes = set(recording.codes)
            assert recording.codes == [code for code in CODES if code in codes]
            assert len(codes & set(RHYTHMS)) == 1 and len(codes & st) <= 1
            assert not codes >= {"lvh", "lowv"} and not codes >= {"lad", "rad"} and not codes >= {"lbbb", "rbbb"}
            assert not ("lbbb" in codes and codes & (st | {"rad", "lvh", "twi_lat", "twi_inf", "twi_ant"}))
            assert not (codes & {"afib", "stach"} and codes & {"avb1", "lqt"})
            assert of_patient.setdefault(recording.ref.subject_id, recording.codes) == recording.codes


def test_beats_cover_the_record() -> None:
    for number in range(8):
        beats = draw_block(1, number, "full").beats
        assert (np.diff(beats.times, axis=1) > 0.15).all()
        assert (beats.times[:, 2] <= 0).all() and (beats.times[:, 3] > 0).all() and (beats.times[:, -1] > 10.5).all()


def test_records_of_a_patient_look_alike() -> None:
    block = draw_block(0, 0, "core")
    axis = np.arctan2(block.hearts.amplitude[:, 2, 1], block.hearts.amplitude[:, 2, 0])
    twin = np.flatnonzero(np.diff(block.patient) == 0)
    of_patient = np.abs(axis[twin] - axis[twin + 1]).mean()
    assert of_patient < 0.6 * np.abs(axis[twin] - axis[np.roll(twin, 1)]).mean()
    assert of_patient > 0.01


# ---- what is refused


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"records": 1}, "1 records"),
        ({"records": -5}, "-5 records"),
        ({"seed": -1}, "seed -1"),
        ({"seed": 2**32}, "seed 4294967296"),
        ({"fs": 49}, "49 Hz"),
        ({"fs": 1001}, "1001 Hz"),
        ({"findings": "cores"}, "did you mean 'core'"),
        ({"root": "x"}, "takes no --root"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], says: str) -> None:
    with pytest.raises(MedReportError, match=says) as caught:
        open_dataset("synthetic", **{"seed": 0} | options)
    assert caught.value.hint


@pytest.mark.parametrize("record_id", ["syn-000010", "00001", "syn-1", "../x"])
def test_records_of_other_cohorts_are_refused(record_id: str) -> None:
    source = open_source(10)
    with pytest.raises(MedReportError, match="no record"):
        list(source.read([RecordRef(record_id, "p-00000", "")]))
