"""Tables with values drawn from the references, and findings of what is abnormal in them: a task of stage 1.

A single value does not show where it stands. Here a model that starts from random weights learns which nerve, side
and measure a number belongs to, from rows of the train split whose numbers are new each time, and how findings are
worded (`emg.statements_write`, which words those of simulated cases too).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from emgecg_cli.core.emg import terms
from emgecg_cli.core.emg.case import Case, Item, NcvRow
from emgecg_cli.core.emg.cells import Cell
from emgecg_cli.core.inputs.drawn.words import abnormal_end, question
from emgecg_cli.core.inputs.values import Messages
from emgecg_cli.core.instructions.table_prompts import conduction_parts
from emgecg_cli.core.references import CLASSES, Reference, References, abnormality, deviation
from emgecg_cli.core.reports.emg.statements import Judgement, table_statements
from emgecg_cli.core.reports.emg.statements_write import write_findings

ABNORMAL = 0.3  # the share of nerves and sides with an abnormality
ABNORMAL_VALUE = 0.5  # the share of their values that are abnormal
UNUSUAL_VALUE = 0.08  # the share of all others that are borderline, or abnormal in the harmless direction
ABSENT = 0.06  # the share of responses that are absent, on an abnormal side
ONE_MORE, MOST_ROWS = 0.4, 8  # rows follow a geometric distribution: small tables teach what large ones need
MODERATE, SEVERE = 3.0, 4.5  # robust standard deviations from the median

Draw = Callable[[Reference, str, tuple[float, ...], np.random.Generator], float]


def readable(rows: Sequence[NcvRow]) -> tuple[NcvRow, ...]:
    """The rows of which findings can be written: of a nerve and a type that the vocabulary knows."""
    return tuple(row for row in rows if row.nerve in terms.names("nerve") and row.type in terms.TYPES)


def draw_table(rows: Sequence[NcvRow], references: References, language: str, words: str, layout: str, draw: Draw,
               rng: np.random.Generator) -> Messages:
    """A question about up to MOST_ROWS of these `readable` rows with other values in them, and its findings.

    `words` is the language of the table, `language` that of the findings, each "en" or "zh". `draw` gives a value of a
    class of `references.CLASSES`. A borderline value is mentioned of a nerve and side that has an abnormal one too.
    """
    count = min(len(rows), MOST_ROWS, int(rng.geometric(ONE_MORE)))
    first = int(rng.integers(len(rows) - count + 1))
    chosen = [_redrawn(row, abnormal, references, draw, rng)
              for row, abnormal in _with_abnormal_sides(rows[first:first + count], rng)]
    found = table_statements(Case(None, None, None, (), tuple(chosen)), _judge_by(references))
    places = {(each.nerve, each.side) for each in found if each.called}
    said = {each: stim for each, stim in found.items() if (each.nerve, each.side) in places}
    *parts, last = conduction_parts(chosen, references, words, layout)
    return [{"role": "user", "content": [*parts, {"type": "text", "text": last["text"] + question("table", words)}]},
            {"role": "assistant", "content": write_findings(said, (), language, rng, said, needle_tested=False)}]


def _with_abnormal_sides(rows: Sequence[NcvRow], rng: np.random.Generator) -> list[tuple[NcvRow, set[str]]]:
    """Each row with its abnormal sides, the same ones in all rows of a nerve."""
    nerves = dict.fromkeys(row.nerve for row in rows)
    abnormal = {nerve: {side for side in terms.SIDES if rng.random() < ABNORMAL} for nerve in nerves}
    return [(row, abnormal[row.nerve]) for row in rows]


def _redrawn(row: NcvRow, abnormal: set[str], references: References, draw: Draw, rng: np.random.Generator) -> NcvRow:
    """The row with another value, or an absent response, in place of each number that has a reference."""
    absent = {side for side in terms.SIDES if side in abnormal and rng.random() < ABSENT}
    cells = dict(row.cells)
    for (measure, side), cell in row.cells.items():
        reference = references.of(Item(row.nerve, row.type, row.stim, row.rec, measure))
        if cell.value is None:
            continue
        if side in absent:
            cells[measure, side] = Cell("absent", None, "")
        elif reference is not None:
            value = draw(reference, _draw_class(measure, side in abnormal, rng), references.percentiles, rng)
            cells[measure, side] = replace(cell, value=value, text=f"{value:g}")
    return replace(row, cells=cells)


def _draw_class(measure: str, abnormal: bool, rng: np.random.Generator) -> str:
    """Mostly normal; else beyond the abnormal end in an abnormal nerve, and borderline or beyond the other end in a
    healthy one."""
    if rng.random() >= (ABNORMAL_VALUE if abnormal else UNUSUAL_VALUE):
        return "normal"
    end = abnormal_end(measure)
    return str(rng.choice([name for name in CLASSES if (
        name.endswith(end) if abnormal else name.startswith("borderline") or not name.endswith(end))]))


def _judge_by(references: References) -> Callable[[Item, float], Judgement | None]:
    """Direction and severity of an abnormal value, by where it lies among the references."""
    def judge(item: Item, value: float) -> Judgement | None:
        reference = references.of(item)
        name = abnormality(reference, value, references.percentiles) if reference else "normal"
        if reference is None or not name.endswith(abnormal_end(item.measure)):
            return None
        far = abs(deviation(reference, value))
        grade = "severe" if far > SEVERE else "moderate" if far > MODERATE else "mild"
        return abnormal_end(item.measure), "borderline" if name.startswith("borderline") else grade

    return judge
