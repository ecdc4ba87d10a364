"""Records from store and instructions, as the loop takes them: what a batch holds."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from emgecg_cli.core import names
from emgecg_cli.core.inputs.items import ITEMS, stack_items
from emgecg_cli.core.inputs.rendered import Split
from emgecg_cli.core.inputs.values import Messages
from emgecg_cli.core.inputs.visits import Visits
from emgecg_cli.core.instructions.render import IGNORE_INDEX
from emgecg_cli.core.models.preprocessing import Preprocessing


@dataclass(frozen=True)
class Totals:
    """What an optimiser step holds, over its batches and all processes: answer tokens that carry loss, and records."""

    tokens: int
    records: int


class Records(Protocol):
    """A training set: map-style, with the function that makes a batch of its items."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Any: ...

    def collate(self, items: Sequence[Any]) -> Any:
        """Items -> a batch with `indices`, `seeds`, `to(device)`, and `network_input()`: what the towers take."""

    def totals(self, indices: np.ndarray) -> Totals:
        """What these records add to a step."""


class ShownRecords(Protocol):
    """What is shown of records: `Inputs`, or drawn ones."""

    def messages(self, index: int) -> Messages: ...

    def arrays(self, index: int) -> dict[str, np.ndarray]: ...

    def lacking(self, index: int) -> tuple[str, ...]: ...

    def placeholders(self, index: int, counts: Mapping[str, int] | None) -> dict[str, int] | None: ...


@dataclass(frozen=True)
class Item:
    """One record: its inputs by name, token ids (T), length of the prompt, targets bool (K), its number, and the inputs
    that are blank."""

    inputs: dict[str, np.ndarray]
    tokens: np.ndarray
    prompt: int
    targets: np.ndarray
    index: int = 0
    lacking: tuple[str, ...] = ()


@dataclass(frozen=True)
class Batch:
    """inputs by name, (B, …) as their sources give them; input_ids, attention_mask, labels (B, T), padded behind;
    targets float32 (B, K).

    `present` bool (B) says which records have an input; one that is not named there all have. `preprocessing` is what
    the towers make network input by. `prompt` holds `prompt_ids` and `prompt_mask` (B, S) for an encoder-decoder
    backbone, whose `input_ids` are its decoder's alone; else nothing. `answers_from` is the first position any answer
    begins at, known here so that no step has to ask the device. `indices` are the records' numbers, `seeds` what random
    choices about each depend on: the loop fills them in.
    """

    inputs: dict[str, Tensor]
    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    targets: Tensor
    prompt: dict[str, Tensor]
    answers_from: int
    indices: list[int]
    present: dict[str, Tensor] = field(default_factory=dict)
    preprocessing: Mapping[str, Preprocessing] = field(default_factory=dict)
    seeds: list[int] = field(default_factory=list)

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        moved: dict[str, Any] = {name: value.to(device, non_blocking=True) for name, value in vars(self).items()
                                 if isinstance(value, Tensor)}
        for each in ("inputs", "present", "prompt"):
            moved[each] = {name: value.to(device, non_blocking=True) for name, value in getattr(self, each).items()}
        return replace(self, **moved)

    def network_input(self) -> dict[str, Tensor]:
        """What the towers take, by name."""
        return {name: prepare(self.inputs[name]) for name, prepare in self.preprocessing.items() if name in self.inputs}

    @property
    def scale(self) -> float:
        """Microvolts in a unit of network input of recordings."""
        return self.preprocessing["ecg"].scale


def stacked(arrays: Sequence[Mapping[str, np.ndarray]], lacking: Sequence[Collection[str]]) \
        -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The inputs of some records by name, (B, …), and of those that some records lack which have them, bool (B)."""
    stack = {name: stack_items if name == ITEMS else names.resolve("input", name).stack for name in arrays[0]}
    inputs = {name: torch.from_numpy(stack[name]([one[name] for one in arrays])) for name in arrays[0]}
    present = {name: torch.tensor([name not in one for one in lacking]) for name in inputs
               if any(name in one for one in lacking)}
    return inputs, present


@dataclass(frozen=True)
class TextRecords:
    """A rendered split as a data set; what `shown` gives is asked for when a record is.

    `targets` bool (records, K) are what the encoder should predict besides. `pad` fills short rows; `decoder_start` is
    an encoder-decoder backbone's first decoder token, None for a causal one. `preprocessing` is the model's. With
    `visits` each visit of a record shows it otherwise.
    """

    shown: ShownRecords
    rendered: Split
    targets: np.ndarray
    pad: int
    decoder_start: int | None = None
    preprocessing: Mapping[str, Preprocessing] = field(default_factory=dict)
    visits: Visits | None = None

    def __len__(self) -> int:
        return len(self.rendered.indices)

    def __getitem__(self, i: int) -> Item:
        index = int(self.rendered.indices[i])
        tokens, prompt = self.rendered.conversation(i)
        return Item(self.shown.arrays(index), tokens, prompt, self.targets[i], i, self.shown.lacking(index))

    def visit(self, i: int, epoch: int) -> Item:
        """A record as one visit of it shows it; its answer, and so what it adds to a step, stays the same."""
        if self.visits is None:
            return self[i]
        index = int(self.rendered.indices[i])
        tokens, prompt = self.rendered.conversation(i)
        instead, seed = self.visits.of(index, i, epoch)
        if instead:
            shorter = self.visits.prompt(index, instead)
            tokens, prompt = np.concatenate([shorter, tokens[prompt:]]), len(shorter)
        shown = self.visits.inputs
        return Item(shown.arrays(index, instead, seed), tokens, prompt, self.targets[i], i,
                    shown.lacking(index, instead))

    def totals(self, indices: np.ndarray) -> Totals:
        """Answer tokens and records among these."""
        sizes = self.rendered.sizes(indices)
        return Totals(int((sizes[:, 0] - sizes[:, 1]).sum()), len(indices))

    def collate(self, items: Sequence[Item]) -> Batch:
        """Stack items, each conversation in a row of its own."""
        prompt: dict[str, Tensor] = {}
        rows, starts = [item.tokens for item in items], [item.prompt for item in items]
        if self.decoder_start is not None:
            prompt["prompt_ids"], prompt["prompt_mask"] = self._padded([item.tokens[:item.prompt] for item in items])
            rows = [np.concatenate([[self.decoder_start], item.tokens[item.prompt:]]) for item in items]
            starts = [1] * len(items)
        ids, mask = self._padded(rows)
        positions = torch.arange(ids.shape[1])
        answers = mask.bool() & (positions >= torch.tensor(starts)[:, None])
        inputs, present = stacked([item.inputs for item in items], [item.lacking for item in items])
        return Batch(inputs, ids, mask, torch.where(answers, ids, IGNORE_INDEX),
                     torch.from_numpy(np.stack([item.targets for item in items]).astype(np.float32)), prompt,
                     min(starts), [item.index for item in items], present, self.preprocessing)

    def _padded(self, rows: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
        shape = len(rows), max(len(row) for row in rows)
        ids, mask = np.full(shape, self.pad, np.int64), np.zeros(shape, np.int64)
        for i, row in enumerate(rows):
            ids[i, :len(row)] = row
            mask[i, :len(row)] = 1
        return torch.from_numpy(ids), torch.from_numpy(mask)
