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
from emgecg_cli.core.models.report_model import Joined, ReportModel
from emgecg_cli.core.models.word_alignment import WordAlignment

LOGITS_AT_ONCE = 1 << 25  # 134 MB in fp32, some four times that at the peak


@dataclass(frozen=True)
class Losses:
    """Scalars of one batch, each its share of the step's: `total` is differentiated, `parts` are for the log.

    `each` (B) is the loss of each report, nats a token, every token counting alike; None where there are no reports.
    """

    total: Tensor
    parts: dict[str, Tensor]
    each: Tensor | None = None


class Objective(nn.Module):
    """The model with a linear head for each tower that supervises its features; heads are not part of a finished run.

    `shares` (K) are the shares of training records that hold each target, none without an encoder loss; `weight` is
    that loss's. `alignment` asks signal tokens for the words of the report, with a weight of `word_weight`. `end` are
    the tokens that end a report, which count `eos_weight` each. The logits of a long batch are made and forgotten a few
    tokens at a time, where the `output` head can be had on its own; set it to None where not.
    """

    def __init__(self, model: ReportModel, shares: Tensor, *, weight: float, end: Sequence[int], eos_weight: float,
                 alignment: WordAlignment | None = None, word_weight: float = 0.0) -> None:
        super().__init__()
        self.model = model
        self.heads = nn.ModuleDict({name: _head(model.towers[name].encoder.width, shares)
                                    for name in model.supervised} if len(shares) else {})
        self.weight = weight
        self.end = tuple(end)
        self.eos_weight = eos_weight
        self.alignment = alignment if word_weight else None
        self.word_weight = word_weight
        self.output = output_head(model.backbone)

    def forward(self, inputs: dict[str, Tensor] | None, batch: Batch, totals: Totals) -> Losses:
        """Losses of a batch as its share of a step.

        `inputs` are network input by name, (B, …), None for text alone. `totals` count the whole step, so that
        accumulated batches of unlike size, and those of other processes, weigh as one large batch does.
        """
        # Only what predicts an answer token goes through the output head: prompts would cost a vocabulary each.
        answers = batch.labels[:, batch.answers_from:]
        tokens, seen = self._token_losses(inputs, batch, answers)
        total = report = (tokens * torch.where(ends_in(answers, self.end), self.eos_weight, 1.0)).sum() / totals.tokens
        parts = {"report": report.detach()}
        asked = [self._encoder_loss(name, seen.features[name], batch) for name in self.heads if name in seen.features]
        if asked:
            encoder = torch.stack(asked).sum() / totals.records
            total, parts["encoder"] = total + self.weight * encoder, encoder.detach()
        if self.alignment is not None and seen.tokens is not None:
            words = self.alignment(seen.tokens, batch.labels, seen.valid) / totals.records
            total, parts["words"] = total + self.word_weight * words, words.detach()
        counts = (answers != IGNORE_INDEX).sum(1).clamp(min=1)
        return Losses(total, parts, tokens.detach().sum(1) / counts)

    def _token_losses(self, inputs: dict[str, Tensor] | None, batch: Batch, answers: Tensor) -> tuple[Tensor, Joined]:
        """The loss of each of the `answers` (B, T), and what the towers saw."""
        labels = answers.flatten()
        run = partial(self.model, inputs, batch.input_ids, batch.attention_mask, logits_to_keep=answers.shape[1] + 1,
                      present=batch.present, **batch.prompt)
        if self.output is None or labels.numel() * self.output.vocabulary <= LOGITS_AT_ONCE:
            logits, seen = run()
            each = token_losses(logits[:, :-1].flatten(0, 1), labels)  # (B, T, V) -> (B * T, V)
        else:
            with self.output.aside() as states:
                _, seen = run()
            each = losses_in_chunks(self.output, states[0][:, :-1].flatten(0, 1), labels)
        return each.view_as(answers), seen

    def _encoder_loss(self, name: str, features: Tensor, batch: Batch) -> Tensor:
        """The mean loss a target of one tower's features, summed over the records of a batch."""
        there = batch.present.get(name)  # a record without that input supervises nothing
        summed = F.binary_cross_entropy_with_logits(self.heads[name](features.float()), batch.targets, reduction="sum",
                                                    weight=None if there is None else there[:, None].float())
        return summed / batch.targets.shape[1]


def _head(width: int, shares: Tensor) -> nn.Linear:
    head = nn.Linear(width, len(shares))
    # Rare targets start as rare: AdamW would move a bias there by one learning rate a step.
    head.bias.data.copy_(torch.logit(shares, eps=0.01))
    return head


def token_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of logits (N, V) against each of the labels (N), in fp32; 0 where there is none."""
    return F.cross_entropy(logits.float(), labels, ignore_index=IGNORE_INDEX, reduction="none")


def losses_in_chunks(head: OutputHead, states: Tensor, labels: Tensor) -> Tensor:
    """`token_losses` of the logits a head makes of states (N, D), of a few tokens at a time.

    Nothing of a chunk is kept but its states: its logits are made again in the backward pass.
    """
    def chunk(some: Tensor, targets: Tensor) -> Tensor:
        return token_losses(head.logits(some), targets)

    size = max(1, LOGITS_AT_ONCE // head.vocabulary)
    # Split, not sliced one by one: the gradient of each slice would be as large as all states.
    parts = zip(states.split(size), labels.split(size), strict=True)
    return torch.cat([checkpoint(chunk, *part, use_reentrant=False) for part in parts])


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
