"""What a report of nerve conduction and needle EMG states, as values that can be counted, and where two disagree.

A statement says that one measure of one nerve, on one side, is abnormal: (nerve, side, type, measure, direction,
severity). A report is no more detailed than that: it does not say at which stimulation site a velocity was measured. So
the rows of a table are taken together (`table_statements`): the worst row speaks for its nerve, side, type and measure.
`statements_write` turns statements into findings, `statements_read` reads them back from any text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from emgecg_cli.core.emg import terms
from emgecg_cli.core.emg.case import Case, EmgRow, Item

DIRECTIONS = ("high", "low", "absent")
SEVERITIES = ("borderline", "mild", "moderate", "severe")  # ascending; borderline is at the limit, still normal
NEEDLE_FINDINGS = ("fibs", "psw", "fascics", "complex_repetitive_discharge", "myotonic_discharge", "myokymia",
                   "polyph", "large", "small", "reduced", "single_mixed", "single", "early", "none")
# Stimulated here, a latency tells the length of the limb: nobody calls it, the velocity of the segment is called.
_PROXIMAL = {
    "median": frozenset(("elbow", "upper_arm", "axilla", "erbs_point")),
    "ulnar": frozenset(("elbow", "below_elbow", "above_elbow", "upper_arm", "axilla", "erbs_point")),
    "radial": frozenset(("elbow", "spiral_groove", "upper_arm", "axilla", "erbs_point")),
    "peroneal": frozenset(("below_fibular_head", "fibular_head", "above_fibular_head", "knee", "popliteal_fossa")),
    "tibial": frozenset(("knee", "popliteal_fossa")),
}
_FORMS = frozenset(("large", "small"))
_RECRUITMENTS = frozenset(("reduced", "single_mixed", "single", "early", "none"))

Key = tuple[str | None, str | None, str | None, str]  # nerve, side, type, measure
Judgement = tuple[str, str | None]  # direction, severity


@dataclass(frozen=True)
class Statement:
    """One abnormality of nerve conduction, in the canonical names of `terms`.

    `direction` is "high", "low" or "absent", `severity` one of SEVERITIES or None where the text gives none. An absent
    response has no severity, and its measure is "amp" ("lat" of F waves and H reflexes, which are timed only). A text
    may leave the nerve's side or type open: None.
    """

    nerve: str
    side: str | None
    type: str | None
    measure: str
    direction: str
    severity: str | None = None

    @property
    def key(self) -> Key:
        """What is called abnormal, without how: (nerve, side, type, measure)."""
        return self.nerve, self.side, self.type, self.measure

    @property
    def called(self) -> bool:
        """Whether this calls the value abnormal; a borderline value is at the limit, and not called."""
        return self.severity != "borderline"


@dataclass(frozen=True)
class NeedleFinding:
    """One abnormality seen with the needle: `finding` is one of NEEDLE_FINDINGS, `side` None where it is not said."""

    muscle: str
    side: str | None
    finding: str


@dataclass(frozen=True)
class Normal:
    """A mention that something is normal; what is None was not narrowed down. `limb` is "upper" or "lower"."""

    nerve: str | None = None
    side: str | None = None
    type: str | None = None
    measure: str | None = None
    limb: str | None = None

    def covers(self, key: Key) -> bool:
        """Whether the mention is about this nerve, side, type and measure."""
        own = (self.nerve, self.side, self.type, self.measure)
        if any(mine is not None and mine != theirs for mine, theirs in zip(own, key, strict=True)):
            return False
        return self.limb is None or (key[0] is not None and terms.limb(key[0]) == self.limb)


@dataclass(frozen=True)
class ReadStatements:
    """What a text states. `others_normal` and `needle_others_normal`: everything not named otherwise is normal.

    `normal` holds what is said to be normal by name, `normal_muscles` the (muscle, side) of the needle part.
    `n_unknown` counts the words the reader does not know, and `unresolved` the abnormal words it knows but could not
    attach to a nerve and a measure, or to a muscle.
    """

    abnormal: frozenset[Statement] = frozenset()
    needle: frozenset[NeedleFinding] = frozenset()
    normal: frozenset[Normal] = frozenset()
    normal_muscles: frozenset[tuple[str, str | None]] = frozenset()
    others_normal: bool = False
    needle_others_normal: bool = False
    n_unknown: int = 0
    unresolved: tuple[str, ...] = ()


@dataclass(frozen=True)
class Counts:
    """How two sets agree: precision = tp / (tp + fp), recall = tp / (tp + fn).

    `graded` counts the true positives for which both sides give a severity, `same_grade` those with the same one.
    """

    tp: int
    fp: int
    fn: int
    graded: int = 0
    same_grade: int = 0


def compare(predicted: Iterable[Statement], reference: Iterable[Statement]) -> Counts:
    """Count what is called abnormal in both, by nerve, side, type, measure and direction; severity is counted apart.

    Borderline statements are not called, on either side. Where a set gives one abnormality two severities, the worst
    counts.
    """
    said, true = _graded(predicted), _graded(reference)
    both = [(said[key], true[key]) for key in said.keys() & true.keys()]
    graded = [(one, other) for one, other in both if one and other]
    return Counts(len(both), len(said) - len(both), len(true) - len(both), len(graded),
                  sum(one == other for one, other in graded))


def compare_needle(predicted: Iterable[NeedleFinding], reference: Iterable[NeedleFinding]) -> Counts:
    """Count the needle findings of both by muscle, side and finding."""
    said, true = set(predicted), set(reference)
    return Counts(len(said & true), len(said - true), len(true - said))


def contradictions(read: ReadStatements, table_called: Iterable[Statement | Key]) -> frozenset[Key]:
    """The keys which the table calls abnormal and the text calls normal, by name or as one of "all others".

    A key for which the text has any statement, also a borderline one, is not contradicted, and neither is one on which
    the text is silent. A statement that leaves side or type open speaks for all of them.
    """
    keys = {each.key if isinstance(each, Statement) else each for each in table_called
            if not isinstance(each, Statement) or each.called}
    spoken = [Normal(*statement.key) for statement in read.abnormal]
    return frozenset(key for key in keys if not any(each.covers(key) for each in spoken)
                     and (read.others_normal or any(each.covers(key) for each in read.normal)))


def _graded(statements: Iterable[Statement]) -> dict[tuple[Key, str], str | None]:
    """The worst severity of each abnormality that is called."""
    worst: dict[tuple[Key, str], str | None] = {}
    for each in statements:
        if each.called:
            key = (each.key, each.direction)
            worst[key] = max(worst.get(key), each.severity, key=_grade)
    return worst


def _grade(severity: str | None) -> int:
    return -1 if severity is None else SEVERITIES.index(severity)


def absent_measure(type: str | None) -> str:
    """The measure under which an absent response of this type is stated."""
    return "lat" if type in ("f_wave", "h_reflex") else "amp"


def judged(item: Item) -> bool:
    """Whether a report calls values of this item: all but the latencies of stimulation above the distal site."""
    return not (item.type == "motor" and item.measure == "lat" and item.stim in _PROXIMAL.get(item.nerve, ()))


def table_statements(case: Case, judge: Callable[[Item, float], Judgement | None]) -> dict[Statement, str]:
    """The statements that follow from a table, each with the stimulation site of the row that decided it.

    `judge` gives direction and severity of a value, or None for a normal one. The worst row speaks for its nerve, side,
    type and measure. A response is absent if it is so in every row of its nerve, side and type that was tested; absent
    from a proximal site alone it is a severely low amplitude there.
    """
    tested: dict[tuple[str, str, str], list[tuple[str, bool]]] = {}
    worst: dict[tuple[str, str, str, str], tuple[int, Statement, str]] = {}

    def keep(nerve: str, side: str, type: str, measure: str, judgement: Judgement, stim: str) -> None:
        direction, severity = judgement
        entry = (_grade(severity), Statement(nerve, side, type, measure, direction, severity), stim)
        key = (nerve, side, type, measure)
        if key not in worst or entry[0] > worst[key][0]:
            worst[key] = entry

    for row in case.ncv:
        for side in terms.SIDES:
            cells = {measure: cell for (measure, at), cell in row.cells.items() if at == side}
            states = {cell.state for cell in cells.values()}
            if not states & {"value", "absent"}:
                continue
            absent = "absent" in states and "value" not in states
            tested.setdefault((row.nerve, side, row.type), []).append((row.stim, absent))
            for measure, cell in cells.items():
                item = Item(row.nerve, row.type, row.stim, row.rec, measure)
                if cell.value is not None and judged(item) and (judgement := judge(item, cell.value)):
                    keep(row.nerve, side, row.type, measure, judgement, row.stim)
    for (nerve, side, type), rows in tested.items():
        gone = [stim for stim, absent in rows if absent]
        if gone and len(gone) == len(rows):
            keep(nerve, side, type, absent_measure(type), ("absent", None), gone[0])
        elif gone and type == "motor":
            keep(nerve, side, type, "amp", ("low", "severe"), gone[0])
    return {statement: stim for _, statement, stim in worst.values()}


def needle_findings(rows: Iterable[EmgRow]) -> frozenset[NeedleFinding]:
    """The abnormalities in the rows of a needle table: graded columns of 1+ or more, unit form, recruitment, others.

    A mixed pattern is that of moderate effort, and no finding.
    """
    found = set()
    for row in rows:
        names = {name for name in ("fibs", "psw", "fascics", "polyph")
                 if terms.canonical("grade", getattr(row, name)) not in (None, "-")}
        names |= {row.form} & _FORMS | {row.recruitment} & _RECRUITMENTS | {row.others} & set(terms.names("other"))
        found |= {NeedleFinding(row.muscle, row.side, name) for name in names}
    return frozenset(found)
