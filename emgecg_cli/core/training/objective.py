"""The loss of one batch: report tokens, and what the encoder is asked to predict besides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emgecg_cli.core.inputs.batch import Batch, Totals
from emgecg_cli.core.instructions.render import IGNORE_INDEX
from emgecg_cli.core.models.report_model import ReportModel


@dataclass(frozen=True)
class Losses:
    """Scalars of one batch, each its share of the step's: `total` is differentiated, `parts` are for the log."""

    total: Tensor
    parts: dict[str, Tensor]


class Objective(nn.Module):
    """The model with the linear head that supervises its features; the head is not part of a finished run.

    `shares` (K) are the shares of training records that hold each target, none without an encoder loss; `weight` is
    that loss's. `end` are the tokens that end a report, which count `eos_weight` each.
    """

    def __init__(self, model: ReportModel, shares: Tensor, *, weight: float, end: Sequence[int],
                 eos_weight: float) -> None:
        super().__init__()
        self.model = model
        self.head: nn.Linear | None = None
        if len(shares):
            self.head = nn.Linear(model.towers[model.supervised].encoder.width, len(shares))  # type: ignore[index]
            # Rare targets start as rare: AdamW would move a bias there by one learning rate a step.
            self.head.bias.data.copy_(torch.logit(shares, eps=0.01))
        self.weight = weight
        self.end = tuple(end)
        self.eos_weight = eos_weight

    def forward(self, inputs: dict[str, Tensor], batch: Batch, totals: Totals) -> Losses:
        """Losses of a batch as its share of a step.

        `inputs` are network input by name, (B, …). `totals` count the whole step, so that accumulated batches of unlike
        size, and those of other processes, weigh as one large batch does.
        """
        # Only what predicts an answer token goes through the output head: prompts would cost a vocabulary each.
        first = batch.answers_from
        logits, features = self.model(inputs, batch.input_ids, batch.attention_mask,
                                      logits_to_keep=batch.labels.shape[1] - first + 1, present=batch.present,
                                      **batch.prompt)
        answers = batch.labels[:, first:]
        labels = answers.flatten()
        predicted = logits[:, :-1].flatten(0, 1).float()  # (B, T - first, V) -> (B * (T - first), V)
        each = F.cross_entropy(predicted, labels, ignore_index=IGNORE_INDEX, reduction="none")
        report = torch.where(ends_in(answers, self.end).flatten(), each * self.eos_weight, each).sum() / totals.tokens
        if self.head is None:
            return Losses(report, {"report": report.detach()})
        there = batch.present.get(str(self.model.supervised))  # a record without that input says nothing of its encoder
        summed = F.binary_cross_entropy_with_logits(self.head(features.float()), batch.targets, reduction="sum",
                                                    weight=None if there is None else there[:, None].float())
        encoder = summed / batch.targets.shape[1] / totals.records
        return Losses(report + self.weight * encoder, {"report": report.detach(), "encoder": encoder.detach()})


def ends_in(labels: Tensor, end: Sequence[int]) -> Tensor:
    """Which labels (B, T) are those of an `end`, whole and in its order; bool (B, T)."""
    marked = torch.zeros_like(labels, dtype=torch.bool)
    count = labels.shape[1] - len(end) + 1
    if count < 1:
        return marked
    found = torch.ones_like(labels[:, :count], dtype=torch.bool)
    for place, token in enumerate(end):
        found &= labels[:, place:place + count] == token
    for place in range(len(end)):
        marked[:, place:place + count] |= found
    return marked
