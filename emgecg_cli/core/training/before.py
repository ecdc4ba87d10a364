"""What is measured before the first step: how long signal tokens should be, and whether they drown the text."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from emgecg_cli.core.inputs.batch import TextRecords
from emgecg_cli.core.inputs.rendered import RenderedSplit, Split
from emgecg_cli.core.models import token_length
from emgecg_cli.core.models.report_model import ReportModel
from emgecg_cli.core.training.augment import network_input
from emgecg_cli.core.training.parallel import Parallel

FIRST = 32  # records that are looked at: the two losses differ by nats where something is wrong
FAR = 1.0  # nats a token


def match_tokens(model: ReportModel, records: TextRecords) -> list[float]:
    """Measure the length of signal tokens on the text of the first records, and give it to them; see `token_length`."""
    text = without_placeholders(records.rendered, token_length.ROWS)
    rows = [text.conversation(i)[0].tolist() for i in range(len(text.indices))]
    lengths = token_length.measure(model, rows, records.pad)
    token_length.match(model, lengths)
    return lengths


@torch.no_grad()
def losses_with_and_without(parallel: Parallel, objective: nn.Module, records: TextRecords, batch_size: int) \
        -> tuple[float, float]:
    """The mean loss of the first records' reports (nats a token) with what they show, and of their text alone, in
    batches that fit (collective)."""
    training, some = objective.training, range(min(FIRST, len(records)))
    bare = replace(records, rendered=without_placeholders(records.rendered, len(some)))
    totals, means = records.totals(np.array(some)), []
    objective.eval()
    for which, shows in ((records, True), (bare, False)):
        each = []
        for start in range(0, len(some), batch_size):
            batch = which.collate([which[i] for i in some[start:start + batch_size]])
            inputs, on_device = network_input(batch, parallel.device, 0, 0)
            with parallel.autocast():
                each.append(objective(inputs if shows else None, on_device, totals).each)
        means.append(float(torch.cat(each).mean()))
    objective.train(training)
    return means[0], means[1]


def drowned(with_signal: float, without: float) -> str | None:
    """What to say of the two losses before the first step; None where nothing is wrong."""
    if with_signal - without < FAR:
        return None
    return (f"before the first step reports cost {with_signal:.2f} nats a token with the signal and {without:.2f} "
            "without it: its tokens drown the text; --token-norm matched, or unit, makes them shorter")


def without_placeholders(rendered: Split, count: int) -> RenderedSplit:
    """The first conversations with no place for a signal."""
    pieces, prompts = [], []
    for i in range(min(count, len(rendered.indices))):
        tokens, prompt = rendered.conversation(i)
        pieces.append(tokens[tokens >= 0])
        prompts.append(int((tokens[:prompt] >= 0).sum()))
    starts = np.concatenate([[0], np.cumsum([len(piece) for piece in pieces])])
    return RenderedSplit(rendered.indices[:len(pieces)], np.concatenate(pieces), starts, np.array(prompts), 0)
