"""Which nerves of a patient count as healthy: reports in Chinese and English, and a simulated cohort."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from store_helpers import hashes, prepare

from emgecg_cli.commands.app import run
from emgecg_cli.core.datasets import open_dataset
from emgecg_cli.core.datasets.synthetic_emg import draw_case
from emgecg_cli.core.datasets.synthetic_emg.healthy import abnormal_deviation
from emgecg_cli.core.datasets.synthetic_emg.reports import LINE
from emgecg_cli.core.emg.case import Case, EmgRow, Item, NcvRow
from emgecg_cli.core.emg.cells import Cell
from emgecg_cli.core.emg.examination import Examination
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.references import fit, read_references
from emgecg_cli.core.reports.emg.healthy import why_not_healthy
from emgecg_cli.core.reports.emg.nerves import SILENT, normal_nerves, normal_values
from emgecg_cli.core.reports.emg.nerves import UNREAD as UNREAD_FINDINGS
from emgecg_cli.core.reports.emg.places import NO_PLACE, UNREAD, places_of
from emgecg_cli.core.store import open_store
from emgecg_cli.core.store.payloads.healthy import RULES, fit_references

PERCENTILES = (2, 5, 8, 11, 14, 17, 20)
STUDIES = ("median motor", "median sensory", "median f_wave", "ulnar motor", "ulnar sensory", "peroneal motor")
ALL = {f"{side} {study}" for side in ("left", "right") for study in STUDIES}
LEFT = {study for study in ALL if study.startswith("left")}
FIBS = (EmgRow("left", "apb", "1+", "-", "-", "-", "-", "-", "interference"),)


def of(*words: str) -> set[str]:
    """The studies that have all these words in them."""
    return {study for study in ALL if set(words) <= set(study.split())}


def table(emg: tuple[EmgRow, ...] = (), absent: str = "") -> Case:
    """Every study on both sides, one latency each; `absent` names one without a response."""
    rows = []
    for study in STUDIES:
        cells = {("lat", side): Cell("absent", None, "NR") if f"{side} {study}" == absent else Cell("value", 3.0, "3.0")
                 for side in ("left", "right")}
        rows.append(NcvRow(*study.split(), "wrist", "x", cells))
    return Case(50, "F", 160, emg, tuple(rows))


def counted(findings: str, impression: str, case: Case | None = None) -> set[str]:
    """The studies that count, as `normal_nerves` and the table say."""
    called = normal_nerves(findings, impression, case or table())
    return {f"{side} {study}" for study in STUDIES for side in ("left", "right")
            if called.covers(Item(*study.split(), "wrist", "x", "lat"), side)}


@pytest.mark.parametrize(("findings", "impression", "expected"), [
    # the example of the data set's own figure
    ("EMG 被检肌未见明显肌源性或神经源性损害肌电改变。NCV 左侧正中神经运动传导潜伏期正常上限，"
     "感觉神经传导速度轻度减慢；余正常范围。", "左侧正中神经轻度损害，CTS可考虑。", ALL - of("left", "median")),
    ("NCV：双侧正中神经感觉传导速度减慢；余所检神经传导未见异常。", "双侧腕管综合征（轻度）。", ALL - of("median")),
    ("NCV：正中神经感觉传导速度减慢；余所检神经传导未见异常。", "正中神经损害", ALL - of("median")),  # no side: both
    ("NCV：左侧正中神经运动传导潜伏期正常上限；余所检神经传导未见异常。", "未见异常，请结合临床",
     ALL - of("left", "median")),
    ("NCV：除左侧正中神经外，余所检神经传导未见异常。", "左侧腕管综合征", ALL - of("median")),
    ("NCS: All nerves are normal except for the left median nerve.", "Left CTS, mild.", ALL - of("median")),
    ("NCV：左侧正中神经感觉传导速度减慢；左侧尺神经正常。", "左侧正中神经损害", of("left", "ulnar")),
    ("NCV：左侧正中神经感觉传导速度减慢，左侧尺神经运动传导正常。", "左侧正中神经损害", of("left", "ulnar", "motor")),
    ("NCV：左侧正中神经感觉传导减慢，运动传导正常。", "左侧正中神经损害", set()),  # a sick nerve's other fibres
    ("NCV：左侧正中神经感觉传导速度减慢；余感觉传导正常。", "左侧正中神经损害",
     of("sensory") - of("left", "median")),
    # the impression has a say too: where it names more than the findings
    ("NCV：左侧正中神经感觉传导速度减慢；余所检神经传导未见异常。", "双侧正中神经损害，右侧尺神经损害",
     ALL - of("median") - of("right", "ulnar")),
    ("NCV：左侧正中神经感觉传导速度减慢；余所检神经传导未见异常。", "左侧C8神经根损害", of("right") | of("peroneal")),
    ("NCV：左侧腓总神经F波未引出；余所检神经传导未见异常。", "左侧L5、S1神经根性损害", ALL - of("left", "peroneal")),
    ("NCV: Left median nerve: sensory velocity mildly slowed. The remaining nerves are within normal limits.",
     "Mild left median neuropathy at the wrist, consistent with carpal tunnel syndrome.", ALL - of("left", "median")),
    ("NCV: Prolonged distal latency of the right ulnar nerve. All other nerves tested are normal.",
     "Right ulnar neuropathy at the elbow.", ALL - of("right", "ulnar")),
    ("NCV: Slowed ulnar motor conduction. All other nerves tested are normal.",
     "Abnormalities of the ulnar nerve; clinical correlation is advised.", ALL - of("ulnar")),
    ("NCV: Left median sensory response absent. The right median nerve is normal.", "Left carpal tunnel syndrome.",
     of("right", "median")),
    ("NCV: Left peroneal motor amplitude reduced. The remaining nerves are normal.", "Left L5 radiculopathy.",
     ALL - of("left", "peroneal")),
])
def test_what_a_report_calls_normal_counts_and_nothing_else(findings: str, impression: str, expected: set[str]) -> None:
    assert counted(findings, impression) == expected
    assert why_not_healthy(findings, impression, [])


SLOW = "NCV：左侧正中神经感觉传导速度减慢；"
SLOW_EN = "NCV: Left median nerve: sensory conduction velocity slowed. "


@pytest.mark.parametrize(("findings", "impression"), [
    (SLOW, "左侧正中神经损害"),  # of the others nothing is said
    (SLOW + "锯齿样形态；余所检神经传导未见异常。", "左侧正中神经损害"),  # nobody can say what that is
    (SLOW + "伴传导阻滞；余所检神经传导未见异常。", "左侧正中神经损害"),
    (SLOW + "感觉损害；余所检神经传导未见异常。", "左侧正中神经损害"),
    (SLOW + "正种神经传导减慢；余所检神经传导未见异常。", "左侧正中神经损害"),  # a name that is misspelt
    (SLOW + "左侧尺神经及旋钮神经减慢；余所检神经传导未见异常。", "左侧正中神经损害"),
    (SLOW + "F波减慢，下肢神经传导减慢；余正常。", "左侧正中神经损害"),
    (SLOW + "余所检神经传导未见异常。", "多发性周围神经损害，轴索损害为主。"),
    (SLOW + "余所检神经传导未见异常。", "左侧正中神经损害，GBS待排"),
    (SLOW + "余所检神经传导未见异常。", "左侧正中神经损害。神经源性损害。"),
    (SLOW + "余所检神经传导未见异常。", "肌源性损害。"),
    (SLOW + "余所检神经传导未见异常。", "广泛神经源性损害，前角细胞病变可考虑。"),
    (SLOW + "余所检神经传导未见异常。", "神经根损害"),
    ("左侧正中神经感觉传导减慢。左侧拇短展肌见纤颤电位。余未见异常。", "左侧正中神经损害"),  # the other muscles
    ("左侧正中神经感觉传导减慢。肌电图未见异常。", "左侧正中神经损害"),
    (SLOW_EN + "Serrated responses. The remaining nerves are normal.", "Left median neuropathy."),
    (SLOW_EN + "Conduction block. The remaining nerves are normal.", "Left median neuropathy."),
    (SLOW_EN + "The remaining nerves are normal.", "Polyneuropathy, predominantly axonal."),
    (SLOW_EN + "The remaining nerves are normal.", "Left median neuropathy in CIDP."),
    (SLOW_EN + "The remaining nerves are normal.", "Widespread neurogenic changes."),
    (SLOW_EN, "Left median neuropathy."), ("", "Left median neuropathy."),
    (SLOW_EN + "x" * 30_000, "Left median neuropathy."),
])
def test_where_a_report_does_not_say_which_nerves_are_normal_none_counts(findings: str, impression: str) -> None:
    assert counted(findings, impression) == set()


OTHERS, OTHERS_EN = SLOW + "余所检神经传导未见异常。", SLOW_EN + "The remaining nerves are normal."
NONE_NORMAL = "the findings call no nerve normal"


@pytest.mark.parametrize(("findings", "impression", "why"), [
    # a disease of no place behind the name of a nerve
    (OTHERS_EN, "Left CTS, motor and sensory neuropathy.", NO_PLACE),
    (OTHERS, "左侧腕管综合征，运动、感觉神经病变", NO_PLACE),
    (OTHERS_EN, "Left median neuropathy, sensory neuropathy", NO_PLACE),
    (OTHERS_EN, "Left CTS, bilateral motor and sensory neuropathy", NO_PLACE),
    (OTHERS, "左侧腕管综合征，脱髓鞘", UNREAD),
    # an impression that says nothing of what the findings call abnormal
    (OTHERS, "", SILENT), (OTHERS, "  \n", SILENT), (OTHERS, "请结合临床", SILENT), (OTHERS_EN, "", SILENT),
    ("NCV：除左侧正中神经外，余所检神经传导未见异常。", "", SILENT),
    ("NCV：左侧尺神经正常，左侧正中神经减慢。", "", SILENT),
    # "the others" was there, and nobody knows who they are
    (SLOW + "左侧尺神经及旋钮神经减慢；余所检神经传导未见异常。", "左侧正中神经损害", UNREAD_FINDINGS),
    (SLOW + "左侧尺神经及旋钮神经减慢。", "左侧正中神经损害", NONE_NORMAL), (SLOW, "左侧正中神经损害", NONE_NORMAL),
])
def test_it_is_said_why_no_nerve_of_an_examination_counts(findings: str, impression: str, why: str) -> None:
    assert normal_nerves(findings, impression, table()).why_none == why


@pytest.mark.parametrize(("clause", "out"), [
    ("左侧尺神经肘段传导阻滞", of("ulnar")), ("左侧尺神经运动传导损害", of("ulnar")),
    ("双侧尺神经", of("ulnar")), ("除左侧尺神经外", of("ulnar")),
    ("左侧尺神经运动传导正常，右侧尺神经", of("ulnar")),
    ("左侧尺神经未见传导阻滞", of("ulnar")), ("左侧尺神经运动、感觉传导正常，未见传导阻滞", set()),
    ("未见传导阻滞", set()), ("左侧尺神经运动传导正常，感觉损害", of("ulnar")),
    ("左侧尺神经波幅低于正常", of("left", "ulnar"))])
def test_a_nerve_of_which_something_else_is_said_is_out(clause: str, out: set[str]) -> None:
    found = counted(f"{SLOW}{clause}；余所检神经传导未见异常。", "左侧正中神经损害")
    assert found == ALL - of("left", "median") - out


def test_what_the_needle_saw_must_have_a_place() -> None:
    normal = "NCV：所检神经传导均在正常范围。"
    assert counted(normal, "") == ALL
    assert counted(normal, "", table(FIBS)) == set() == counted("EMG：左侧拇短展肌见纤颤电位。" + normal, "")
    assert counted(normal, "左侧正中神经损害", table(FIBS)) == ALL - of("left", "median")
    assert counted("EMG：双上肢神经源性损害。" + normal, "") == set()
    assert counted("EMG：未见神经源性损害。" + normal, "") == ALL


def test_a_nerve_without_a_response_or_a_known_name_gives_no_value() -> None:
    case = table(absent="right median f_wave")
    called = normal_nerves("NCV：左侧尺神经减慢；余所检神经传导未见异常。", "左侧尺神经损害", case)
    assert len([*normal_values(case, called)]) == len(ALL - of("left", "ulnar") - of("right", "median"))
    assert not called.covers(Item("nervus x", "motor", "wrist", "x", "lat"), "left")
    assert not called.covers(Item("median", "blink", "wrist", "x", "lat"), "left")


def sides_of(impression: str) -> dict[str, set[str]]:
    """The sides on which an impression names each nerve."""
    found: dict[str, set[str]] = {}
    for place in places_of(impression):
        assert not isinstance(place, str) and place.nerve, impression
        found.setdefault(place.nerve, set()).update(place.sides)
    return found


def test_impressions_name_their_places() -> None:
    assert [(place.nerve, place.limb, place.sides) for place in places_of("右侧臂丛损害")] == [  # type: ignore[union-attr]
        (None, "upper", ("right",))]
    assert {place.nerve for place in places_of("左侧跗管综合征")} == {  # type: ignore[union-attr]
        "tibial", "medial_plantar", "lateral_plantar"}
    assert places_of("Normal study.") == places_of("") == places_of("未见异常，请结合临床") == ()
    assert sides_of("Neuropathy of the median nerve on the left and the ulnar nerve on the right") == {
        "median": {"left", "right"}, "ulnar": {"left", "right"}}  # whose side is whose is not asked
    assert sides_of("左侧正中神经及右侧尺神经损害") == {"median": {"left"}, "ulnar": {"right"}}
    assert sides_of("左侧及右侧正中神经损害") == sides_of("Left more than right median neuropathy") == {
        "median": {"left", "right"}} == sides_of("左侧正中神经损害，CTS右侧可疑")
    assert sides_of("Mild left median neuropathy, consistent with carpal tunnel syndrome") == {"median": {"left"}}
    assert places_of("左侧正中神经损害，右侧轻") == places_of("左侧正中神经损害，右侧正中神经损害")
    for more in ("可疑", "卡压", "轻"):
        assert sides_of(f"左侧正中神经损害，右侧{more}") == {"median": {"left", "right"}}
    for more in ("possible", "mild", "moderate to severe", "mild entrapment", "motor and sensory"):
        assert sides_of(f"Left CTS, {more}") == {"median": {"left"}}
    assert places_of("Myogenic changes") == NO_PLACE and places_of("吉兰-巴雷综合征") == UNREAD


# The cohort

CASES = [draw_case(11, i) for i in range(1200)]


def test_no_nerve_that_the_simulator_calls_abnormal_counts() -> None:
    taken = patients = 0
    for each in CASES:
        if why_not_healthy(each.findings, each.impression, each.case.emg) is None:
            continue
        called = normal_nerves(each.findings, each.impression, each.case)
        values = [*normal_values(each.case, called)]
        sick = {(one.nerve, one.side) for one in each.statements}
        assert not any(side is None for _, side in sick)
        beyond = [item.key for item, value in values if (abnormal_deviation(item, value) or 0) > LINE]
        items = {Item(row.nerve, row.type, row.stim, row.rec, measure) for row in each.case.ncv
                 for measure, _ in row.cells}
        assert not [(item, side) for item in items for side in ("left", "right")
                    if (item.nerve, side) in sick and called.covers(item, side)], each.findings
        assert not beyond, (each.record_id, beyond)
        assert not values or each.diagnosis not in ("myopathy", "motor_neuron_disease") or not each.needle
        taken, patients = taken + len(values), patients + bool(values)
    assert taken > 4000 and patients > 250


@pytest.mark.parametrize("seed", [0, 2])
def test_more_items_have_references_where_few_examinations_are_healthy(seed: int) -> None:
    drawn = [draw_case(seed, i) for i in range(210)]  # the train split of 300 records
    cases = [Examination(each.findings, each.impression, each.case) for each in drawn]
    plain, made_of = fit_references(cases, PERCENTILES, "none")
    more, of_more = fit_references(cases, PERCENTILES, "none", "nerves")
    assert set(plain.entries) < set(more.entries) and len(more.entries) >= len(plain.entries) + 10
    assert all(more.entries[key].n >= entry.n for key, entry in plain.entries.items())
    assert set(made_of) == {"pool"} and of_more["pool"] == made_of["pool"]
    nerves = of_more["nerves"]
    assert nerves["examinations"] + sum(nerves["none"].values()) + of_more["pool"]["healthy"] == len(cases)
    assert (plain.rule, more.rule) == ("whole case normal", RULES["nerves"])
    for entry in more.entries.values():
        assert list(entry.lower) == sorted(entry.lower) and list(entry.upper) == sorted(entry.upper, reverse=True)


def test_only_the_train_split_gives_nerves_and_the_rule_is_kept(tmp_path: Path) -> None:
    source = open_dataset("synthetic-emg", 2, records=160)
    result = prepare(source, tmp_path / "nerves", healthy="nerves")
    store = open_store(tmp_path / "nerves")
    triples = []
    for i in store.indices("train"):
        one = store.case(i)
        assert one.case is not None
        if why_not_healthy(one.findings, one.impression, one.case.emg) is None:
            triples += [(Item(row.nerve, row.type, row.stim, row.rec, measure), cell.value, one.case)
                        for row in one.case.ncv for (measure, _), cell in row.cells.items() if cell.value is not None]
        else:
            called = normal_nerves(one.findings, one.impression, one.case)
            triples += [(item, value, one.case) for item, value in normal_values(one.case, called)]
    found = store.references()
    assert found == fit(triples, rule=RULES["nerves"])
    assert json.loads((tmp_path / "nerves" / "references.json").read_bytes())["rule"] == RULES["nerves"]
    told = result.manifest.details["references"]
    assert told["rule"] == RULES["nerves"] and told["nerves"]["values"] > 0
    assert result.manifest.arguments["healthy"] == "nerves"
    assert "values of single nerves" in (tmp_path / "nerves" / "card.md").read_text()
    with pytest.raises(MedReportError, match="made with other healthy: nerves"):
        prepare(source, tmp_path / "nerves")
    assert prepare(source, tmp_path / "nerves", healthy="nerves").already_finished


def test_the_default_is_as_before_there_was_a_choice(tmp_path: Path) -> None:
    source = open_dataset("synthetic-emg", 2, records=60)
    result = prepare(source, tmp_path / "a")
    prepare(source, tmp_path / "b", healthy="cases")
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")
    assert "healthy" not in result.manifest.arguments
    assert set(result.manifest.details["references"]) == {"items", "rule", "pool"}
    assert result.manifest.details["references"]["rule"] == "whole case normal"
    for dataset, healthy, message in (("synthetic", "nerves", "--healthy has no effect on signals"),
                                      ("synthetic-emg", "all", "--healthy is 'all'")):
        with pytest.raises(MedReportError, match=message):
            prepare(open_dataset(dataset, 0, records=12), tmp_path / "c", healthy=healthy)


def test_references_are_fitted_anew_by_either_rule(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = open_dataset("synthetic-emg", 2, records=160), tmp_path / "r.json"
    prepare(source, tmp_path / "cases")
    prepare(source, tmp_path / "nerves", healthy="nerves")
    for store, other in (("cases", "nerves"), ("nerves", "cases")):
        assert run(["references", str(tmp_path / store), "--out", str(out), "--healthy", other]) == 0
        assert out.read_bytes() == (tmp_path / other / "references.json").read_bytes()
    capsys.readouterr()
    # what is not said anew stays as the store was made
    assert run(["references", str(tmp_path / "nerves"), "--out", str(out), "--covariates", "age", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["nerves"]["values"] > 0
    assert read_references(out).rule == RULES["nerves"] and read_references(out).covariates == "age"
    out.unlink()
    for option, value, hint in (("healthy", "all", "cases, nerves"), ("healthy", "", "cases, nerves"),
                                ("covariates", "sex", "none, age, age+height+sex"),
                                ("covariates", "", "none, age, age+height+sex")):
        assert run(["references", str(tmp_path / "cases"), "--out", str(out), f"--{option}", value]) == 2
        said = capsys.readouterr().err
        assert f"--{option} is '{value}'" in said and f"available: {hint}" in said
    assert run(["references", str(tmp_path / "cases"), "--out", str(out), "--percentiles", ""]) == 2
    assert "--percentiles ''" in capsys.readouterr().err and not out.exists()
