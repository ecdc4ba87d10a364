"""The loss of group-relative policy optimisation on one batch of records."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from emgecg_cli.core.inputs.batch import Batch, Totals
from emgecg_cli.core.instructions.render import IGNORE_INDEX
from emgecg_cli.core.models.output_head import OutputHead, output_head
from emgecg_cli.core.training.grpo.rewards import PARTS, Reward, advantages
from emgecg_cli.core.training.grpo.rollouts import Sampler, Sequences, sequences_of
from emgecg_cli.core.training.objective import LOGITS_AT_ONCE, Losses, losses_in_chunks, token_losses

VALUES = ("advantage", "reward", *PARTS)   # of a drawn report
NO_TOKEN = -1


class Starting:
    """The weights that training starts from: copies of those that train, and of no others."""

    def __init__(self, module: nn.Module) -> None:
        self._held = [(parameter, parameter.detach().clone()) for parameter in module.parameters()
                      if parameter.requires_grad]

    @contextmanager
    def back(self) -> Iterator[None]:
        """Inside, the weights are those of the start."""
        now = [parameter.data for parameter, _ in self._held]
        self._held = [(parameter, start.to(parameter.device)) for parameter, start in self._held]
        try:
            for parameter, start in self._held:
                parameter.data = start
            yield
        finally:
            for (parameter, _), data in zip(self._held, now, strict=True):
                parameter.data = data


@dataclass(frozen=True)
class _Warm(OutputHead):
    """An output head whose logits are divided by a temperature."""

    temperature: float = 1.0

    def logits(self, states: Tensor) -> Tensor:
        return super().logits(states) / self.temperature


class GrpoObjective(nn.Module):
    """Draws reports from the model, rewards them, and makes those likelier that are better than the others of their
    record.

    The loss of a report is the mean over its tokens of the clipped ratio times its advantage, and `kl` times the
    divergence from the start, estimated without bias and never negative (Schulman's k3). Model and towers stay in
    evaluation mode, so that what is drawn and what is asked for its likelihood are one distribution. With several
    `inner_steps` the reports, their rewards and what they were worth when drawn are buffers, and so of a checkpoint.
    """

    output: OutputHead | None

    def __init__(self, sampler: Sampler, reward: Reward, *, kl: float, clip: float, inner_steps: int, accumulation: int,
                 largest_batch: int) -> None:
        super().__init__()
        self.model = sampler.model
        self.sampler, self.reward = sampler, reward
        self.kl, self.clip, self.inner_steps, self.accumulation = kl, clip, inner_steps, accumulation
        self.start = Starting(self.model) if kl else None
        own = output_head(self.model.backbone)
        self.output = None if own is None else _Warm(own.base, sampler.temperature)
        self.calls: Tensor
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        if inner_steps > 1:
            shape = accumulation, largest_batch * sampler.samples
            self.kept_ids: Tensor
            self.kept_logs: Tensor
            self.kept_values: Tensor
            self.register_buffer("kept_ids", torch.full((*shape, sampler.limit), NO_TOKEN))
            self.register_buffer("kept_logs", torch.zeros(*shape, sampler.limit))
            self.register_buffer("kept_values", torch.zeros(*shape, len(VALUES)))

    def train(self, mode: bool = True) -> GrpoObjective:
        """Training mode for the objective alone."""
        super().train(mode)
        self.model.eval()
        return self

    def forward(self, inputs: dict[str, Tensor] | None, batch: Batch, totals: Totals) -> Losses:
        """The loss of a batch as its share of a step; `batch.seeds` decide what is drawn."""
        step, place = divmod(int(self.calls), self.accumulation)
        fresh = step % self.inner_steps == 0
        reports, values = self._drawn(inputs, batch) if fresh else self._kept(batch, place)
        rows = sequences_of(batch, reports, self.sampler.samples, self.sampler.tokenizer.pad_token_id,
                            self._decoder_start)
        logs, there = self._likelihoods(inputs, batch, rows)
        before = logs.detach() if fresh else self._kept_likelihoods(there, place)
        if fresh and self.inner_steps > 1:
            self._keep(reports, values, logs.detach(), there, place)
        self.calls += 1
        return self._loss(inputs, batch, rows, logs, before, there, values, totals)

    def _loss(self, inputs: dict[str, Tensor] | None, batch: Batch, rows: Sequences, logs: Tensor, before: Tensor,
              there: Tensor, values: Tensor, totals: Totals) -> Losses:
        ratio = (logs - before).exp()
        advantage = values[:, :1]
        gained = torch.minimum(ratio * advantage, ratio.clamp(1 - self.clip, 1 + self.clip) * advantage)
        tokens = there.sum(1).clamp(min=1)
        share = 1 / (self.sampler.samples * totals.records)
        kl = torch.zeros_like(logs)
        if self.start is not None:
            with torch.no_grad(), self.start.back():
                reference, _ = self._likelihoods(inputs, batch, rows)
            kl = (reference - logs).exp() - (reference - logs) - 1

        def mean(each: Tensor) -> Tensor:
            return ((each * there).sum(1) / tokens).sum() * share

        parts = {name: values[:, i].sum() * share for i, name in enumerate(VALUES) if name != "advantage"}
        parts |= {"kl": mean(kl.detach()), "tokens": tokens.sum() * share}
        if self.inner_steps > 1:
            parts["clipped"] = mean((gained.detach() < (ratio * advantage).detach()).float())
        return Losses(mean(self.kl * kl - gained), parts)

    def _drawn(self, inputs: dict[str, Tensor] | None, batch: Batch) -> tuple[list[list[int]], Tensor]:
        """Reports of the records, and VALUES of each (R, 5)."""
        reports = self.sampler.draw(inputs, batch)
        numbers = [number for number in batch.indices for _ in range(self.sampler.samples)]
        parts = []
        for number, ids in zip(numbers, reports, strict=True):
            text, ended = self.sampler.turn.report(ids, self.sampler.tokenizer)
            parts.append(self.reward.parts(number, text, len(ids), ended))
        rewards = np.array([self.reward.total(one) for one in parts])
        better = advantages(rewards.reshape(-1, self.sampler.samples)).ravel()
        values = np.column_stack([better, rewards, *([one[name] for one in parts] for name in PARTS)])
        return reports, torch.from_numpy(values.astype(np.float32)).to(batch.input_ids.device)

    def _likelihoods(self, inputs: dict[str, Tensor] | None, batch: Batch, rows: Sequences) -> tuple[Tensor, Tensor]:
        """The log-probability of each token of the reports at the temperature they are drawn at, 0 beside them, and
        where the tokens are: (R, T) each."""
        answers = rows.labels[:, rows.answers_from:]
        labels = answers.flatten()
        run = partial(self.model, inputs, rows.input_ids, rows.attention_mask, logits_to_keep=answers.shape[1] + 1,
                      present=batch.present, repeats=self.sampler.samples, **rows.prompt)
        if self.output is None or labels.numel() * self.output.vocabulary <= LOGITS_AT_ONCE:
            logits, _ = run()
            each = token_losses(logits[:, :-1].flatten(0, 1).float() / self.sampler.temperature, labels)
        else:
            with self.output.aside() as states:
                run()
            each = losses_in_chunks(self.output, states[0][:, :-1].flatten(0, 1), labels)
        return -each.view_as(answers), answers != IGNORE_INDEX

    def _keep(self, reports: list[list[int]], values: Tensor, logs: Tensor, there: Tensor, place: int) -> None:
        """Keep what was drawn for the steps that follow."""
        self.kept_ids[place].fill_(NO_TOKEN)
        self.kept_values[place, :len(values)] = values
        for row, ids in enumerate(reports):
            self.kept_ids[place, row, :len(ids)] = torch.tensor(ids, device=logs.device)
            self.kept_logs[place, row, :len(ids)] = logs[row, there[row]]

    def _kept(self, batch: Batch, place: int) -> tuple[list[list[int]], Tensor]:
        rows = len(batch.indices) * self.sampler.samples
        reports = [[token for token in ids if token != NO_TOKEN] for ids in self.kept_ids[place, :rows].tolist()]
        return reports, self.kept_values[place, :rows].clone()

    def _kept_likelihoods(self, there: Tensor, place: int) -> Tensor:
        found = torch.zeros(there.shape, device=there.device)
        for row in range(len(there)):
            found[row, there[row]] = self.kept_logs[place, row, :int(there[row].sum())]
        return found

    @property
    def _decoder_start(self) -> int | None:
        return int(self.model.backbone.config.decoder_start_token_id) if self.model.encoder_decoder else None  # type: ignore
