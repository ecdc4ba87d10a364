"""When a report has ended by words rather than by a token: "###", say, which any tokens may spell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import StoppingCriteria, StoppingCriteriaList

from emgecg_cli.core.instructions.turns import TurnEnd


def ends_with_words(ids: Sequence[int], words: str, tokenizer: Any) -> bool:
    """Whether the words stand at the end of what has been written."""
    enough = len(words.encode()) + 1  # no token is shorter than a byte, and one more may hold their start
    return words in tokenizer.decode(ids[-enough:], skip_special_tokens=True)


class EndsWithWords(StoppingCriteria):
    """Ends each row by itself once the words stand in what it has written; the prompt is not looked at."""

    def __init__(self, words: str, tokenizer: Any) -> None:
        self.words = words
        self.tokenizer = tokenizer
        self.prompt: int | None = None

    def __call__(self, input_ids: Tensor, scores: Any, **more: Any) -> Tensor:
        """input_ids (B, T) -> bool (B)."""
        if self.prompt is None:
            self.prompt = input_ids.shape[1] - 1  # asked for the first time after the first token
        said = [ends_with_words(ids, self.words, self.tokenizer) for ids in input_ids[:, self.prompt:].tolist()]
        return torch.tensor(said, device=input_ids.device)


def endings(turn: TurnEnd, tokenizer: Any) -> StoppingCriteriaList:
    """What ends the reports of a batch besides tokens; new ones for each batch, since they count steps."""
    return StoppingCriteriaList([EndsWithWords(turn.text, tokenizer)] if turn.text else [])
