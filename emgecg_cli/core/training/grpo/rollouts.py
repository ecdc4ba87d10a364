"""Reports drawn from a model for the records of a batch, and the batch that asks how likely they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, TemperatureLogitsWarper

from emgecg_cli.core.inputs.batch import Batch
from emgecg_cli.core.instructions.render import IGNORE_INDEX
from emgecg_cli.core.instructions.turns import TurnEnd
from emgecg_cli.core.models.endings import endings
from emgecg_cli.core.models.noise import GumbelNoise, noise_of
from emgecg_cli.core.models.report_model import ReportModel, pad_prompts


@dataclass(frozen=True)
class Sampler:
    """How reports are drawn: `samples` of each record, at a temperature, of up to `limit` tokens."""

    model: ReportModel
    tokenizer: Any
    turn: TurnEnd
    samples: int
    temperature: float
    limit: int

    @torch.no_grad()
    def draw(self, inputs: dict[str, Tensor] | None, batch: Batch) -> list[list[int]]:
        """Token ids of the reports, those of a record behind each other, each up to its end. What is drawn for a record
        depends on its seed in the batch, and on nothing beside it."""
        prompts = [prompt for prompt in prompts_of(batch) for _ in range(self.samples)]
        ids, mask = pad_prompts(prompts, self.tokenizer.pad_token_id, self.model.fusion.padding_side)
        device = batch.input_ids.device
        noise = [noise_of(seed, str(number), device) for seed in batch.seeds for number in range(self.samples)]
        settings = GenerationConfig(
            max_new_tokens=self.limit, do_sample=False, pad_token_id=self.tokenizer.pad_token_id,
            bos_token_id=self.tokenizer.bos_token_id, eos_token_id=list(self.turn.stop),
            decoder_start_token_id=getattr(self.model.backbone.config, "decoder_start_token_id", None))
        written = self.model.generate(
            inputs, ids.to(device), mask.to(device), batch.present, self.samples, generation_config=settings,
            logits_processor=LogitsProcessorList([TemperatureLogitsWarper(self.temperature), GumbelNoise(noise)]),
            stopping_criteria=endings(self.turn, self.tokenizer))
        return [self._up_to_its_end(row) for row in written.tolist()]

    def _up_to_its_end(self, ids: list[int]) -> list[int]:
        at = next((i for i, token in enumerate(ids) if token in self.turn.stop), len(ids) - 1)
        return ids[:at + 1]


@dataclass(frozen=True)
class Sequences:
    """Drawn reports behind their prompts, (R, T) as the model takes them: labels are the reports' tokens, `prompt` and
    `answers_from` as of `Batch`."""

    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    prompt: dict[str, Tensor]
    answers_from: int


def prompts_of(batch: Batch) -> list[list[int]]:
    """Token ids of the prompts of a batch."""
    if batch.prompt:
        rows = zip(batch.prompt["prompt_ids"].tolist(), batch.prompt["prompt_mask"].tolist(), strict=True)
        return [[token for token, there in zip(ids, mask, strict=True) if there] for ids, mask in rows]
    starts = (batch.labels != IGNORE_INDEX).int().argmax(1).tolist()
    return [ids[:start] for ids, start in zip(batch.input_ids.tolist(), starts, strict=True)]


def sequences_of(batch: Batch, reports: Sequence[Sequence[int]], samples: int, pad: int, decoder_start: int | None
                 ) -> Sequences:
    """The reports of a batch's records behind their prompts."""
    device = batch.input_ids.device
    heads: list[list[int]] = [[int(decoder_start)]] * len(reports) if decoder_start is not None else \
        [prompt for prompt in prompts_of(batch) for _ in range(samples)]
    ids, mask = pad_prompts([[*head, *report] for head, report in zip(heads, reports, strict=True)], pad, "right")
    places = torch.arange(ids.shape[1])
    answers = mask.bool() & (places >= torch.tensor([len(head) for head in heads])[:, None])
    prompt = {name: value.repeat_interleave(samples, 0) for name, value in batch.prompt.items()}
    return Sequences(ids.to(device), mask.to(device), torch.where(answers, ids, IGNORE_INDEX).to(device), prompt,
                     min(map(len, heads)))
