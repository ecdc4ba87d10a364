"""Write statements as findings, grouped as in a laboratory: by nerve and side, motor before sensory before F wave.

`statements_read.read_statements` reads every text of this module back exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import numpy as np

from emgecg_cli.core.emg import terms
from emgecg_cli.core.reports.emg.statements import NEEDLE_FINDINGS, NeedleFinding, Statement

LANGUAGES = ("zh", "en")
_SEVERITY = {"zh": {"mild": ("轻度", "轻微"), "moderate": ("中度",), "severe": ("重度", "明显")},
             "en": {"mild": ("mildly", "slightly"), "moderate": ("moderately",), "severe": ("severely", "markedly")}}
_MEASURE_ZH = {("motor", "lat"): ("远端潜伏期", "末端潜伏期"), ("motor", "amp"): ("波幅", "CMAP波幅"),
               ("sensory", "amp"): ("波幅", "SNAP波幅")}
_PLAIN_ZH = {"lat": "潜伏期", "amp": "波幅", "cv": "传导速度"}
_MEASURE_EN = {("motor", "lat"): ("distal motor latency", "motor distal latency"),
               ("motor", "amp"): ("motor amplitude", "CMAP amplitude"),
               ("sensory", "amp"): ("sensory amplitude", "SNAP amplitude")}
_DIRECTION = {"zh": {("lat", "high"): ("延长",), ("lat", "low"): ("缩短",), ("amp", "high"): ("增高",),
                     ("amp", "low"): ("降低", "减低"), ("cv", "high"): ("增快",), ("cv", "low"): ("减慢",)},
              "en": {("lat", "high"): ("prolonged", "delayed"), ("lat", "low"): ("shortened",),
                     ("amp", "high"): ("increased",), ("amp", "low"): ("reduced", "decreased"),
                     ("cv", "high"): ("increased",), ("cv", "low"): ("slowed", "reduced")}}
_SEGMENT = {"zh": {"above_elbow": "肘段", "below_elbow": "前臂段", "elbow": "前臂段", "fibular_head": "小腿段",
                   "popliteal_fossa": "小腿段"},
            "en": {"above_elbow": "across the elbow", "below_elbow": "in the forearm", "elbow": "in the forearm",
                   "fibular_head": "in the leg", "popliteal_fossa": "in the leg"}}
_TYPE = {"zh": {"motor": "运动传导", "sensory": "感觉传导", "f_wave": "F波", "h_reflex": "H反射"},
         "en": {"motor": "motor", "sensory": "sensory", "f_wave": "F-wave", "h_reflex": "H-reflex"}}
_ABSENT_ZH = ("未引出", "未引出肯定波形")
_ABSENT_EN = {"motor": ("motor response absent", "CMAP not obtainable"),
              "sensory": ("sensory response absent", "SNAP not obtainable"),
              "f_wave": ("F waves absent",), "h_reflex": ("H reflex absent",)}
_NORMAL = {"zh": ("所检神经传导均在正常范围。", "所检神经传导未见异常。", "所检各神经传导检查正常。"),
           "en": ("All nerves tested are within normal limits.", "Conduction of all nerves examined is normal.",
                  "No abnormality in any nerve tested.")}
_REST = {"zh": ("余所检神经传导在正常范围。", "余所检神经传导未见异常。", "余神经传导检查正常。"),
         "en": ("The remaining nerves are within normal limits.", "All other nerves tested are normal.",
                "Conduction of the other nerves is normal.")}
_NEEDLE_NORMAL = {"zh": ("被检肌未见明显肌源性或神经源性损害肌电改变。", "被检肌未见异常。"),
                  "en": ("No clear myogenic or neurogenic change in the muscles examined.",
                         "The muscles examined are normal.")}
_NEEDLE_REST = {"zh": ("余被检肌未见异常。", "余所检肌未见明显异常。"),
                "en": ("The remaining muscles are normal.", "All other muscles are within normal limits.")}
_FINDING = {"zh": dict(zip(NEEDLE_FINDINGS, (
    "纤颤电位", "正锐波", "束颤电位", "复杂重复放电", "肌强直放电", "肌颤搐放电", "多相波增多", "MUP宽大", "MUP短小",
    "募集减少", "募集呈单纯-混合相", "募集呈单纯相", "募集呈病理干扰相", "无MUP"), strict=True)),
    "en": dict(zip(NEEDLE_FINDINGS, (
        "fibrillation potentials", "positive sharp waves", "fasciculation potentials", "complex repetitive discharges",
        "myotonic discharges", "myokymic discharges", "polyphasic MUPs", "large MUPs", "small MUPs",
        "reduced recruitment", "single-mixed pattern", "single pattern", "early recruitment", "no MUPs"),
        strict=True))}

Facts = tuple[tuple[str, str, str, str | None, str | None], ...]  # type, measure, direction, severity, stim


def write_findings(
    statements: Collection[Statement], needle: Collection[NeedleFinding] = (), language: str = "en",
    rng: np.random.Generator | None = None, stims: Mapping[Statement, str] | None = None, needle_tested: bool = True,
    conduction_tested: bool = True,
) -> str:
    """Two paragraphs, `EMG:` and `NCV:`, of what is abnormal and that the rest is normal, in "zh" or "en".

    The words are drawn by `rng`, the first wording of each without one. `stims` names the stimulation site behind a
    statement (`table_statements`), so that a slow velocity can be placed in its segment. A part that was not tested has
    no paragraph. Every statement must name its side and type, and every needle finding its side.
    """
    choose = _chooser(rng)
    mark = "：" if language == "zh" else ": "
    parts = [f"EMG{mark}{_needle_part(needle, language, choose)}"] * needle_tested
    parts += [f"NCV{mark}{_conduction_part(statements, language, choose, stims or {})}"] * conduction_tested
    return "\n".join(parts)


def _chooser(rng: np.random.Generator | None) -> Callable[[Sequence[str]], str]:
    def choose(wordings: Sequence[str]) -> str:
        return wordings[0 if rng is None or len(wordings) == 1 else int(rng.integers(len(wordings)))]

    return choose


def _conduction_part(
    statements: Collection[Statement], language: str, choose: Callable[[Sequence[str]], str],
    stims: Mapping[Statement, str],
) -> str:
    if not statements:
        return choose(_NORMAL[language])
    by_nerve: dict[str, dict[str, Facts]] = {}
    for each in sorted(statements, key=_order):
        stim = stims.get(each) if each.type == "motor" and each.measure == "cv" else None
        sides = by_nerve.setdefault(each.nerve, {})
        fact = (str(each.type), each.measure, each.direction, each.severity, stim)
        sides[str(each.side)] = (*sides.get(str(each.side), ()), fact)
    write = _zh_group if language == "zh" else _en_group
    groups = [write(nerve, where, facts, choose) for nerve, sides in by_nerve.items()
              for where, facts in _same_on_both(sides)]
    if language == "zh":
        return f"{'；'.join(groups)}；{choose(_REST['zh'])}"
    return " ".join([*(f"{group[0].upper()}{group[1:]}." for group in groups), choose(_REST["en"])])


def _order(each: Statement) -> tuple[int, str, int, int, int, str, str]:
    nerves = terms.names("nerve")
    return (nerves.index(each.nerve) if each.nerve in nerves else len(nerves), each.nerve,
            terms.SIDES.index(str(each.side)), terms.TYPES.index(str(each.type)), terms.MEASURES.index(each.measure),
            each.direction, each.severity or "")


def _same_on_both(sides: Mapping[str, Facts]) -> Iterable[tuple[str, Facts]]:
    """What is the same on both sides is said once."""
    if len(sides) == 2 and len(set(sides.values())) == 1:
        return [("both", next(iter(sides.values())))]
    return [(side, sides[side]) for side in terms.SIDES if side in sides]


def _zh_group(nerve: str, where: str, facts: Facts, choose: Callable[[Sequence[str]], str]) -> str:
    """左侧正中神经运动传导远端潜伏期中度延长、波幅轻度降低，感觉传导速度轻度减慢."""
    clauses = []
    for type in dict.fromkeys(fact[0] for fact in facts):
        words = []
        for _, measure, direction, severity, stim in (fact for fact in facts if fact[0] == type):
            name = choose(_MEASURE_ZH.get((type, measure), (_PLAIN_ZH[measure],)))
            segment = _SEGMENT["zh"].get(stim or "", "")
            if direction == "absent":
                words.append(choose(_ABSENT_ZH))
            elif severity == "borderline":
                words.append(f"{segment}{name}在正常{'上限' if direction == 'high' else '下限'}")
            else:
                grade = choose(_SEVERITY["zh"][severity]) if severity else ""
                words.append(f"{segment}{name}{grade}{choose(_DIRECTION['zh'][measure, direction])}")
        head = _TYPE["zh"][type]
        text = f"{head}{'、'.join(words)}"
        clauses.append(text.replace("运动传导传导", "运动传导").replace("感觉传导传导", "感觉传导"))
    side = {"left": "左侧", "right": "右侧", "both": "双侧"}[where]
    return f"{side}{terms.display('nerve', nerve, 'zh')}{'，'.join(clauses)}"


def _en_group(nerve: str, where: str, facts: Facts, choose: Callable[[Sequence[str]], str]) -> str:
    """Either "left median nerve: distal motor latency moderately prolonged", or "shows a moderately prolonged …"."""
    name = terms.display("nerve", nerve, "en")
    name = f"{name[:1].lower()}{name[1:]}"
    head = f"{'bilateral' if where == 'both' else where} {name} nerve{'s' if where == 'both' else ''}"
    measure_first = choose(("yes", "no")) == "yes"
    words = [_en_fact(fact, measure_first, choose) for fact in facts]
    return f"{head}: {', '.join(words)}"


def _en_fact(fact: tuple[str, str, str, str | None, str | None], measure_first: bool,
             choose: Callable[[Sequence[str]], str]) -> str:
    type, measure, direction, severity, stim = fact
    if direction == "absent":
        return choose(_ABSENT_EN[type])
    plain = f"{_TYPE['en'][type]} {({'lat': 'latency', 'amp': 'amplitude', 'cv': 'conduction velocity'}[measure])}"
    name = choose(_MEASURE_EN.get((type, measure), (plain,)))
    segment = f" {_SEGMENT['en'][stim]}" if stim in _SEGMENT["en"] else ""
    if severity == "borderline":
        return f"{name}{segment} at the {'upper' if direction == 'high' else 'lower'} limit of normal"
    grade = f"{choose(_SEVERITY['en'][severity])} " if severity else ""
    how = f"{grade}{choose(_DIRECTION['en'][measure, direction])}"
    return f"{name}{segment} {how}" if measure_first else f"{how} {name}{segment}"


def _needle_part(needle: Collection[NeedleFinding], language: str, choose: Callable[[Sequence[str]], str]) -> str:
    if not needle:
        return choose(_NEEDLE_NORMAL[language])
    by_muscle: dict[str, dict[str, list[str]]] = {}
    order = terms.names("muscle")
    for each in sorted(needle, key=lambda each: (order.index(each.muscle) if each.muscle in order else len(order),
                                                 each.muscle, str(each.side), NEEDLE_FINDINGS.index(each.finding))):
        by_muscle.setdefault(each.muscle, {}).setdefault(str(each.side), []).append(each.finding)
    groups: dict[tuple[str, ...], list[str]] = {}
    for muscle, sides in by_muscle.items():
        same = len(sides) == 2 and len({tuple(found) for found in sides.values()}) == 1
        for side, found in ([("both", sides["left"])] if same else sides.items()):
            groups.setdefault(tuple(found), []).append(_muscle_name(muscle, side, language))
    sentences = [_needle_group(muscles, found, language, choose) for found, muscles in groups.items()]
    return ("；" if language == "zh" else " ").join([*sentences, choose(_NEEDLE_REST[language])])


def _muscle_name(muscle: str, side: str, language: str) -> str:
    name = terms.display("muscle", muscle, language)
    if language == "zh":
        return {"left": "左侧", "right": "右侧", "both": "双侧"}[side] + name
    return f"{'bilateral' if side == 'both' else side} {name}"


def _needle_group(muscles: Sequence[str], found: Sequence[str], language: str,
                  choose: Callable[[Sequence[str]], str]) -> str:
    words = [_FINDING[language][name] for name in found]
    if language == "zh":
        return f"{'、'.join(muscles)}{choose(('见', '可见'))}{'、'.join(words)}"
    where = f"{', '.join(muscles[:-1])} and {muscles[-1]}" if len(muscles) > 1 else muscles[0]
    if choose(("muscles", "findings")) == "muscles":
        return f"{where[0].upper()}{where[1:]}: {', '.join(words)}."
    what = f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]
    return f"{what[0].upper()}{what[1:]} in {where}."
