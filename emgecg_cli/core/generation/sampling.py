"""How the next token is chosen: penalties on what was written so far, and sampling that knows no batch.

Sampling is the Gumbel-max trick: the largest of (log-probability + Gumbel noise) is a draw from the distribution. Each
record has noise of its own, from its id and the seed, so its report does not depend on the records beside it, their
order, or which process writes it (`models/noise.py`); `generate` itself stays greedy.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList
from transformers.generation.logits_process import (
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from emgecg_cli.core.config import GenerateConfig
from emgecg_cli.core.models.noise import GumbelNoise, noise_of


class OnReport(LogitsProcessor):
    """Applies a processor to what has been written of the report, without prompt and padding.

    On the prompt it would depend on the fusion: some give `generate` the prompt's ids, some only their embeddings.
    """

    def __init__(self, inner: LogitsProcessor) -> None:
        self.inner = inner
        self.prompt: int | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """input_ids (B, T), scores (B, vocabulary) -> scores."""
        if self.prompt is None:
            self.prompt = input_ids.shape[1]
        written = input_ids[:, self.prompt:]
        return self.inner(written, scores) if written.shape[1] else scores


def processors(config: GenerateConfig, record_ids: Sequence[str], device: torch.device) -> LogitsProcessorList:
    """What a batch of these records needs, in Hugging Face's order; new ones for each batch, since they count steps."""
    chosen: list[LogitsProcessor] = [OnReport(penalty) for penalty in penalties(config)]
    if config.samples:
        chosen += warpers(config)
        chosen.append(GumbelNoise([noise_of(config.seed, name, device) for name in record_ids]))
    return LogitsProcessorList(chosen)


def penalties(config: GenerateConfig) -> list[LogitsProcessor]:
    """What looks at the report as far as it is written."""
    chosen: list[LogitsProcessor] = []
    if config.repetition_penalty is not None:
        chosen.append(RepetitionPenaltyLogitsProcessor(config.repetition_penalty))
    if config.no_repeat_ngram_size is not None:
        chosen.append(NoRepeatNGramLogitsProcessor(config.no_repeat_ngram_size))
    return chosen


def warpers(config: GenerateConfig) -> list[LogitsProcessor]:
    """What shapes the distribution that is sampled from."""
    chosen: list[LogitsProcessor] = []
    if config.temperature is not None:
        chosen.append(TemperatureLogitsWarper(config.temperature))
    if config.top_k is not None:
        chosen.append(TopKLogitsWarper(config.top_k))
    if config.top_p is not None:
        chosen.append(TopPLogitsWarper(config.top_p))
    return chosen


def penalise(scores: Tensor, written: Sequence[Sequence[int]], chosen: Sequence[LogitsProcessor]) -> Tensor:
    """Penalties on scores (B, vocabulary) of rows that have written unlike many tokens; rows of one length go
    together."""
    if not chosen:
        return scores
    by_length: dict[int, list[int]] = {}
    for row, report in enumerate(written):
        by_length.setdefault(len(report), []).append(row)
    by_length.pop(0, None)
    scores = scores.clone()
    for rows in by_length.values():
        ids = torch.tensor([list(written[row]) for row in rows], device=scores.device)
        part = scores[rows]
        for penalty in chosen:
            part = penalty(ids, part)
        scores[rows] = part
    return scores
