"""Statements of findings: written and read back, read from sentences of many hands, compared and contradicted."""

from __future__ import annotations

import random

import numpy as np
import pytest
from emg_sentences import CHINESE, ENGLISH, NEEDLE

from emgecg_cli.core.emg import terms
from emgecg_cli.core.emg.case import Case, EmgRow, Item, NcvRow, values
from emgecg_cli.core.emg.cells import read_cell
from emgecg_cli.core.reports.emg.statements import (
    NEEDLE_FINDINGS,
    Counts,
    NeedleFinding,
    Normal,
    ReadStatements,
    Statement,
    absent_measure,
    compare,
    compare_needle,
    contradictions,
    judged,
    needle_findings,
    table_statements,
)
from emgecg_cli.core.reports.emg.statements_read import LONGEST_TEXT, read_statements
from emgecg_cli.core.reports.emg.statements_write import write_findings

SIDES = {"L": ("left",), "R": ("right",), "B": ("left", "right"), "?": (None,), "": (None,)}


def stated(notation: str) -> tuple[set[Statement], set[tuple[str | None, ...]], bool]:
    """What a sentence of the tables states, what it calls normal, and whether the others are."""
    abnormal, normal, others = set(), set(), False
    for part in filter(None, map(str.strip, notation.split(";"))):
        if part == "ok":
            others = True
        elif part.startswith("ok:"):
            nerve, type, side = (*part[3:].split(":"), "", "")[:3]
            normal.add((nerve or None, type or None, SIDES[side][0]))
        else:
            side, nerve, type, measure, direction, *severity = part.split()
            abnormal |= {Statement(nerve, each, None if type == "?" else type, measure, direction,
                                   severity[0] if severity else None) for each in SIDES[side]}
    return abnormal, normal, others


def test_the_tables_are_long_enough():
    assert len(CHINESE) >= 60 and len(ENGLISH) >= 60


@pytest.mark.parametrize(("text", "notation"), [*CHINESE, *ENGLISH])
def test_sentences_of_many_hands(text, notation):
    abnormal, normal, others = stated(notation)
    read = read_statements(text)
    assert read.abnormal == abnormal
    assert {(each.nerve, each.type, each.side) for each in read.normal} >= normal
    assert bool(read.normal) == bool(normal)
    assert read.others_normal == others
    assert not read.needle


@pytest.mark.parametrize(("text", "notation"), NEEDLE)
def test_needle_sentences_of_many_hands(text, notation):
    parts = [part.split() for part in notation.split("; ") if part not in ("", "ok")]
    read = read_statements(text)
    assert read.needle == {NeedleFinding(muscle, each, finding) for side, muscle, finding in parts
                           for each in SIDES[side]}
    assert read.needle_others_normal == ("ok" in notation.split("; "))
    assert not read.abnormal and not read.unresolved


def draw(rng: random.Random) -> tuple[dict[Statement, str], set[NeedleFinding]]:
    """Random statements, at most one for each nerve, side, type and measure, with stimulation sites."""
    found: dict[tuple[str, ...], Statement] = {}
    nerves = terms.names("nerve")
    for _ in range(rng.randint(0, 8)):
        nerve = rng.choice([each.nerve for each in found.values()] if found and rng.random() < 0.5 else nerves)
        type, direction = rng.choice(terms.TYPES), rng.choice(("high", "low", "absent"))
        absent = direction == "absent"
        measure = absent_measure(type) if absent else rng.choice(terms.MEASURES)
        severity = None if absent else rng.choice((None, "borderline", "mild", "moderate", "severe"))
        for side in rng.choice((("left",), ("right",), ("left", "right"))):
            found[nerve, side, type, measure] = Statement(nerve, side, type, measure, direction, severity)
    sites = ("wrist", "elbow", "above_elbow", "fibular_head", "popliteal_fossa")
    needle = {NeedleFinding(rng.choice(terms.names("muscle")), rng.choice(terms.SIDES), rng.choice(NEEDLE_FINDINGS))
              for _ in range(rng.randint(0, 6))}
    return {each: rng.choice(sites) for each in found.values()}, needle


@pytest.mark.parametrize("language", ["zh", "en"])
def test_what_is_written_is_read_back_exactly(language):
    rng, words = random.Random(5), np.random.default_rng(5)
    for i in range(250):
        stims, needle = draw(rng)
        text = write_findings(stims, needle, language, words, stims)
        read = read_statements(text, language if i % 2 else None)
        assert read == ReadStatements(frozenset(stims), frozenset(needle), others_normal=True,
                                      needle_others_normal=True), text


@pytest.mark.parametrize("kind", ["nerve", "muscle"])
@pytest.mark.parametrize("language", ["zh", "en"])
def test_every_name_of_the_vocabulary_is_read(kind, language):
    for name in terms.names(kind):
        statements = [Statement(name, "left", "motor", "amp", "low", "mild")] if kind == "nerve" else []
        needle = [] if kind == "nerve" else [NeedleFinding(name, "left", "fibs")]
        read = read_statements(write_findings(statements, needle, language))
        assert (read.abnormal, read.needle) == (frozenset(statements), frozenset(needle)), name


def test_the_published_example_is_read():
    text = ("EMG: 被检肌未见明显肌源性或神经源性损害肌电改变。\n"
            "NCV: 左侧正中神经运动传导潜伏期正常上限，感觉神经传导速度轻度减慢；余神经传导在正常范围。")
    read = read_statements(text, "zh")
    assert read.abnormal == stated("L median motor lat high borderline; L median sensory cv low mild")[0]
    assert read.others_normal and read.needle_others_normal and not read.needle
    assert (read.n_unknown, read.unresolved) == (0, ())
    assert read_statements("左侧正中神经轻度损害，CTS可考虑。").abnormal == frozenset()


def test_findings_are_two_paragraphs_and_a_part_not_tested_has_none():
    both = write_findings([], [], "en")
    assert [line.split(":")[0] for line in both.splitlines()] == ["EMG", "NCV"]
    assert write_findings([], language="zh", needle_tested=False) == "NCV：所检神经传导均在正常范围。"
    grouped = write_findings([Statement("median", "left", "motor", "lat", "high", "moderate"),
                              Statement("median", "left", "sensory", "cv", "low", "mild")], language="zh",
                             needle_tested=False)
    assert grouped == ("NCV：左侧正中神经运动传导远端潜伏期中度延长，感觉传导速度轻度减慢；"
                       "余所检神经传导在正常范围。")


def test_words_nobody_knows_are_counted_and_skipped():
    read = read_statements("Left median sensory zygomorphic velocity is slowed, quux.")
    assert read.abnormal == stated("L median sensory cv low")[0] and read.n_unknown == 2
    assert read_statements("NCV：左侧正中神经感觉传导速度龘靐减慢。").n_unknown == 1
    assert read_statements("左侧正中神经感觉传导速度减慢", "en").abnormal == frozenset()
    assert read_statements("velocity is slowed").unresolved == ("slowed",)


@pytest.mark.parametrize("text", [
    "", "\n\n", "。。；；，，", "EMG:NCV:EMG:", "not not no without", "borderline", "双侧", "未见", "F", "左" * 3000,
    "((((" * 4000, "\x00\ud7ff�", "left " * 5000 + "median slowed", "正中神经" * 2000 + "减慢", "余" * 5000,
    "NCV: left median" + ", left ulnar" * 2000 + " slowed"])
def test_hostile_text_is_read_without_an_error(text):
    read = read_statements(text)
    assert isinstance(read, ReadStatements)
    assert read.n_unknown >= (len(text) > LONGEST_TEXT)


def test_compare_counts_what_is_called_and_severity_apart():
    reference = stated("B median sensory cv low mild; L ulnar motor cv low severe; L sural sensory amp absent; "
                       "R ulnar motor lat high borderline")[0]
    assert compare(reference, reference) == Counts(4, 0, 0, 3, 3)
    predicted = stated("L median sensory cv low severe; L ulnar motor cv low severe; R radial sensory amp low mild; "
                       "L sural sensory amp low severe; R ulnar sensory cv low borderline")[0]
    assert compare(predicted, reference) == Counts(2, 2, 2, 2, 1)
    assert compare([], reference) == Counts(0, 0, 4) and compare([], []) == Counts(0, 0, 0)
    twice = stated("L median sensory cv low; L median sensory cv low mild")[0]
    assert compare(twice, reference) == Counts(1, 0, 3, 1, 1)
    needle = {NeedleFinding("apb", "left", "fibs"), NeedleFinding("apb", "left", "psw")}
    assert compare_needle(needle, [NeedleFinding("apb", "left", "fibs")]) == Counts(1, 1, 0)


def test_contradictions_are_what_the_text_calls_normal_and_the_table_does_not():
    table = stated("L median sensory cv low mild; R median motor lat high mild; L ulnar motor cv low severe; "
                   "L sural sensory amp low borderline")[0]

    def said(text: str) -> set[str]:
        return {f"{side} {nerve} {measure}" for nerve, side, _, measure in contradictions(read_statements(text), table)}

    assert said("All nerves are normal.") == {"left median cv", "right median lat", "left ulnar cv"}
    assert said("Left median sensory velocity slowed; the remaining nerves are normal.") == {"right median lat",
                                                                                             "left ulnar cv"}
    assert said("Left ulnar motor conduction is normal.") == {"left ulnar cv"}
    assert said("Left median sensory velocity at the lower limit of normal.") == set()
    assert said("左侧尺神经运动传导速度未见减慢，波幅正常。") == {"left ulnar cv"}
    assert said("Sensory conduction of the upper limbs is normal.") == {"left median cv"}
    assert said("Sensory conduction of the lower limbs is normal.") == set()
    assert said("") == set()
    assert Normal("median").covers(("median", "left", "motor", "lat"))
    assert not Normal("median", "left").covers(("median", "right", "motor", "lat"))


def table(*rows: str) -> Case:
    """Rows as "nerve type stim rec lat_l lat_r amp_l amp_r cv_l cv_r"."""
    ncv = []
    for row in rows:
        nerve, type, stim, rec, *cells = row.split()
        keys = [(measure, side) for measure in terms.MEASURES for side in terms.SIDES]
        ncv.append(NcvRow(nerve, type, stim, rec, {key: read_cell(cell, key[0], type)
                                                   for key, cell in zip(keys, cells, strict=True)}))
    return Case(None, None, None, (), tuple(ncv))


def below(item: Item, value: float) -> tuple[str, str] | None:
    """Low amplitudes and velocities, and long latencies, at limits that a child can check."""
    if item.measure == "lat":
        return ("high", "severe" if value > 10 else "mild") if value > 4 else None
    return ("low", "severe" if value < 1 else "mild") if value < (50 if item.measure == "cv" else 5) else None


def test_the_worst_row_speaks_for_its_nerve_and_side():
    case = table("ulnar motor wrist adm 3.0 3.0 8 8 - -", "ulnar motor below_elbow adm 7 7 7 7 55 55",
                 "ulnar motor above_elbow adm 9 20 0.5 4 40 55")
    assert table_statements(case, below) == {
        Statement("ulnar", "left", "motor", "amp", "low", "severe"): "above_elbow",
        Statement("ulnar", "left", "motor", "cv", "low", "mild"): "above_elbow",
        Statement("ulnar", "right", "motor", "amp", "low", "mild"): "above_elbow"}
    assert [judged(item) for item, side, _ in values(case) if item.measure == "lat" and side == "left"] == [
        True, False, False]


def test_absent_everywhere_is_absent_and_absent_above_is_a_block():
    case = table("median motor wrist apb 3 NR 8 NR - -", "median motor elbow apb NR NR NR NR - -",
                 "tibial f_wave ankle ah NR - - - - -", "sural sensory calf ankle - - - - - -")
    assert table_statements(case, lambda item, value: None) == {
        Statement("median", "left", "motor", "amp", "low", "severe"): "elbow",
        Statement("median", "right", "motor", "amp", "absent"): "wrist",
        Statement("tibial", "left", "f_wave", "lat", "absent"): "ankle"}


def test_needle_rows_are_findings_and_a_mixed_pattern_is_none():
    rows = [EmgRow("left", "edc", "-", "1+", "-", "-", "", "large", "interference"),
            EmgRow("left", "fdi", "-", "-", "-", "-", "-", "-", "mixed"),
            EmgRow("right", "apb", "3+", "-", "2+", "myotonic_discharge", "1+", "-", "single")]
    assert {(each.muscle, each.finding) for each in needle_findings(rows)} == {
        ("edc", "psw"), ("edc", "large"), ("apb", "fibs"), ("apb", "fascics"), ("apb", "polyph"), ("apb", "single"),
        ("apb", "myotonic_discharge")}
