"""The loss of one batch: report tokens, and what the encoder is asked to predict besides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from emgecg_cli.core.inputs.batch import Batch, Totals
from emgecg_cli.core.instructions.render import IGNORE_INDEX
from emgecg_cli.core.models.output_head import OutputHead, output_head
from emgecg_cli.core.models.report_model import ReportModel

LOGITS_AT_ONCE = 1 << 25  # 134 MB in fp32, some four times that at the peak


@dataclass(frozen=True)
class Losses:
    """Scalars of one batch, each its share of the step's: `total` is differentiated, `parts` are for the log."""

    total: Tensor
    parts: dict[str, Tensor]


class Objective(nn.Module):
    """The model with the linear head that supervises its features; the head is not part of a finished run.

    `shares` (K) are the shares of training records that hold each target, none without an encoder loss; `weight` is
    that loss's. `end` are the tokens that end a report, which count `eos_weight` each. The logits of a long batch are
    made and forgotten a few tokens at a time, where the `output` head can be had on its own; set it to None where not.
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
        self.output = output_head(model.backbone)

    def forward(self, inputs: dict[str, Tensor], batch: Batch, totals: Totals) -> Losses:
        """Losses of a batch as its share of a step.

        `inputs` are network input by name, (B, …). `totals` count the whole step, so that accumulated batches of unlike
        size, and those of other processes, weigh as one large batch does.
        """
        # Only what predicts an answer token goes through the output head: prompts would cost a vocabulary each.
        answers = batch.labels[:, batch.answers_from:]
        labels, weights = answers.flatten(), self._weights(answers)
        run = partial(self.model, inputs, batch.input_ids, batch.attention_mask, logits_to_keep=answers.shape[1] + 1,
                      present=batch.present, **batch.prompt)
        if self.output is None or labels.numel() * self.output.vocabulary <= LOGITS_AT_ONCE:
            logits, features = run()
            summed = weighted_loss(logits[:, :-1].flatten(0, 1), labels, weights)  # (B, T, V) -> (B * T, V)
        else:
            with self.output.aside() as states:
                _, features = run()
            summed = loss_in_chunks(self.output, states[0][:, :-1].flatten(0, 1), labels, weights)
        report = summed / totals.tokens
        if self.head is None:
            return Losses(report, {"report": report.detach()})
        there = batch.present.get(str(self.model.supervised))  # a record without that input supervises nothing
        summed = F.binary_cross_entropy_with_logits(self.head(features.float()), batch.targets, reduction="sum",
                                                    weight=None if there is None else there[:, None].float())
        encoder = summed / batch.targets.shape[1] / totals.records
        return Losses(report + self.weight * encoder, {"report": report.detach(), "encoder": encoder.detach()})

    def _weights(self, answers: Tensor) -> Tensor:
        """What each answer token counts, (B * T)."""
        return torch.where(ends_in(answers, self.end), self.eos_weight, 1.0).flatten()


def weighted_loss(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy of logits (N, V) against labels (N), each times its weight (N), summed in fp32."""
    each = F.cross_entropy(logits.float(), labels, ignore_index=IGNORE_INDEX, reduction="none")
    return (each * weights).sum()


def loss_in_chunks(head: OutputHead, states: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """`weighted_loss` of the logits a head makes of states (N, D), of a few tokens at a time.

    Nothing of a chunk is kept but its states: its logits are made again in the backward pass.
    """
    def chunk(some: Tensor, *targets: Tensor) -> Tensor:
        return weighted_loss(head.logits(some), *targets)

    size = max(1, LOGITS_AT_ONCE // head.vocabulary)
    # Split, not sliced one by one: the gradient of each slice would be as large as all states.
    parts = zip(states.split(size), labels.split(size), weights.split(size), strict=True)
    return torch.stack([checkpoint(chunk, *part, use_reentrant=False) for part in parts]).sum()


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
