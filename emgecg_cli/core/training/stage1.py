"""Stage 1 of EMGLLM: before any report, the encoder learns to say where single values lie among their references.

Two tasks that need no labels: the class of a value, and the phrase a report would have for it. Values are drawn so that
all classes are about as frequent. The backbone is frozen, unless its weights are random and could say nothing.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import exp, log
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import set_seed
from torch import nn

from emgecg_cli.core.config import TrainConfig
from emgecg_cli.core.emg.case import item_of
from emgecg_cli.core.emg.terms import SIDES
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.instructions.render import text_of, values_of
from emgecg_cli.core.models.report_model import ReportModel
from emgecg_cli.core.references import CLASSES, PERCENTILES, Reference, abnormality
from emgecg_cli.core.references.table import BORDERLINE, MARKED, SD_PER_MAD
from emgecg_cli.core.training.batches import BatchPlan
from emgecg_cli.core.training.checkpoint import CHECKPOINTS, load_state, save_state
from emgecg_cli.core.training.data import TextRecords, render_all
from emgecg_cli.core.training.inputs import Tables
from emgecg_cli.core.training.loop import Progress, run_loop
from emgecg_cli.core.training.objective import Objective
from emgecg_cli.core.training.parallel import Parallel
from emgecg_cli.core.training.setup import optimizer_maker
from emgecg_cli.core.training.value_words import class_word, item_text, phrase, question
from emgecg_cli.core.training.values import Messages, Values, reference_of_matrix

FOLDER = "stage1"
MOST_RECORDS = 16384  # different ones; a longer stage 1 sees them again
FARTHEST = 6.0  # robust standard deviations from the median
DIGITS = 3  # of a drawn value: as many as tables hold


@dataclass(frozen=True)
class Range:
    """An item and its limits. `matrix` holds them where they came with a record; `item` is then its name there."""

    item: str
    reference: Reference
    matrix: Sequence[Sequence[float]] | None = None


@dataclass(frozen=True)
class SingleValues:
    """Conversations about one value each, with what the encoder is shown of them."""

    conversations: list[Messages]
    languages: list[str]
    values: Values

    def messages(self, index: int) -> Messages:
        """The conversation, its value shown as in the tables."""
        return self.values.shown(self.conversations[index], _name(index), self.languages[index])

    def signal(self, index: int) -> np.ndarray:
        """float32 (1, 3, 7); none where values are text."""
        return self.values.matrices(self.messages(index), _name(index))


def single_values(inputs: Tables, config: TrainConfig) -> SingleValues:
    """The records of stage 1: drawn from the references, or from the matrices that came with the train split.

    Raises MedReportError where there is neither.
    """
    split = inputs.store.indices("train").tolist()
    ranges = _ranges(inputs, split)
    languages = [str(inputs.store.column("language")[index]) for index in split]
    count = min(MOST_RECORDS, config.stage1_steps * config.batch_size * config.gradient_accumulation)
    rng = np.random.default_rng([config.seed, 1])
    held = inputs.values.references
    lines = held.percentiles if held else PERCENTILES
    drawn = [languages[i] for i in rng.integers(len(languages), size=count)]
    made = [conversation(ranges[int(rng.integers(len(ranges)))], language, lines, rng) for language in drawn]
    return SingleValues(made, drawn, inputs.values)


def texts_of(records: SingleValues) -> list[str]:
    """All prompts and answers, for a tokenizer."""
    return sorted({text_of(turn["content"]) for talk in records.conversations for turn in talk})


def conversation(of: Range, language: str, percentiles: tuple[float, ...], rng: np.random.Generator) -> Messages:
    """A question about a value drawn from a class drawn evenly, and its answer."""
    value = draw_value(of.reference, str(rng.choice(CLASSES)), percentiles, rng)
    name = abnormality(of.reference, value, percentiles)
    side = str(rng.choice(SIDES))
    item = of.item if of.matrix is not None else item_of(of.item)
    part: dict[str, Any] = {"type": "value", "item": of.item, "side": side, "value": value}
    if of.matrix is not None:
        upper, _, lower = of.matrix
        part = {"type": "value", "item": of.item, "matrix": [upper, [value] * len(upper), lower]}
    task = str(rng.choice(("class", "phrase")))
    answer = class_word(name, language) if task == "class" else phrase(item, side, name, language)
    return [{"role": "user", "content": [{"type": "text", "text": f"{item_text(item, side, language)}|"}, part,
                                         {"type": "text", "text": f"\n{question(task, language)}"}]},
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


def run_stage1(parallel: Parallel, model: ReportModel, tokenizer: Any, records: SingleValues, out: Path,
               config: TrainConfig, progress: Progress | None) -> None:
    """Train the encoder, or take what a killed run had trained; its weights then lie beside the checkpoints.

    Every process of the group calls this. The random state afterwards is the same in both cases.
    """
    own = replace(config, steps=config.stage1_steps)
    rendered = render_all(map(records.messages, range(len(records.conversations))),
                          np.arange(len(records.conversations)), tokenizer, config.max_length, model.placeholders)
    items = TextRecords(records, rendered, np.zeros((len(rendered.indices), 0), bool), tokenizer.pad_token_id)
    plan = BatchPlan(rendered.lengths, config.batch_size * parallel.world, config.seed, parallel.world, smallest=1)
    objective = Objective(model, torch.zeros(0), weight=0.0, eos=tokenizer.eos_token_id, eos_weight=1.0)
    kept, folder = out / CHECKPOINTS / f"{FOLDER}.safetensors", out / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with _frozen(model.backbone, config.backbone != "tiny"):
        prepared, optimizer = parallel.prepare(objective, optimizer_maker(config))
        parallel.barrier()
        if kept.is_file():
            parallel.load(prepared, optimizer, load_state(kept), {})
        else:
            run_loop(parallel, prepared, optimizer, items, plan, own, folder, progress=progress)
            weights, _ = parallel.state(prepared, None)
            if parallel.is_main:
                save_state(kept, weights)
        parallel.barrier()
        if parallel.is_main:
            shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    optimizer.zero_grad()
    set_seed(config.seed + parallel.rank)


def _log(value: float) -> float:
    return log(max(value, 1e-9))


@contextmanager
def _frozen(module: nn.Module, freeze: bool) -> Iterator[None]:
    """Let no parameter of the module train, if asked."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad and freeze]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


def _ranges(inputs: Tables, split: list[int]) -> list[Range]:
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
    return f"{FOLDER}-{index}"
