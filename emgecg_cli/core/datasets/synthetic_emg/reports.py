"""The report of a simulated examination: what follows from its tables, and from nothing else.

A value is abnormal if it lies beyond the 2 % line of all healthy people on the abnormal side, as written in the table:
mild to 3 SD, moderate to 4.5 SD, severe beyond. A value between the 5 % and the 2 % line is borderline; it is mentioned
only of a nerve and side that has an abnormal value too. One healthy value in fifty lies beyond its line, so that every
other healthy person has such a value somewhere: a table without needle findings whose abnormal values are all mild,
in at most ISOLATED studies (nerve, side and type) and no two of one nerve, is reported as normal. In every other table
each abnormal value is called.

The impression too is a function of the table: `conclude` names the disease whose pattern the findings show. Who has a
disease and a table without a sign of it is reported as normal, as in any laboratory.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from emgecg_cli.core.datasets.synthetic_emg.diseases import ROOTS
from emgecg_cli.core.datasets.synthetic_emg.healthy import abnormal_deviation
from emgecg_cli.core.emg import terms
from emgecg_cli.core.emg.case import Case, Item
from emgecg_cli.core.reports.emg.statements import (
    SEVERITIES,
    NeedleFinding,
    Statement,
    needle_findings,
    table_statements,
)

LINE, BORDER = 2.0537, 1.6449  # SD of the 2 % and the 5 % line
MODERATE, SEVERE = 3.0, 4.5
ISOLATED = 2
_NEUROGENIC = frozenset(("fibs", "psw", "fascics", "large", "reduced", "single_mixed", "single"))
_MYOGENIC = frozenset(("small", "early"))
_DIRECTION = {1: "high", -1: "low"}
_SIDE = {"zh": {"left": "左侧", "right": "右侧", "both": "双侧"}, "en": {"left": "left", "right": "right",
                                                                  "both": "bilateral"}}
_GRADE = {"zh": {"mild": "轻度", "moderate": "中度", "severe": "重度"},
          "en": {"mild": "mild", "moderate": "moderate", "severe": "severe"}}
_WORDS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "zh": {"normal": ("神经传导及肌电图检查未见异常。", "肌电图未见明显异常。", "本次检查在正常范围。"),
           "carpal_tunnel": ("{side}正中神经腕部{grade}损害，CTS可考虑。", "{side}腕管综合征（{grade}）。"),
           "ulnar_elbow": ("{side}尺神经肘部{grade}损害。", "{side}肘部尺神经病变（{grade}）。"),
           "radiculopathy": ("{side}{root}神经根损害可考虑。", "{side}{root}神经根性损害。"),
           "axonal_polyneuropathy": ("多发性周围神经损害，轴索损害为主。", "周围神经病变（轴索性）。"),
           "demyelinating_polyneuropathy": ("多发性周围神经损害，髓鞘损害为主。", "周围神经病变（脱髓鞘性）。"),
           "myopathy": ("肌源性损害。", "肌源性损害肌电改变。"),
           "motor_neuron_disease": ("广泛神经源性损害，前角细胞病变可考虑。",
                                    "广泛神经源性损害（运动神经元病可考虑）。"),
           "other": ("{nerves}电生理异常，请结合临床。",)},
    "en": {"normal": ("Normal study.", "No electrophysiological abnormality.", "This study is within normal limits."),
           "carpal_tunnel": ("{Grade} {side} median neuropathy at the wrist, consistent with carpal tunnel syndrome.",
                             "{Grade} {side} carpal tunnel syndrome."),
           "ulnar_elbow": ("{Grade} {side} ulnar neuropathy at the elbow.",),
           "radiculopathy": ("{Side} {root} radiculopathy.", "Findings suggest a {side} {root} root lesion."),
           "axonal_polyneuropathy": ("Polyneuropathy, predominantly axonal.", "Axonal polyneuropathy."),
           "demyelinating_polyneuropathy": ("Polyneuropathy, predominantly demyelinating.",
                                            "Demyelinating polyneuropathy."),
           "myopathy": ("Myopathy.", "Myogenic changes, consistent with a myopathy."),
           "motor_neuron_disease": ("Widespread neurogenic changes, consistent with motor neuron disease.",
                                    "Widespread anterior horn cell lesion; consider motor neuron disease."),
           "other": ("Abnormalities of the {nerves}; clinical correlation is advised.",)}}


@dataclass(frozen=True)
class Truth:
    """What is abnormal in a table: the statements of its report with the stimulation site behind each, and the needle
    findings."""

    stims: dict[Statement, str]
    needle: frozenset[NeedleFinding]

    @property
    def statements(self) -> frozenset[Statement]:
        return frozenset(self.stims)

    @property
    def called(self) -> frozenset[Statement]:
        return frozenset(statement for statement in self.stims if statement.called)


@dataclass(frozen=True)
class Conclusion:
    """One line of an impression: a diagnosis, "normal" or "other"; where, how badly, which root, which nerves."""

    diagnosis: str
    side: str = ""
    severity: str = ""
    root: str = ""
    nerves: tuple[str, ...] = ()


def judge(item: Item, value: float) -> tuple[str, str] | None:
    """Direction and severity of a value, or None: see the head of this module."""
    deviation = abnormal_deviation(item, value)
    if deviation is None or deviation <= BORDER:
        return None
    grade = sum(deviation > line for line in (LINE, MODERATE, SEVERE))
    return _DIRECTION[terms.abnormal_direction(item.measure)], SEVERITIES[grade]


def find_truth(case: Case) -> Truth:
    """What the report of this table states."""
    needle = needle_findings(case.emg)
    found = table_statements(case, judge)
    called = [statement for statement in found if statement.called]
    studies = {(each.nerve, each.side, each.type) for each in called}
    isolated = (not needle and len(studies) <= ISOLATED and all(each.severity == "mild" for each in called)
                and len({nerve for nerve, _, _ in studies}) == len(studies))
    places = set() if isolated else {(each.nerve, each.side) for each in called}
    return Truth({each: stim for each, stim in found.items() if (each.nerve, each.side) in places}, needle)


def conclude(truth: Truth) -> tuple[Conclusion, ...]:
    """The impression of these findings: the widest pattern that explains them, or the local ones, or neither."""
    called, needle = truth.called, truth.needle
    if not called and not needle:
        return (Conclusion("normal"),)
    if any(each.finding in _MYOGENIC for each in needle):
        return (Conclusion("myopathy"),)
    sensory = [each for each in called if each.type == "sensory"]
    neurogenic = {(each.muscle, str(each.side)) for each in needle if each.finding in _NEUROGENIC}
    if _widespread(neurogenic, needle) and len(sensory) <= 2:
        return (Conclusion("motor_neuron_disease"),)
    median = {each for each in called if each.nerve == "median" and (
        each.type == "sensory" or (each.type == "motor" and each.measure == "lat"))}
    ulnar = {each for each in called if each.nerve == "ulnar" and each.measure == "cv"
             and truth.stims[each] == "above_elbow"}
    own = {"apb"} if median else set()
    own |= {"fdi", "adm"} if ulnar else set()
    root = _root(neurogenic)
    if root and len(sensory) <= 2 and not {muscle for muscle, _ in neurogenic} <= own:
        return (Conclusion("radiculopathy", next(side for _, side in neurogenic), root=root),)
    nerves = {each.nerve for each in called}
    legs = {nerve for nerve in nerves if terms.limb(nerve) == "lower"}
    if len(legs) >= 2 or len(nerves) >= 3:
        return (Conclusion(_kind_of_neuropathy(called)),)
    local = [*_local("carpal_tunnel", median), *_local("ulnar_elbow", ulnar)]
    rest = tuple(name for name in terms.names("nerve") if name in nerves)
    return tuple(local) or (Conclusion("other", nerves=rest),)


def _widespread(neurogenic: Collection[tuple[str, str]], needle: Collection[NeedleFinding]) -> bool:
    """Denervation in three regions, or fasciculations in two muscles."""
    fascics = {(each.muscle, each.side) for each in needle if each.finding == "fascics"}
    return len({_region(*key) for key in neurogenic}) >= 3 or len(fascics) >= 2


def _region(muscle: str, side: str) -> str:
    if muscle.startswith("paraspinal") or muscle == "sternocleidomastoid":
        return muscle
    lower = muscle in ("tibialis_anterior", "gastrocnemius", "vastus_lateralis", "ehl", "biceps_femoris", "iliopsoas")
    return f"{'leg' if lower else 'arm'} {side}"


def _root(neurogenic: Collection[tuple[str, str]]) -> str | None:
    """The one root that feeds all these muscles, of one side."""
    limb = {muscle for muscle, _ in neurogenic if not muscle.startswith("paraspinal")}
    if len({side for _, side in neurogenic}) != 1 or not limb:
        return None
    return next((root for root, (members, _) in ROOTS.items() if limb <= set(members)), None)


def _kind_of_neuropathy(called: Collection[Statement]) -> str:
    slow = sum(each.measure != "amp" and each.severity in ("moderate", "severe") for each in called)
    small = sum(each.measure == "amp" for each in called)
    return "demyelinating_polyneuropathy" if slow > small else "axonal_polyneuropathy"


def _local(diagnosis: str, found: Collection[Statement]) -> list[Conclusion]:
    """One conclusion for each side, or one for both where they are equally bad."""
    worst = {}
    for side in terms.SIDES:
        own = [SEVERITIES.index(each.severity) if each.severity else len(SEVERITIES) - 1
               for each in found if each.side == side]
        if own:
            worst[side] = SEVERITIES[max(own)]
    if len(worst) == 2 and len(set(worst.values())) == 1:
        return [Conclusion(diagnosis, "both", worst["left"])]
    return [Conclusion(diagnosis, side, severity) for side, severity in worst.items()]


def write_impression(conclusions: Sequence[Conclusion], language: str, rng: np.random.Generator) -> str:
    """The impression in "zh" or "en", a sentence for each conclusion."""
    lines = []
    for each in conclusions:
        forms = _WORDS[language][each.diagnosis]
        side, grade = _SIDE[language].get(each.side, ""), _GRADE[language].get(each.severity, "")
        names = [terms.display("nerve", nerve, language) for nerve in each.nerves]
        nerves = f"{' and '.join(names).lower()} nerve{'s' * (len(names) > 1)}"
        nerves = "、".join(names) if language == "zh" else nerves
        lines.append(forms[int(rng.integers(len(forms)))].format(
            side=side, grade=grade, root=each.root, nerves=nerves, Side=side.capitalize(), Grade=grade.capitalize()))
    return "".join(lines) if language == "zh" else " ".join(lines)
