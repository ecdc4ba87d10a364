"""What stage 1 of EMGLLM asks: where a value drawn from the references lies, and what a report would say of it.

Nothing of this needs a label. Values are drawn so that all classes are about as frequent. Each record depends on the
seed and its number alone, so that none is kept: a longer stage 1 sees new ones to its end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, log
from typing import Any

import numpy as np

from emgecg_cli.core.config import TrainConfig
from emgecg_cli.core.emg.case import NcvRow, item_of
from emgecg_cli.core.emg.terms import SIDES
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.inputs.drawn.whole_tables import draw_table, readable
from emgecg_cli.core.inputs.drawn.words import class_word, item_text, language_of, phrase, question
from emgecg_cli.core.inputs.records import Inputs
from emgecg_cli.core.inputs.values import Messages, Values, reference_of_matrix
from emgecg_cli.core.instructions.render import text_of, values_of
from emgecg_cli.core.references import CLASSES, PERCENTILES, Reference, abnormality
from emgecg_cli.core.references.table import BORDERLINE, MARKED, SD_PER_MAD

# Of the records of stage 1, where all tasks are asked for; in a table there is more to learn than in one value
SHARES = {"class": 1, "phrase": 1, "table": 4}
FARTHEST = 6.0  # robust standard deviations from the median
DIGITS = 3  # of a drawn value: as many as tables hold
MOST_TEXTS = 4096  # for a tokenizer


@dataclass(frozen=True)
class Range:
    """An item and its limits. `matrix` holds them where they came with a record; `item` is then its name there."""

    item: str
    reference: Reference
    matrix: Sequence[Sequence[float]] | None = None


@dataclass(frozen=True)
class Drawn:
    """`count` conversations about drawn values, and what the encoder is shown of them.

    Answers are in the `languages` of the train split; `words` is the language of what they are about, or "record", as
    `build-instructions` has it. `tables` are those of the train split, whose rows the task "table" takes.
    """

    count: int
    seed: int
    tasks: tuple[str, ...]
    languages: list[str]
    words: str
    ranges: list[Range]
    tables: list[tuple[NcvRow, ...]]
    layout: str
    values: Values

    def messages(self, index: int) -> Messages:
        """The conversation, its values shown as in the tables."""
        talk, words = self._draw(index)
        return self.values.shown(talk, _name(index), words)

    def arrays(self, index: int) -> dict[str, np.ndarray]:
        """Values alone, float32 (R, 3, 7), and what names them; no row where they are text."""
        talk, words = self._draw(index)
        said = self.values.shown(talk, _name(index), words)
        return {"values": self.values.matrices(said, _name(index))} | self.values.items(said, words)

    def lacking(self, index: int) -> tuple[str, ...]:
        """Nothing else is shown, and so nothing is blank."""
        return ()

    def placeholders(self, index: int, counts: Mapping[str, int] | None) -> dict[str, int] | None:
        """Those of values, of all of a model's."""
        return None if counts is None else {part: count if part == "value" else 0 for part, count in counts.items()}

    def texts(self) -> list[str]:
        """Prompts and answers, as many as a tokenizer needs."""
        return sorted({text_of(turn["content"]) for index in range(min(self.count, MOST_TEXTS))
                       for turn in self._draw(index)[0]})

    def _draw(self, index: int) -> tuple[Messages, str]:
        """The conversation, and the language of its words."""
        rng = np.random.default_rng([self.seed, 1, index])
        language = language_of(self.languages[int(rng.integers(len(self.languages)))])
        words = language if self.words == "record" else self.words
        shares = np.array([SHARES[task] for task in self.tasks])
        task = self.tasks[int(rng.choice(len(shares), p=shares / shares.sum()))]
        held = self.values.references
        if task == "table" and held:
            rows = self.tables[int(rng.integers(len(self.tables)))]
            return draw_table(rows, held, language, words, self.layout, draw_value, rng), words
        of = self.ranges[int(rng.integers(len(self.ranges)))]
        return conversation(task, of, language, words, held.percentiles if held else PERCENTILES, rng), words


def drawn_records(inputs: Inputs, config: TrainConfig) -> Drawn:
    """The records of stage 1: drawn from the references, or from the matrices that came with the train split.

    The task "table" is of records that have tables; those in the form for language models leave it out. Raises
    MedReportError where there is nothing to draw from.
    """
    assert inputs.values is not None
    split = inputs.store.indices("train").tolist()
    ranges, asked = _ranges(inputs, split), config.stage1_tasks.split(",")
    tables = _tables(inputs, split) if "table" in asked else []
    tasks = tuple(task for task in asked if tables or task != "table")
    if not tasks:
        raise MedReportError(f"{inputs.store.path}: no tables for --stage1-tasks {config.stage1_tasks}",
                             "give --stage1-tasks class,phrase")
    made = inputs.instructions.manifest.arguments
    return Drawn(config.stage1_steps * config.batch_size * config.gradient_accumulation, config.seed, tasks,
                 [str(inputs.store.column("language")[index]) for index in split], made["language"], ranges, tables,
                 made["layout"], inputs.values)


def conversation(task: str, of: Range, language: str, words: str, percentiles: tuple[float, ...],
                 rng: np.random.Generator) -> Messages:
    """A question in the language `words` about a value drawn from a class drawn evenly, and its answer in `language`;
    `task` is "class" or "phrase"."""
    value = draw_value(of.reference, str(rng.choice(CLASSES)), percentiles, rng)
    name = abnormality(of.reference, value, percentiles)
    side = str(rng.choice(SIDES))
    item = of.item if of.matrix is not None else item_of(of.item)
    part: dict[str, Any] = {"type": "value", "item": of.item, "side": side, "value": value}
    if of.matrix is not None:
        upper, _, lower = of.matrix
        part = {"type": "value", "item": of.item, "matrix": [upper, [value] * len(upper), lower]}
    answer = class_word(name, language) if task == "class" else phrase(item, side, name, language)
    return [{"role": "user", "content": [{"type": "text", "text": f"{item_text(item, side, words)}|"}, part,
                                         {"type": "text", "text": f"\n{question(task, words)}"}]},
            {"role": "assistant", "content": answer}]


def draw_value(reference: Reference, wanted: str, percentiles: tuple[float, ...], rng: np.random.Generator) -> float:
    """A value of the wanted class, or of one beside it where the class has no room, with as many digits as tables have.

    Normal and borderline values lie evenly between their lines, abnormal ones up to 6 robust standard deviations out.
    """
    scale, back = (_log, exp) if reference.logarithmic else (float, float)
    side = -1 if wanted.endswith("low") else 1
    nearest = max((i for i, p in enumerate(percentiles) if p <= BORDERLINE), default=0)
    lines, middle = reference.lower if side < 0 else reference.upper, scale(reference.median)
    inner, outer = scale(lines[nearest]), scale(lines[0])
    spread = SD_PER_MAD * reference.mad or abs(outer - middle) / 2.05  # 2 % of a normal distribution: 2.05 SD out
    marked = side * max(side * outer, side * middle + MARKED * spread)
    far = side * max(side * marked + spread, side * middle + FARTHEST * spread)
    between = {"normal": (scale(reference.lower[nearest]), scale(reference.upper[nearest])),
               "borderline": (inner, outer), "markedly": (marked, far)}.get(wanted.split()[0], (outer, marked))
    drawn = back(float(rng.uniform(min(between), max(between))))
    if not reference.logarithmic and reference.median > 0:
        drawn = max(drawn, 0.05 * reference.median)
    return float(f"{drawn:.{DIGITS}g}")


def _log(value: float) -> float:
    return log(max(value, 1e-9))


def _tables(inputs: Inputs, split: list[int]) -> list[tuple[NcvRow, ...]]:
    """Of the train split, what findings can be written of; none where no value has a reference."""
    if not inputs.values or not inputs.values.references or not inputs.values.references.entries:
        return []
    cases = [inputs.store.case(index).case for index in split]
    return [rows for case in cases if case and (rows := readable(case.ncv))]


def _ranges(inputs: Inputs, split: list[int]) -> list[Range]:
    assert inputs.values is not None
    held = inputs.values.references
    if held and held.entries:
        return [Range(key, reference) for key, reference in sorted(held.entries.items())]
    found: dict[str, Range] = {}
    rows = inputs.instructions.of(inputs.store.column("record_id").gather(split).to_list())
    for row in rows:
        for part in values_of(row.messages):
            if "matrix" in part and part["item"] not in found:
                found[part["item"]] = Range(part["item"], reference_of_matrix(part["item"], part["matrix"],
                                                                              row.record_id), part["matrix"])
    if not found:
        raise MedReportError(f"{inputs.values.source}: no references to draw values from",
                             "give --stage1-steps 0, or a file with --references")
    return list(found.values())


def _name(index: int) -> str:
    return f"stage1-{index}"
