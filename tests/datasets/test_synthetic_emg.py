"""The simulated cohort: drawn from seed and number alone, true to published ranges, and its reports to its tables."""

from __future__ import annotations

import functools
import itertools
import pickle
from collections import Counter

import numpy as np
import pytest

from emgecg_cli.core.datasets import RecordRef
from emgecg_cli.core.datasets.emg_tables.cases import RawExamination
from emgecg_cli.core.datasets.synthetic_emg import SimulatedCase, draw_case, healthy, listing, read, reports
from emgecg_cli.core.datasets.synthetic_emg.diseases import DIAGNOSES, LEGS, ROOTS
from emgecg_cli.core.emg import terms
from emgecg_cli.core.emg.case import Item, values
from emgecg_cli.core.emg.cells import read_cell, why_implausible
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.reports.emg.healthy import why_not_healthy
from emgecg_cli.core.reports.emg.statements import NeedleFinding, contradictions, judged
from emgecg_cli.core.reports.emg.statements_read import read_statements

RECORDS = 1200


@pytest.fixture(scope="module")
def cohort() -> list[SimulatedCase]:
    return [draw_case(7, number) for number in range(RECORDS)]


def having(cohort: list[SimulatedCase], *diagnoses: str) -> list[SimulatedCase]:
    return [each for each in cohort if each.diagnosis in diagnoses]


def deviations(case: SimulatedCase) -> dict[tuple[str, str, str, str, str], float]:
    """How far each judged value lies on the abnormal side, by nerve, side, type, stimulation site and measure."""
    found = {}
    for item, side, cell in values(case.case):
        if cell.value is not None and judged(item):
            deviation = healthy.abnormal_deviation(item, cell.value)
            assert deviation is not None
            found[item.nerve, side, item.type, item.stim, item.measure] = deviation
    return found


def test_a_case_depends_on_seed_and_number_alone(cohort):
    assert draw_case(7, 41) == cohort[41] and draw_case(8, 41) != cohort[41]
    assert len({each.case for each in cohort[:100]}) == 100
    for number in range(20):
        zh, en = draw_case(7, number, "zh"), draw_case(7, number, "en")
        assert (zh.language, en.language) == ("zh", "en")
        assert (zh.statements, zh.needle, zh.conclusions, zh.diagnosis) == (
            en.statements, en.needle, en.conclusions, en.diagnosis)
        assert [cell.value for *_, cell in values(zh.case)] == [cell.value for *_, cell in values(en.case)]
        assert cohort[number] == (en if number % 2 else zh)


def test_prevalences_and_size(cohort):
    count = Counter(each.diagnosis for each in cohort)
    assert set(count) == set(DIAGNOSES)
    assert 0.35 <= count["healthy"] / RECORDS <= 0.45
    assert all(count[name] >= 0.03 * RECORDS for name in DIAGNOSES)
    numbers = [sum(cell.state == "value" for *_, cell in values(each.case)) for each in cohort]
    assert 30 <= np.mean(numbers) <= 36 and np.min(numbers) >= 3
    ages = [each.case.age for each in cohort]
    assert 44 <= np.mean(ages) <= 50 and min(ages) >= 18 and max(ages) <= 78
    assert 0.46 <= np.mean([each.case.sex == "M" for each in cohort]) <= 0.58


def test_what_was_asked_does_not_tell_the_diagnosis(cohort):
    for question in {each.question for each in cohort}:
        own = [each for each in cohort if each.question == question]
        assert 0.3 <= np.mean([each.diagnosis == "healthy" for each in own]) <= 0.5


def test_names_are_canonical_and_values_possible(cohort):
    for each in cohort[:300]:
        for row in each.case.emg:
            assert terms.canonical("muscle", row.muscle) == row.muscle and row.side in terms.SIDES
        for row in each.case.ncv:
            assert terms.canonical("nerve", row.nerve) == row.nerve and row.type in terms.TYPES
            assert terms.canonical("site", row.stim) == row.stim and terms.canonical("place", row.rec) == row.rec
        for item, _, cell in values(each.case):
            assert cell.state in ("value", "missing", "absent")
            assert cell == read_cell(cell.text, item.measure, item.type)
            assert not (cell.value is not None and why_implausible(cell.value, item.measure, item.type))


def test_cells_that_a_study_does_not_have_are_missing(cohort):
    for item, _, cell in itertools.chain.from_iterable(values(each.case) for each in cohort[:300]):
        distal = item.type == "motor" and item.stim in ("wrist", "ankle")
        if item.measure == "cv" and (item.type == "f_wave" or distal):
            assert cell.state == "missing"
        if item.type == "f_wave" and item.measure != "lat":
            assert cell.state == "missing"
    sides = Counter(len({side for item, side, cell in values(each.case)
                         if item.nerve == "median" and cell.state == "value"}) for each in cohort)
    assert sides[1] > 50 and sides[2] > 50


def test_healthy_values_lie_beyond_their_line_one_time_in_fifty():
    """Drawn for themselves, without an examination around them; each nerve and quantity, and all together."""
    rng = np.random.default_rng(3)
    people = [(person, healthy.draw_deviations(person, rng)) for person in
              (healthy.draw_person(rng) for _ in range(1500))]
    for name in ("lat", "amp", "f", "s_amp", "s_cv", "cv:elbow"):
        drawn = np.array([[found["median", side, name] for side in terms.SIDES] for _, found in people])
        assert abs(drawn.mean()) < 0.07 and abs(drawn.std() - 1) < 0.06
        assert 0.011 < np.mean(drawn > 2.0537) < 0.032
        assert 0.4 < np.corrcoef(drawn.T)[0, 1] < 0.75, "both sides of a person are alike, and not the same"
    heights = [person.height for person, _ in people]
    assert np.corrcoef(heights, [found["tibial", "left", "f"] for _, found in people])[0, 1] > 0.35
    ages = [person.age for person, _ in people]
    assert np.corrcoef(ages, [found["sural", "left", "s_amp"] for _, found in people])[0, 1] < -0.2


def test_healthy_cases_have_two_percent_of_values_beyond_the_line(cohort):
    beyond = np.array([deviation > reports.LINE for each in having(cohort, "healthy")
                       for deviation in deviations(each).values()])
    assert len(beyond) > 8000 and 0.014 < beyond.mean() < 0.026
    upper = [deviation < -reports.LINE for each in having(cohort, "healthy") for deviation in deviations(each).values()]
    assert 0.012 < np.mean(upper) < 0.028, "the other tail is as thin"


@pytest.mark.parametrize(("key", "value", "expected"), [
    ("median|motor|wrist|apb|lat", 3.4 + 2 * 0.37, 2.0), ("ulnar|motor|below_elbow|adm|cv", 59.8 - 7.98, 1.0),
    ("tibial|f_wave|ankle|ah|lat", 48.4 - 4.4, -1.0), ("sural|sensory|calf|lateral_malleolus|cv", 51.5, 0.0),
    ("median|sensory|digit_3|wrist|lat", 140 / 54.6, 0.0)])
def test_the_distance_from_the_mean(key, value, expected):
    assert healthy.abnormal_deviation(Item(*key.split("|")), value) == pytest.approx(expected, abs=1e-9)


def test_the_line_of_a_sensory_latency_is_that_of_a_large_sample():
    rng = np.random.default_rng(0)
    study = healthy.SENSORY["median"]
    latency = study.distance * rng.normal(1, healthy.DISTANCE_SD, 200_000) / rng.normal(*study.cv, 200_000)
    item = Item("median", "sensory", "digit_3", "wrist", "lat")
    assert healthy.abnormal_deviation(item, float(np.quantile(latency, 0.98))) == pytest.approx(2.0537, abs=0.03)
    ratio = rng.normal(healthy.PROXIMAL[0], healthy.PROXIMAL[1], 200_000)
    mean, sd = healthy.log_normal(*healthy.MOTOR["median"].amp)
    amplitude = np.exp(rng.normal(mean, sd, 200_000) + ratio)
    item = Item("median", "motor", "elbow", "apb", "amp")
    assert healthy.abnormal_deviation(item, float(np.quantile(amplitude, 0.02))) == pytest.approx(2.0537, abs=0.03)
    assert np.exp(mean + sd**2 / 2) == pytest.approx(10.6)


def test_the_proximal_latency_fits_distance_and_velocity(cohort):
    """Elbow minus wrist latency times velocity is the length of a forearm."""
    for each in cohort[:400]:
        rows = {row.stim: row.cells for row in each.case.ncv if (row.nerve, row.type) == ("median", "motor")}
        for side in terms.SIDES if len(rows) == 2 else ():
            wrist, elbow, cv = (rows["wrist"]["lat", side].value, rows["elbow"]["lat", side].value,
                                rows["elbow"]["cv", side].value)
            if wrist and elbow and cv:
                assert 165 < (elbow - wrist) * cv < 275


def test_each_disease_is_where_it_belongs(cohort):
    tunnel = [deviations(each) for each in having(cohort, "carpal_tunnel")]
    assert np.mean([max((v for k, v in each.items() if k[0] == "median"), default=0) > reports.LINE
                    for each in tunnel]) > 0.9
    assert np.mean([v > reports.LINE for each in tunnel for k, v in each.items() if k[0] != "median"]) < 0.04
    elbow = [deviations(each) for each in having(cohort, "ulnar_elbow")]
    across = [max((v for k, v in each.items() if k[0] == "ulnar" and k[3:] == ("above_elbow", "cv")), default=None)
              for each in elbow]
    assert np.mean([v > reports.LINE for v in across if v is not None]) > 0.85
    assert np.mean([v > reports.LINE for each in elbow for k, v in each.items()
                    if k[0] == "ulnar" and k[3:] == ("below_elbow", "cv")]) < 0.06
    slow = [deviations(each) for each in having(cohort, "demyelinating_polyneuropathy")]
    assert np.mean([v > reports.LINE for each in slow for k, v in each.items() if k[4] != "amp"]) > 0.85
    axonal = [deviations(each) for each in having(cohort, "axonal_polyneuropathy")]
    small = {leg: np.mean([v for each in axonal for k, v in each.items() if k[4] == "amp" and (k[0] in LEGS) == leg])
             for leg in (True, False)}
    assert small[True] > small[False] + 0.8 > 0.8
    for name in ("radiculopathy", "motor_neuron_disease", "myopathy"):
        sensory = [v for each in having(cohort, name) for k, v in deviations(each).items() if k[2] == "sensory"]
        assert np.mean(np.array(sensory) > reports.LINE) < 0.05
    motor = [v for each in having(cohort, "motor_neuron_disease") for k, v in deviations(each).items()
             if k[2] == "motor" and k[4] == "amp"]
    assert np.mean(motor) > 1.5


def test_the_needle_sees_each_disease_where_it_is(cohort):
    for each in having(cohort, "radiculopathy"):
        muscles = {found.muscle for found in each.needle}
        assert {name for name in muscles if not name.startswith("paraspinal")} <= set(ROOTS[each.root][0])
        assert len({found.side for found in each.needle}) <= 1
    for each in having(cohort, "myopathy"):
        assert any(found.finding == "small" for found in each.needle)
        assert not any(found.finding in ("large", "fascics") for found in each.needle)
    several = [len({(found.muscle, found.side) for found in each.needle}) >= 3
               for each in having(cohort, "motor_neuron_disease")]
    assert np.mean(several) > 0.95
    assert not any(each.needle for each in having(cohort, "healthy"))


def test_the_report_follows_from_the_table_and_is_read_back(cohort):
    for each in cohort:
        assert reports.find_truth(each.case) == each.truth and reports.conclude(each.truth) == each.conclusions
        found = read_statements(each.findings, each.language)
        assert (found.abnormal, found.needle, found.n_unknown, found.unresolved) == (
            each.statements, each.needle, 0, ())
        assert found.others_normal and found.needle_others_normal == bool(each.case.emg)


def test_every_value_beyond_the_line_is_called_unless_it_stands_alone(cohort):
    silent = 0
    for each in cohort:
        beyond = {(nerve, side, type, measure) for (nerve, side, type, _, measure), sd in deviations(each).items()
                  if sd > reports.LINE}
        called = {statement.key for statement in each.truth.called if statement.direction != "absent"}
        blocked = {key for key in called if key[2:] == ("motor", "amp")}
        if each.conclusions[0].diagnosis == "normal":
            assert not each.statements and len({key[:3] for key in beyond}) <= reports.ISOLATED
            silent += bool(beyond)
            assert contradictions(read_statements(each.findings), beyond) == beyond
        else:
            assert beyond <= called and called - beyond <= blocked
    assert silent > 0


def test_severity_and_borderline_follow_the_deviation():
    item = Item("median", "motor", "wrist", "apb", "lat")
    at = {z: reports.judge(item, 3.4 + 0.37 * z) for z in (-5, 1.6, 1.7, 2.1, 3.1, 4.6)}
    assert at == {-5: None, 1.6: None, 1.7: ("high", "borderline"), 2.1: ("high", "mild"), 3.1: ("high", "moderate"),
                  4.6: ("high", "severe")}
    assert reports.judge(Item("median", "motor", "elbow", "apb", "lat"), 30.0) is None


def test_the_impression_names_the_disease_where_the_table_shows_it(cohort):
    ill = [each for each in cohort if each.diagnosis != "healthy" and each.conclusions[0].diagnosis != "normal"]
    right = [any(line.diagnosis == each.diagnosis for line in each.conclusions) for each in ill]
    assert len(ill) > 600 and np.mean(right) > 0.9
    assert np.mean([each.conclusions[0].diagnosis == "normal" for each in having(cohort, "healthy")]) > 0.85
    side = [line.side in ("both", each.conclusions[0].side) and each.root == line.root
            for each in having(cohort, "radiculopathy") for line in each.conclusions if line.root]
    assert np.mean(side) > 0.95
    assert all(each.impression and "{" not in each.impression and "  " not in each.impression for each in cohort)


def test_a_normal_report_is_normal_to_the_rule_of_the_healthy_pool(cohort):
    for each in cohort:
        why = why_not_healthy(each.findings, each.impression, each.case.emg)
        assert (why is None) == (each.conclusions[0].diagnosis == "normal"), (each.findings, each.impression, why)


def test_the_source_lists_and_reads():
    refs = [*listing(6, 3, "both")]
    assert [ref.record_id for ref in refs] == [f"emg-{i:06d}" for i in range(6)]
    assert len({ref.subject_id for ref in refs}) == 6 and refs == [*listing(9, 3)][:6]
    reader = pickle.loads(pickle.dumps(functools.partial(read, 6, 3, "both")))
    cases = [*reader(refs[::-1])]
    assert all(isinstance(case, RawExamination) for case in cases)
    assert [case.language for case in cases] == ["en", "zh"] * 3
    assert cases[0].case == draw_case(3, 5).case and cases[0].findings == draw_case(3, 5).findings


@pytest.mark.parametrize(("records", "seed", "language"), [(1, 0, "zh"), (10**9, 0, "zh"), (5, -1, "zh"), (5, 0, "de")])
def test_values_out_of_range_are_refused(records, seed, language):
    with pytest.raises(MedReportError):
        next(listing(records, seed, language))


@pytest.mark.parametrize("record_id", ["emg-000006", "emg-1", "syn-000001", "emg-٠٠٠٠٠١"])
def test_a_record_of_another_cohort_is_refused(record_id):
    with pytest.raises(MedReportError, match="no record"):
        next(read(6, 0, "zh", [RecordRef(record_id, "s", "x")]))


def test_needle_findings_need_a_row(cohort):
    for each in cohort[:300]:
        rows = {(row.muscle, row.side) for row in each.case.emg}
        assert {(found.muscle, found.side) for found in each.needle} <= rows
    assert NeedleFinding("apb", "left", "fibs") != NeedleFinding("apb", "right", "fibs")
