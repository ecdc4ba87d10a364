"""Tokens that answers took, as the endpoint counted them, and what they cost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from emgecg_cli.core.errors import MedReportError

Tokens = tuple[int, int]  # of the prompt, of the completion


@dataclass(frozen=True)
class Prices:
    """What a million tokens of prompts, and of completions, cost."""

    prompt: float = 0.0
    completion: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.prompt < 1e9 and 0 <= self.completion < 1e9):
            raise MedReportError("a price is not a number of at least 0",
                                 "--price-in 2.5 --price-out 10, of a million tokens each")


@dataclass(frozen=True)
class Usage:
    """How many answers, and the tokens they took; `unreported` counts those whose tokens the endpoint did not say."""

    answers: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    unreported: int = 0

    @classmethod
    def of(cls, tokens: Iterable[Tokens | None]) -> Usage:
        """The sum over some answers."""
        found = list(tokens)
        known = [one for one in found if one is not None]
        return cls(len(found), sum(one[0] for one in known), sum(one[1] for one in known), len(found) - len(known))

    def cost(self, prices: Prices) -> float:
        """What they cost."""
        return (self.prompt_tokens * prices.prompt + self.completion_tokens * prices.completion) / 1e6

    def told(self, prices: Prices | None) -> dict[str, Any]:
        """For a manifest; empty where the endpoint told nothing."""
        if self.answers == self.unreported:
            return {}
        priced = {} if prices is None else {"price_in": prices.prompt, "price_out": prices.completion,
                                            "cost": round(self.cost(prices), 6)}
        return asdict(self) | priced


def spent(usage: Usage, prices: Prices | None) -> str:
    """Tokens and cost in words, part of a line."""
    if usage.answers == usage.unreported:
        return "tokens not reported by the endpoint"
    words = f"{usage.prompt_tokens:,} prompt and {usage.completion_tokens:,} completion tokens"
    if usage.unreported:
        words += f" ({usage.unreported} answers without a count)"
    return words if prices is None else \
        f"{words}, cost {usage.cost(prices):.4f} at {prices.prompt:g} and {prices.completion:g} a million"
