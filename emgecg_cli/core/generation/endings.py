"""When a report has ended by words rather than by a token: "###", say, which any tokens may spell."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import StoppingCriteria, StoppingCriteriaList

from emgecg_cli.core.instructions.turns import TurnEnd


class EndsWithWords(StoppingCriteria):
    """Ends each row by itself once the words stand in what it has written; the prompt is not looked at."""

    def __init__(self, words: str, tokenizer: Any) -> None:
        self.words = words
        self.tokenizer = tokenizer
        self.prompt: int | None = None
        self.enough = len(words.encode()) + 1  # no token is shorter than a byte, and one more may hold their start

    def __call__(self, input_ids: Tensor, scores: Any, **more: Any) -> Tensor:
        """input_ids (B, T) -> bool (B)."""
        if self.prompt is None:
            self.prompt = input_ids.shape[1] - 1  # asked for the first time after the first token
        tails = input_ids[:, max(self.prompt, input_ids.shape[1] - self.enough):].tolist()
        said = [self.words in self.tokenizer.decode(tail, skip_special_tokens=True) for tail in tails]
        return torch.tensor(said, device=input_ids.device)


def endings(turn: TurnEnd, tokenizer: Any) -> StoppingCriteriaList:
    """What ends the reports of a batch besides tokens; new ones for each batch, since they count steps."""
    return StoppingCriteriaList([EndsWithWords(turn.text, tokenizer)] if turn.text else [])
