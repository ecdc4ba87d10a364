"""Claims held against measurements, and what is true of a record."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pipeline import make_store

from emgecg_cli.core.artifacts import Measurements
from emgecg_cli.core.evidence import Evidence
from emgecg_cli.core.evidence.claims import Verdict, abnormal_kinds, judge, mentions
from emgecg_cli.core.perturbations import perturb_store
from emgecg_cli.core.reports.ecg.criteria import Claim
from emgecg_cli.core.reports.ecg.facts import read_claims
from emgecg_cli.core.signals.delineation import measure
from emgecg_cli.core.store import open_store

FOUND = Measurements(
    n_beats=12, heart_rate_bpm=72.0, heart_rate_quality="good", regular=True, regular_quality="good", p_present=True,
    p_present_quality="good", pr_ms=212.0, pr_quality="good", qrs_ms=95.0, qrs_quality="fair", qt_ms=400.0,
    qt_quality="good", qtc_bazett_ms=458.0, qtc_fridericia_ms=430.0, qrs_axis_deg=-170.0, qrs_axis_quality="good",
    st_uv=[0, 120, 110, 0, 0, 115, 0, 0, 0, 0, None, -60], st_quality="good")
YES, NO, UNCLEAR = Verdict.SUPPORTED, Verdict.CONTRADICTED, Verdict.NOT_MEASURABLE


@pytest.mark.parametrize(("text", "sex", "verdict"), [
    ("heart rate 75", None, YES), ("heart rate 80", None, NO), ("rate 60-70", None, YES),
    ("sinus bradycardia", None, NO),
    ("first degree AV block", None, YES), ("PR 190 ms", None, NO), ("left bundle branch block", None, NO),
    ("narrow QRS", None, YES), ("right axis deviation", None, YES), ("axis 185", None, YES), ("axis 100", None, NO),
    ("prolonged QT interval", "M", YES), ("prolonged QT interval", "F", YES), ("normal QTc", None, YES),
    ("QTc 440 ms", None, YES), ("QTc 500 ms", None, NO), ("irregular rhythm", None, NO), ("no p waves", None, NO),
    ("inferior ST elevation", None, YES), ("anterior ST elevation", None, NO), ("ST depression", None, YES),
    ("ST depression in V5", None, UNCLEAR), ("ST elevation of 3 mm in III", None, NO)])
def test_verdicts(text: str, sex: str | None, verdict: Verdict) -> None:
    claims = [claim for claim in read_claims(text, "en") if claim != Claim("p", 1, 1)]
    assert [judge(claim, FOUND, sex) for claim in claims] == [verdict]


def test_poor_measurements_and_missing_ones_judge_nothing() -> None:
    poor = replace(FOUND, **{name: "poor" for name in vars(FOUND) if name.endswith("_quality")})
    for found in (poor, Measurements()):
        for text in ("rate 200", "PR 300 ms", "QRS 200 ms", "QT 700 ms", "QTc 700 ms", "axis 20", "irregular rhythm",
                     "no p waves", "ST elevation"):
            assert {judge(claim, found, None) for claim in read_claims(text, "en")} == {UNCLEAR}
        assert abnormal_kinds(found, None) == set()
    (claim,) = read_claims("PR 300 ms", "en")
    without = replace(FOUND, pr_ms=None, pr_quality=None, p_present=False)
    assert judge(claim, without, None) == NO  # there is no P wave that it could be measured from


def test_a_qtc_is_long_by_sex_and_by_both_formulas() -> None:
    claim = Claim("qtc", low=450, abnormal=True)
    edge = replace(FOUND, qtc_bazett_ms=440.0, qtc_fridericia_ms=436.0)
    assert (judge(claim, edge, "M"), judge(claim, edge, "F")) == (YES, NO)
    assert "qtc" not in abnormal_kinds(FOUND, "M")
    assert "qtc" in abnormal_kinds(replace(FOUND, qtc_bazett_ms=480.0, qtc_fridericia_ms=470.0), "M")
    assert "qtc" not in abnormal_kinds(replace(FOUND, qtc_bazett_ms=480.0, qtc_fridericia_ms=470.0), None)


def test_what_a_report_should_mention() -> None:
    assert abnormal_kinds(FOUND, None) == {"pr", "axis"}
    assert mentions(read_claims("PR 210 ms", "en"), "pr", FOUND, None)
    assert not mentions(read_claims("normal PR interval, PR 300 ms", "en"), "pr", FOUND, None)
    assert not mentions(read_claims("axis -60", "en"), "axis", FOUND, None)


def test_evidence_of_a_record_is_of_the_samples_that_are_shown(tmp_path: Path) -> None:
    path = make_store(tmp_path / "cohort", 12)
    store = open_store(path)
    record_id = store.column("record_id")[3]
    found = Evidence(store).of(record_id)
    assert found is not None and found.measured_now and found.perturbed == "" and found.case is None
    np.testing.assert_array_equal(found.signal, store.signal(3))
    assert found.measurements == measure(np.asarray(store.signal(3)), store.fs)
    assert found.row.codes == store.row(3).codes and Evidence(store).of("nobody") is None
    assert record_id in Evidence(store) and "nobody" not in Evidence(store)
    noisy = open_store(perturb_store(path, tmp_path / "noisy", kind="gaussian", levels={"snr_db": -10.0}).path)
    seen = Evidence(noisy).of(record_id)
    assert seen is not None and "gaussian" in seen.perturbed and seen.measurements != found.measurements
    np.testing.assert_array_equal(seen.signal, noisy.signal(3))
