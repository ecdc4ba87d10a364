"""Training records from store and instructions: what a batch holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.instructions.build import Instructions
from emgecg_cli.core.instructions.render import IGNORE_INDEX, render
from emgecg_cli.core.store import Store


@dataclass(frozen=True)
class RenderedSplit:
    """The conversations of the training split as token ids, all in one array, so that 800,000 of them fit in memory.

    `indices` (records) are rows of the store. Record i has `tokens[starts[i]:starts[i + 1]]`, of which the first
    `prompts[i]` are its prompt. `truncated` counts the answers that were cut.
    """

    indices: np.ndarray
    tokens: np.ndarray
    starts: np.ndarray
    prompts: np.ndarray
    truncated: int

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each record."""
        return np.diff(self.starts)

    def conversation(self, i: int) -> np.ndarray:
        """Token ids of prompt and answer."""
        return self.tokens[self.starts[i]:self.starts[i + 1]]

    def answer(self, i: int) -> np.ndarray:
        """Token ids of the answer, its EOS included."""
        return self.conversation(i)[self.prompts[i]:]


def render_split(store: Store, instructions: Instructions, tokenizer: Any, max_length: int) -> RenderedSplit:
    """Render the training split; raises MedReportError when it is empty or a record has no instruction."""
    indices = store.indices("train")
    if len(indices) == 0:
        raise MedReportError(f"{store.path}: no record in the train split", "prepare it with another --split")
    rows = instructions.of(store.records["record_id"].gather(indices).to_list())
    pieces, prompts, truncated = [], [], 0
    for row in rows:
        rendered = render(row.messages, tokenizer, max_length)
        pieces.append(np.array(rendered.input_ids, np.int32))
        prompts.append(rendered.labels.count(IGNORE_INDEX))
        truncated += rendered.truncated
    starts = np.concatenate([[0], np.cumsum([len(piece) for piece in pieces])])
    return RenderedSplit(indices, np.concatenate(pieces), starts, np.array(prompts), truncated)


@dataclass(frozen=True)
class Item:
    """One training record: signal int16 (C, L), token ids (T), length of the prompt, targets bool (K)."""

    signal: np.ndarray
    tokens: np.ndarray
    prompt: int
    targets: np.ndarray


@dataclass(frozen=True)
class TrainingRecords:
    """The training split as a data set; signals stay in the store's memory map until a record is asked for."""

    store: Store
    rendered: RenderedSplit
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.rendered.indices)

    def __getitem__(self, i: int) -> Item:
        return Item(self.store.signal(int(self.rendered.indices[i])), self.rendered.conversation(i),
                    int(self.rendered.prompts[i]), self.targets[i])


@dataclass(frozen=True)
class Batch:
    """signal int16 (B, C, L); input_ids, attention_mask, labels (B, T), padded behind; targets float32 (B, K).

    `answers_from` is the first position any answer begins at, `answer_tokens` how many tokens carry loss: known here,
    so that no step has to ask the device.
    """

    signal: Tensor
    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    targets: Tensor
    answers_from: int
    answer_tokens: int

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        moved: dict[str, Any] = {name: value.to(device, non_blocking=True) for name, value in vars(self).items()
                                 if isinstance(value, Tensor)}
        return replace(self, **moved)


@dataclass(frozen=True)
class Collate:
    """Turns records into a batch; a class, so that loader workers can receive it."""

    pad: int

    def __call__(self, items: Sequence[Item]) -> Batch:
        shape = len(items), max(len(item.tokens) for item in items)
        ids, mask = torch.full(shape, self.pad), torch.zeros(shape, dtype=torch.long)
        labels = torch.full(shape, IGNORE_INDEX)
        for row, item in enumerate(items):
            length, tokens = len(item.tokens), torch.from_numpy(item.tokens.astype(np.int64))
            ids[row, :length] = tokens
            mask[row, :length] = 1
            labels[row, item.prompt:length] = tokens[item.prompt:]
        return Batch(torch.from_numpy(np.stack([item.signal for item in items])), ids, mask, labels,
                     torch.from_numpy(np.stack([item.targets for item in items]).astype(np.float32)),
                     min(item.prompt for item in items), sum(len(item.tokens) - item.prompt for item in items))
