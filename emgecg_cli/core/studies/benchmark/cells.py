"""The cells of a benchmark: which runs there are, and what each is to write reports on."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from emgecg_cli.core.config import ALL_SPLITS, TrainConfig
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.recipes import resolve_train_config
from emgecg_cli.core.studies.benchmark.config import PRODUCT, UNTUNED, WITH, WITHOUT, BackboneSpec, Benchmark

# One step that moves no weight: a run of the backbone as it came, with a new encoder.
_UNTUNED: dict[str, Any] = {"steps": 1, "learning_rate": 1e-30, "encoder_learning_rate": None, "select": "last",
                            "word_steps": 0, "word_loss": 0.0, "stage1_steps": 0, "encoder_loss": "none"}
_NO_NAME = re.compile(r"[^A-Za-z0-9.]+")


@dataclass(frozen=True)
class RunSpec:
    """A model to be trained: on which source, from which backbone and encoder (None: the recipe's), tuned how, and on
    a pool of how many prompts (0 without any)."""

    source: str
    backbone: BackboneSpec
    encoder: str | None
    tuned: str
    prompts: int

    @property
    def instructions(self) -> str:
        """What is told apart in the instructions of a source."""
        return f"{self.prompts}-prompts" if self.prompts else "no-prompts"

    @property
    def name(self) -> str:
        """The name of its folder."""
        how = UNTUNED if self.tuned == UNTUNED else self.instructions
        parts = (self.source, self.backbone.label, self.encoder, how)
        return "-".join(_NO_NAME.sub("-", part).strip("-") for part in parts if part)

    def labels(self) -> dict[str, str]:
        """What tables say of it."""
        return {"backbone": self.backbone.label, "encoder": self.encoder or "", "instruction tuning": self.tuned,
                "prompts": str(self.prompts) if self.tuned == WITH else "", "trained on": self.source}

    def config(self, benchmark: Benchmark) -> TrainConfig:
        """Its settings; raises MedReportError as `train` does."""
        settings: dict[str, Any] = {"seed": benchmark.seed, **benchmark.train, **self.backbone.settings}
        if self.encoder:
            settings["encoder"] = self.encoder
        try:
            config = resolve_train_config(settings.pop("recipe", None), **settings)
            return replace(config, **_UNTUNED) if self.tuned == UNTUNED else config
        except MedReportError as error:
            raise MedReportError(f"{self.name}: {error.message}", error.hint) from None


@dataclass(frozen=True)
class Cell:
    """A run and what it writes reports on: a split of a source."""

    run: RunSpec
    target: str
    split: str = "test"

    @property
    def name(self) -> str:
        """The name of its predictions and scores."""
        return f"{self.run.name}-on-{self.target}"

    def labels(self) -> dict[str, str]:
        """What tables say of it."""
        return self.run.labels() | {"written on": self.target}


def cells_of(task: str, benchmark: Benchmark) -> list[Cell]:
    """The cells of a task in the order in which they are made. Raises MedReportError where there are none."""
    runs = {source: list(_grid(source, benchmark)) for source in benchmark.train_on}
    folders = [run.name for own in runs.values() for run in own]
    if twice := next((name for name in folders if folders.count(name) > 1), None):
        raise MedReportError(f"two models would lie in one folder, {twice}",
                             "give their backbones names that differ in letters and digits")
    if task == "zero-shot":
        return _transfers(runs, benchmark)
    return [Cell(run, source) for source, own in runs.items() for run in own]


def _transfers(runs: dict[str, list[RunSpec]], benchmark: Benchmark) -> list[Cell]:
    """Every run on all of each other source; first, where there is one, the same model trained on that source."""
    cells = []
    for target in benchmark.written_on:
        cells += [Cell(run, target) for run in runs.get(target, ())]
        cells += [Cell(run, target, ALL_SPLITS) for source, own in runs.items() if source != target for run in own]
    if not any(cell.split == ALL_SPLITS for cell in cells):
        raise MedReportError("no source is written on but those that models are trained on",
                             "zero-shot needs a second source: name it in sources, and in written_on")
    return cells


def _grid(source: str, benchmark: Benchmark) -> Iterator[RunSpec]:
    """The product of the axes, or each axis varied from the first value of all."""
    tuned = [(how, prompts) for how in benchmark.tuned
             for prompts in (benchmark.prompts if how == WITH else [0] if how == WITHOUT else benchmark.prompts[:1])]
    axes = (benchmark.backbones, benchmark.encoders, tuned)
    if benchmark.grid == PRODUCT:
        chosen = list(itertools.product(*axes))
    else:
        first = tuple(axis[0] for axis in axes)
        varied = [(*first[:i], value, *first[i + 1:]) for i, axis in enumerate(axes) for value in axis[1:]]
        chosen = [first, *varied]  # type: ignore[list-item]
    for backbone, encoder, (how, prompts) in chosen:
        yield RunSpec(source, backbone, encoder, how, prompts)
