"""A chunk of records, so many at once, in which the place of a report that has ended goes to the next record.

A static batch runs until its longest report ends, and most of its steps are spent on rows that ended long before. Here
rows come and go, in an order that the records alone decide, so that a chunk made again is the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor

from emgecg_cli.core.config import GenerateConfig
from emgecg_cli.core.generation.sampling import penalise, penalties, warpers
from emgecg_cli.core.instructions.turns import TurnEnd
from emgecg_cli.core.models.decoding import Rows
from emgecg_cli.core.models.endings import ends_with_words
from emgecg_cli.core.models.noise import noise_of, with_noise

SHARE = 8  # rows are exchanged when one in so many has ended: each exchange reads their prompts together
Begin = Callable[[list[int]], tuple[Rows, Tensor]]


@dataclass
class Choice:
    """How the next token of each row is chosen, and when a report has ended."""

    config: GenerateConfig
    limit: int
    turn: TurnEnd
    tokenizer: Any
    penalties: list[LogitsProcessor] = field(init=False)
    warpers: list[LogitsProcessor] = field(init=False)

    def __post_init__(self) -> None:
        self.penalties = penalties(self.config)
        self.warpers = warpers(self.config) if self.config.samples else []

    def next_tokens(self, logits: Tensor, reports: Sequence[Report]) -> Tensor:
        """Logits (B, vocabulary) -> token ids (B)."""
        scores = penalise(logits.float(), [report.ids for report in reports], self.penalties)
        for warper in self.warpers:
            scores = warper(torch.empty(0), scores)
        if self.config.samples:
            scores = with_noise(scores, [report.noise for report in reports if report.noise is not None])
        return scores.argmax(-1)

    def ended(self, report: Report) -> bool:
        """Whether a report has ended, or has as many tokens as it may have."""
        if report.ids[-1] in self.turn.stop or len(report.ids) >= self.limit:
            return True
        return bool(self.turn.text) and ends_with_words(report.ids, str(self.turn.text), self.tokenizer)


@dataclass
class Report:
    """A report being written: which record of the chunk it is of, its tokens, its noise where tokens are drawn."""

    record: int
    noise: torch.Generator | None
    ids: list[int] = field(default_factory=list)
    ended: bool = False


def write_refilled(record_ids: Sequence[str], begin: Begin, choice: Choice, longest: int, device: torch.device,
                   told: Callable[[int], None]) -> list[list[int]]:
    """The tokens of a report of each record, as many records at once as a batch has. `begin` reads the prompts of some
    records, by number, of up to `longest` tokens; `told` hears how many reports have ended."""
    config, size, most = choice.config, choice.config.batch_size, longest + choice.limit
    found = [Report(i, noise_of(config.seed, name, device) if config.samples else None)
             for i, name in enumerate(record_ids)]
    waiting, writing, ended = found[size:], found[:size], 0
    rows, logits = begin([report.record for report in writing])
    tokens = choice.next_tokens(logits, writing)
    while writing:
        before, ended = ended, ended + _append(writing, tokens.tolist(), choice)
        enough = 1 if rows.mask.shape[1] >= most else len(writing) // SHARE
        while waiting and len(places := _ended(writing)) >= max(1, min(enough, len(waiting))):
            new, waiting = waiting[:len(places)], waiting[len(places):]
            places = places[:len(new)]
            others, first = begin([report.record for report in new])
            at = torch.tensor(places, device=tokens.device)
            rows.replace(at, others)
            tokens = tokens.index_copy(0, at, chosen := choice.next_tokens(first, new))
            for place, report in zip(places, new, strict=True):
                writing[place] = report
            ended += _append(new, chosen.tolist(), choice)
        if ended > before:
            told(ended)
        if not waiting:
            writing, tokens = _without_ended(rows, writing, tokens, enough)
        if writing:
            logits = rows.step(tokens, torch.tensor([not report.ended for report in writing], device=device))
            tokens = choice.next_tokens(logits, writing)
    return [report.ids for report in found]


def _ended(writing: Sequence[Report]) -> list[int]:
    """The places of reports that have ended."""
    return [at for at, report in enumerate(writing) if report.ended]


def _append(writing: Sequence[Report], tokens: Sequence[int], choice: Choice) -> int:
    """Give each report that has not ended its next token; returns how many end with it."""
    ends = 0
    for report, token in zip(writing, tokens, strict=True):
        if not report.ended:
            report.ids.append(token)
            report.ended = choice.ended(report)
            ends += report.ended
    return ends


def _without_ended(rows: Rows, writing: list[Report], tokens: Tensor,
                   enough: int) -> tuple[list[Report], Tensor]:
    """Drop the rows that have ended, once they are `enough` or all."""
    left = [at for at, report in enumerate(writing) if not report.ended]
    if not left or len(writing) - len(left) < max(1, enough):
        return (writing if left else []), tokens
    index = torch.tensor(left, device=tokens.device)
    rows.keep(index)
    return [writing[at] for at in left], tokens[index]
