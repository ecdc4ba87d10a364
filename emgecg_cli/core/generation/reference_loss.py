"""The loss of each record's own report, given what the model is shown: it tells whether a signal is seen long before
the texts do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from emgecg_cli.core.generation.shown import Shown
from emgecg_cli.core.inputs.batch import TextRecords
from emgecg_cli.core.inputs.rendered import render_all
from emgecg_cli.core.models.backbones import positions_of
from emgecg_cli.core.models.report_model import ReportModel
from emgecg_cli.core.training.objective import Objective

_DIGITS = 6
_ANY_LENGTH = 1 << 30


@torch.no_grad()
def reference_losses(model: ReportModel, tokenizer: Any, shown: Shown, indices: Sequence[int], batch_size: int,
                     device: torch.device) -> dict[int, float]:
    """Nats a token of the reference of each record that has one, its end included, every token counting alike.

    `indices` are rows of the store, and keys of what is returned. A reference that goes beyond the model's positions is
    cut there.
    """
    reports = shown.inputs.store.column("report")
    there = np.array([i for i in indices if reports[i] is not None], np.int64)
    if not len(there):
        return {}
    backbone: Any = model.backbone
    # an encoder-decoder has its positions for prompt and report each
    longest = _ANY_LENGTH if model.encoder_decoder else positions_of(backbone) or _ANY_LENGTH
    rendered = render_all(shown, there, tokenizer, longest, model.placeholders)
    start = int(backbone.config.decoder_start_token_id) if model.encoder_decoder else None
    records = TextRecords(shown, rendered, np.zeros((len(there), 0), bool), tokenizer.pad_token_id, start,
                          model.preprocessing)
    objective = Objective(model, torch.zeros(0), weight=0.0, end=(), eos_weight=1.0).eval()
    losses: dict[int, float] = {}
    for numbers in _batches(rendered.lengths, batch_size):
        batch = records.collate([records[number] for number in numbers]).to(device)
        inputs = None if shown.nothing else batch.network_input()
        each = objective(inputs, batch, records.totals(np.array(numbers))).each
        losses |= {int(there[number]): round(loss, _DIGITS) for number, loss in
                   zip(numbers, each.tolist(), strict=True)}
    return losses


def _batches(lengths: np.ndarray, size: int) -> Iterator[list[int]]:
    """Numbers of records that are about as long, some at a time."""
    order = np.argsort(lengths, kind="stable").tolist()
    for at in range(0, len(order), size):
        yield order[at:at + size]
