"""Training records from store and instructions: what a batch holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.instructions.build import Instructions
from emgecg_cli.core.instructions.render import IGNORE_INDEX, Rendered, render
from emgecg_cli.core.store import Store


@dataclass(frozen=True)
class TrainingRecords:
    """The training split, rendered: `indices` into the store, one `Rendered` and one row of `targets` each.

    Indexing gives one record; signals stay in the store's memory map until then.
    """

    store: Store
    indices: np.ndarray
    rendered: list[Rendered]
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, i: int) -> tuple[np.ndarray, Rendered, np.ndarray]:
        return self.store.signal(int(self.indices[i])), self.rendered[i], self.targets[i]


def render_split(store: Store, instructions: Instructions, tokenizer: Any, max_length: int) -> \
        tuple[np.ndarray, list[Rendered]]:
    """Indices and rendered conversations of the training split.

    Raises MedReportError when there is none, or a record has no instruction.
    """
    indices = store.indices("train")
    if len(indices) == 0:
        raise MedReportError(f"{store.path}: no record in the train split", "prepare it with another --split")
    rows = instructions.of(store.records["record_id"].gather(indices).to_list())
    return indices, [render(row.messages, tokenizer, max_length) for row in rows]


@dataclass(frozen=True)
class Batch:
    """signal int16 (B, C, L); input_ids, attention_mask, labels (B, T), padded behind; targets (B, K)."""

    signal: Tensor
    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    targets: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in vars(self).values()))


@dataclass(frozen=True)
class Collate:
    """Turns records into a batch; a class, so that loader workers can receive it."""

    pad: int

    def __call__(self, items: Sequence[tuple[np.ndarray, Rendered, np.ndarray]]) -> Batch:
        longest = max(len(rendered.input_ids) for _, rendered, _ in items)

        def padded(sequences: list[list[int]], value: int) -> Tensor:
            return torch.tensor([s + [value] * (longest - len(s)) for s in sequences])

        return Batch(
            signal=torch.from_numpy(np.stack([signal for signal, _, _ in items])),
            input_ids=padded([r.input_ids for _, r, _ in items], self.pad),
            attention_mask=padded([[1] * len(r.input_ids) for _, r, _ in items], 0),
            labels=padded([r.labels for _, r, _ in items], IGNORE_INDEX),
            targets=torch.from_numpy(np.stack([targets for _, _, targets in items])))
