"""References: quantiles against oracles, small samples, covariates, classes, who is healthy, and the file."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import linprog

from emgecg_cli.core.emg.case import Item
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.references import (
    Reference,
    References,
    abnormality,
    fit,
    matrix,
    read_references,
    serialise,
    write_references,
)
from emgecg_cli.core.references.covariates import median_regression
from emgecg_cli.core.references.files import hash_of

LAT, AMP, CV = (f"median|motor|wrist|apb|{measure}" for measure in ("lat", "amp", "cv"))
GRID = np.array([2, 5, 8, 11, 14, 17, 20, 50, 80, 83, 86, 89, 92, 95, 98]) / 100


@dataclass(frozen=True)
class Who:
    age: float | None = None
    height: float | None = None
    sex: str | None = None


def triples(key, values, people=None):
    return [(key, float(v), people[i] if people else None) for i, v in enumerate(values)]


def line_of(reference: Reference) -> np.ndarray:
    return np.array([*reference.lower, reference.median, *reversed(reference.upper)])


def type_8(values: np.ndarray, chances: np.ndarray) -> list[float]:
    """Hyndman & Fan's definition 8, from its formula."""
    x, out = np.sort(values), []
    for p in chances:
        m = (p + 1) / 3
        j = math.floor(len(x) * p + m)
        g = len(x) * p + m - j
        low, high = x[min(max(j, 1), len(x)) - 1], x[min(max(j + 1, 1), len(x)) - 1]
        out.append((1 - g) * low + g * high)
    return out


@pytest.fixture(scope="module")
def rng():
    return np.random.default_rng(5)


# Quantiles

@pytest.mark.parametrize("n", [190, 191, 400, 1003])
def test_enough_values_give_type_8_quantiles_of_the_item(rng, n):
    values = rng.normal(3.4, 0.37, n)
    found = fit(triples(LAT, values)).of(Item("median", "motor", "wrist", "apb", "lat"))
    assert (found.n, found.level, found.unit) == (n, "item", "ms")
    np.testing.assert_allclose(line_of(found), type_8(values, GRID), rtol=1e-12)
    np.testing.assert_allclose(line_of(found), stats.mstats.mquantiles(values, GRID, 1 / 3, 1 / 3), rtol=1e-12)
    assert found.mad == pytest.approx(stats.median_abs_deviation(values))


def test_amplitudes_are_taken_by_their_logarithm(rng):
    values = np.exp(rng.normal(2.3, 0.4, 301))
    found = fit(triples(AMP, values)).of(AMP)
    np.testing.assert_allclose(line_of(found), np.exp(type_8(np.log(values), GRID)), rtol=1e-12)
    assert found.mad == pytest.approx(stats.median_abs_deviation(np.log(values)))
    assert found.unit == "mV" and fit(triples("sural|sensory|calf|ankle|amp", values)).of(
        "sural|sensory|calf|ankle|amp").unit == "uV"


def test_units_scale_and_order_does_not_matter(rng):
    values = np.exp(rng.normal(2.3, 0.4, 120))
    one, thousand = (fit(triples(AMP, factor * values)).of(AMP) for factor in (1, 1000))
    np.testing.assert_allclose(line_of(thousand), 1000 * line_of(one), rtol=1e-12)
    assert fit(triples(AMP, values[::-1])) == fit(triples(AMP, values))


@pytest.mark.parametrize("percentiles", [(1, 2.5, 5), (10,), (2, 5, 8, 11, 14, 17, 20)])
def test_percentiles_are_free(rng, percentiles):
    values = rng.normal(50, 5, 300)
    found = fit(triples(CV, values), percentiles)
    assert found.percentiles == percentiles and len(found.of(CV).lower) == len(percentiles)
    np.testing.assert_allclose(found.of(CV).lower, type_8(values, np.array(percentiles) / 100))
    assert matrix(found.of(CV), 1.0).shape == (3, len(percentiles))


@pytest.mark.parametrize("percentiles", [(), (5, 2), (2, 2), (0, 5), (20, 50), (2, math.nan), (-1,)])
def test_percentiles_that_make_no_sense_are_refused(percentiles):
    with pytest.raises(MedReportError, match="percentiles"):
        fit([], percentiles)


@pytest.mark.parametrize("n", [7, 49, 50, 60, 189, 190, 500])
@pytest.mark.parametrize("kind", ["normal", "few distinct", "constant", "wild"])
def test_limits_are_always_in_order(rng, n, kind):
    draw = {"normal": lambda: rng.normal(4, 0.5, n), "few distinct": lambda: rng.integers(3, 6, n),
            "constant": lambda: np.full(n, 4.1), "wild": lambda: np.exp(rng.normal(0, 2, n))}[kind]
    keys = (LAT, AMP, "median|motor|elbow|apb|amp", "median|motor|wrist|opponens_pollicis|lat")
    found = fit([t for key in keys for t in triples(key, draw())])
    for entry in found.entries.values():
        line = line_of(entry)
        assert (np.diff(line) >= 0).all() and np.isfinite(line).all()
        assert abnormality(entry, entry.median) == "normal"


def test_the_matrix_is_the_encoders():
    reference = Reference(LAT, "ms", 200, "item", (2.9, 3.1), (6.5, 6.2), 4.0, 0.3)
    found = matrix(reference, 4.2)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.array([[6.5, 6.2], [4.2, 4.2], [2.9, 3.1]], np.float32))


# Few values

def test_few_values_of_one_item_alone_are_taken_as_normal_or_not_at_all(rng):
    z = stats.norm.ppf(GRID)
    for key, scale in ((LAT, lambda v: v), (AMP, np.log)):
        values = np.exp(rng.normal(1.2, 0.2, 120))
        found = fit(triples(key, values)).of(key)
        assert (found.n, found.level) == (120, "parametric")
        expected = scale(values).mean() + z * scale(values).std(ddof=1)
        np.testing.assert_allclose(scale(line_of(found)), expected, rtol=1e-10)
        assert fit(triples(key, values[:50])).of(key).level == "parametric"
        assert fit(triples(key, values[:49])).of(key) is None


def test_few_values_borrow_the_shape_of_a_pool_and_keep_their_place(rng):
    elbow, wrist = "median|motor|elbow|apb|lat", LAT
    small, large = rng.normal(7.0, 0.5, 100), 3.0 + rng.gamma(4, 0.2, 600)
    found = fit([*triples(elbow, small), *triples(wrist, large)])
    assert (found.of(elbow).level, found.of(wrist).level) == ("nerve", "item")

    def standard(values):
        return (values - np.median(values)) / (1.4826 * stats.median_abs_deviation(values))

    pooled = np.array(type_8(np.concatenate([standard(small), standard(large)]), GRID))
    mixed = 100 / 150 * np.array(type_8(standard(small), GRID)) + 50 / 150 * pooled
    expected = np.median(small) + 1.4826 * stats.median_abs_deviation(small) * mixed
    np.testing.assert_allclose(line_of(found.of(elbow)), expected, rtol=1e-9)
    assert found.of(elbow).lower[0] > 5.5  # no limit of the wrist's has come in
    assert found.of(elbow).n == 100


def test_the_way_back_goes_by_stimulation_then_nerve_then_limb(rng):
    key = LAT
    own = triples(key, rng.normal(3.4, 0.4, 60))
    for other, level in (("median|motor|wrist|lumbrical_2|lat", "stimulation"), ("median|motor|elbow|apb|lat", "nerve"),
                         ("ulnar|motor|wrist|adm|lat", "limb"), ("tibial|motor|ankle|ah|lat", "parametric"),
                         ("median|sensory|digit_2|wrist|lat", "parametric")):
        found = fit([*own, *triples(other, rng.normal(3.0, 0.4, 300))])
        assert found.of(key).level == level, other
    everything = fit([*own, *triples("median|motor|wrist|lumbrical_2|lat", rng.normal(3.0, 0.4, 300)),
                      *triples("ulnar|motor|wrist|adm|lat", rng.normal(3.0, 0.4, 300))])
    assert everything.of(key).level == "stimulation"
    assert fit([*own, *triples("ulnar|motor|wrist|adm|lat", rng.normal(3.0, 0.4, 300))],
               small="parametric").of(key).level == "parametric"


def test_below_fifty_the_same_stimulation_recorded_elsewhere_stands_in(rng):
    other, few = rng.normal(3.4, 0.4, 400), rng.normal(3.6, 0.4, 12)
    elsewhere = "median|motor|wrist|lumbrical_2|lat"
    found = fit([*triples(LAT, few), *triples(elsewhere, other)])
    entry, together = found.of(LAT), np.concatenate([few, other])
    assert (entry.n, entry.level) == (12, "stimulation")
    expected = 12 / 62 * np.array(type_8(few, GRID)) + 50 / 62 * np.array(type_8(together, GRID))
    np.testing.assert_allclose(line_of(entry), expected, rtol=1e-9)
    unseen = found.of("median|motor|wrist|opponens_pollicis|lat")
    assert unseen.item_key == "median|motor|wrist|*|lat" and unseen.n == 412
    np.testing.assert_allclose(line_of(unseen), type_8(together, GRID), rtol=1e-12)
    # Other places are no help to one that has too few: their latencies are not its own.
    elbow = "median|motor|elbow|apb|lat"
    assert fit([*triples(elbow, few), *triples(LAT, other)]).of(elbow) is None
    assert found.of("ulnar|motor|wrist|adm|lat") is None


def test_what_cannot_be_used_is_counted_or_refused():
    found = fit(triples(AMP, [0.0, 0.0, *([5.0] * 60)]))
    assert found.left_out == 2 and found.of(AMP).n == 60
    for value in (math.nan, math.inf, -1.0):
        with pytest.raises(MedReportError, match=re.escape(LAT)):
            fit(triples(LAT, [value]))
    for key in ("median|motor|wrist", "median|f_wave|wrist|apb|amp", "median|motor|wrist|*|lat"):
        with pytest.raises(MedReportError):
            fit(triples(key, [3.0]))
    with pytest.raises(MedReportError, match="--covariates is 'weight'"):
        fit([], covariates="weight")


# Covariates

def least_absolute(x, y):
    """The same regression as a linear programme in its primal form."""
    design = np.column_stack([np.ones(len(y)), x])
    n, k = design.shape
    cost = np.concatenate([np.zeros(k), np.ones(2 * n)])
    found = linprog(cost, A_eq=np.hstack([design, np.eye(n), -np.eye(n)]), b_eq=y,
                    bounds=[(None, None)] * k + [(0, None)] * (2 * n), method="highs")
    return found.x[:k]


def test_median_regression_is_the_least_sum_of_absolute_residuals(rng):
    x = np.column_stack([rng.uniform(-20, 40, 80), rng.normal(0, 10, 80), rng.integers(0, 2, 80)])
    y = 4 + x @ [0.01, 0.02, -0.3] + rng.standard_t(2, 80)
    np.testing.assert_allclose(median_regression(x, y), least_absolute(x, y), atol=1e-7)


def people(rng, n):
    return [Who(float(rng.uniform(18, 85)), float(rng.normal(168, 9)), "MF"[int(rng.integers(2))]) for _ in range(n)]


def test_covariates_are_taken_out_of_references_and_of_values(rng):
    who, key = people(rng, 600), "tibial|f_wave|ankle|ah|lat"
    expected = np.array([48 + 0.05 * (p.age - 40) + 0.25 * (p.height - 165) - 0.5 * (p.sex == "F") for p in who])
    values = expected + rng.normal(0, 1.0, 600)
    plain, taken = (fit(triples(key, values, who), covariates=c) for c in ("none", "age+height+sex"))
    entry = taken.of(key)
    np.testing.assert_allclose(entry.slopes, (0.05, 0.25, -0.5), atol=0.2)
    assert entry.upper[0] - entry.lower[0] < 0.8 * (plain.of(key).upper[0] - plain.of(key).lower[0])
    assert entry.median == pytest.approx(48, abs=0.3)
    tall = Who(70.0, 190.0, "M")
    slopes = entry.slopes
    assert taken.adjusted(entry, 55.0, tall) == pytest.approx(55 - 30 * slopes[0] - 25 * slopes[1])
    assert taken.adjusted(entry, 55.0, Who(40.0, 165.0, "M")) == 55.0
    assert taken.adjusted(entry, 55.0, Who()) == 55.0 == taken.adjusted(entry, 55.0, None)
    assert plain.adjusted(plain.of(key), 55.0, tall) == 55.0
    assert abnormality(entry, taken.adjusted(entry, 56.0, tall)) == "normal"
    assert abnormality(entry, 56.0) == "markedly high"


def test_amplitudes_lose_a_share_with_age(rng):
    who = people(rng, 500)
    values = [30 * math.exp(-0.01 * (p.age - 40) + rng.normal(0, 0.2)) for p in who]
    found = fit(triples("sural|sensory|calf|ankle|amp", values, who), covariates="age")
    entry = found.of("sural|sensory|calf|ankle|amp")
    assert entry.slopes[0] == pytest.approx(-0.01, abs=0.003) and entry.slopes[1:] == (0.0, 0.0)
    assert found.adjusted(entry, 15.0, Who(80.0)) == pytest.approx(15 * math.exp(-40 * entry.slopes[0]))


def test_persons_who_are_not_known_keep_their_value(rng):
    who = [*people(rng, 200), *([Who()] * 100), None]
    values = rng.normal(50, 3, 301)
    assert fit(triples(CV, values, who), covariates="age").of(CV).n == 301
    same_age = [Who(40.0)] * 301
    assert fit(triples(CV, values, same_age), covariates="age").of(CV).slopes == (0.0, 0.0, 0.0)


def test_references_of_the_published_cohort(rng):
    """Median motor values with the published mean and SD: the limits come out where a normal distribution has them."""
    found = fit([*triples(LAT, rng.normal(3.4, 0.37, 493)), *triples("median|motor|elbow|apb|cv",
                                                                     rng.normal(54.4, 5.7, 493))])
    assert found.of(LAT).upper[0] == pytest.approx(3.4 + 2.054 * 0.37, abs=0.12)
    assert found.of("median|motor|elbow|apb|cv").lower[0] == pytest.approx(54.4 - 2.054 * 5.7, abs=1.8)


# The file

@pytest.fixture(scope="module")
def references():
    rng = np.random.default_rng(0)
    who = people(rng, 300)
    return fit([*triples(LAT, rng.normal(3.4, 0.37, 300), who), *triples(AMP, np.exp(rng.normal(2.3, 0.3, 250))),
                *triples("ulnar|sensory|digit_5|wrist|cv", rng.normal(54, 6, 80))], covariates="age")


def test_written_read_and_written_again(references, tmp_path):
    path = tmp_path / "references.json"
    digest = write_references(path, references)
    again = read_references(path)
    assert again == references and serialise(again) == path.read_bytes()
    assert digest == hash_of(references) == hash_of(again)
    values = json.loads(path.read_bytes())
    assert values["version"] == 1 and values["percentiles"] == [2, 5, 8, 11, 14, 17, 20]
    assert {"nerve", "type", "stim", "rec", "measure", "unit", "n", "level", "lower", "upper",
            "median"} <= set(values["entries"][0])
    other = replace(references, entries={**references.entries, LAT: replace(references.entries[LAT], n=1)})
    assert hash_of(other) != digest
    write_references(path, References((2.0,), "none of them"))
    assert read_references(path).entries == {}


def small_file(**changes):
    entry = {"nerve": "median", "type": "motor", "stim": "wrist", "rec": "apb", "measure": "lat", "unit": "ms", "n": 5,
             "level": "item", "lower": [2.5, 2.6], "upper": [4.4, 4.2], "median": 3.4, "mad": 0.25}
    top = {key: changes.pop(key) for key in ("version", "percentiles", "entries", "covariates", "rule",
                                             "reference_person") if key in changes}
    return {"version": 1, "percentiles": [2, 20], "rule": "theirs",
            "entries": [{key: value for key, value in (entry | changes).items() if value is not ...}]} | top


def test_another_hospitals_file_with_its_own_spellings(tmp_path):
    path = tmp_path / "theirs.json"
    path.write_text(json.dumps(small_file(nerve="正中神经", type="运动", stim="腕", rec="APE", mad=..., comment="x")),
                    encoding="utf-8-sig")
    found = read_references(path).of(LAT)
    assert found.median == 3.4 and 1.4826 * found.mad == pytest.approx(1.9 / 4.1)
    path.write_text(json.dumps(small_file(rec="*")))
    assert read_references(path).of(LAT).upper == (4.4, 4.2)


@pytest.mark.parametrize(("changes", "said"), [
    ({"version": 2}, "version 2"), ({"version": True}, "version"), ({"entries": {}}, "no list 'entries'"),
    ({"percentiles": [20, 2]}, "they must rise"), ({"percentiles": "2,5"}, "percentiles"),
    ({"percentiles": [2, "5"]}, "percentiles is '5'"), ({"entries": [3]}, "entry 1: 3"),
    ({"covariates": "weight"}, "covariates"), ({"covariates": "age"}, "lacks slopes"),
    ({"reference_person": {"age": 30}}, "reference_person"),
    ({"nerve": "median|x"}, "nerve is"), ({"nerve": 3}, "nerve is 3"), ({"nerve": ...}, "nerve is None"),
    ({"nerve": "no such nerve"}, "not known"), ({"type": "f_wave", "measure": "amp"}, "no unit"),
    ({"measure": "speed"}, "no unit"), ({"unit": "s"}, "'s', it must be in ms"), ({"stim": "a" * 500}, "stim is"),
    ({"rec": "a\nb"}, "rec is"), ({"lower": [2.5]}, "not a list of 2"), ({"lower": [2.6, 2.5]}, "lower must rise"),
    ({"upper": [4.2, 4.4]}, "upper fall"), ({"median": 5}, "to the median"), ({"median": None}, "median is None"),
    ({"median": True}, "median is True"), ({"median": "3"}, "median is '3'"), ({"lower": [[1], 2]}, "lower is"),
    ({"upper": [10**400, 4.0]}, "upper is"), ({"n": -1}, "n is -1"), ({"n": 2.5}, "n is 2.5"),
    ({"n": 10**30}, "n is"), ({"lower": [.0025, .0026], "median": .0034}, "median 0.0034 looks like s"),
    ({"mad": -1}, "mad -1"), ({"level": "guess"}, "level 'guess'"),
    ({"measure": "amp", "unit": "mV", "lower": [0, 1]}, "an amplitude of 0")])
def test_files_that_cannot_be_used_get_one_line(changes, said, tmp_path):
    path = tmp_path / "theirs.json"
    path.write_text(json.dumps(small_file(**changes)))
    with pytest.raises(MedReportError, match=re.escape(said)) as caught:
        read_references(path)
    message = caught.value.message
    assert str(path) in message and "\n" not in message and len(message) < 500 and caught.value.hint


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b"null", b"[" * 200_000, b'{"version": NaN}',
                                     b'{"version": 1, "percentiles": [Infinity], "entries": []}', b"1" * 5000,
                                     json.dumps(small_file()).encode().replace(b"3.4", b"1e999"),
                                     json.dumps(small_file()).encode().replace(b'"n": 5', b'"n": ' + b"9" * 5000)])
def test_hostile_bytes_get_one_line(content, tmp_path):
    path = tmp_path / "theirs.json"
    path.write_bytes(content)
    with pytest.raises(MedReportError) as caught:
        read_references(path)
    assert "\n" not in caught.value.message
    with pytest.raises(MedReportError):
        read_references(tmp_path / "none.json")
    with pytest.raises(MedReportError):
        read_references(tmp_path)


def test_an_item_twice_is_refused(tmp_path):
    values = small_file()
    values["entries"].append(values["entries"][0] | {"rec": "拇短展肌"})
    (tmp_path / "twice.json").write_text(json.dumps(values))
    with pytest.raises(MedReportError, match=r"entry 2: .* is there twice"):
        read_references(tmp_path / "twice.json")
