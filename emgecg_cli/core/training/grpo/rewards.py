"""What a drawn report is rewarded for: what its recording says of it, its length, its form."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

from emgecg_cli.core.evidence import Evidence
from emgecg_cli.core.evidence.grounding import ground
from emgecg_cli.core.evidence.waveform import Waveform
from emgecg_cli.core.inputs.rendered import Split

TOO_LONG = 2.0   # times a long report: where nothing is left of the reward of length
PARTS = ("evidence", "length", "format")
_SEEN = 4096                # records whose waveforms are kept
_LOOKED_AT = 2048           # conversations whose lengths say what is usual
_SENTENCE = re.compile(r"[.;!?\n]+")


@dataclass(frozen=True)
class Reward:
    """`indices` are the store's rows of the records by their numbers; `long` is what 19 of 20 train reports do not
    exceed, in tokens, their ends included; weights are those of length and format beside the evidence's 1."""

    evidence: Evidence
    indices: np.ndarray
    long: float
    length_weight: float
    format_weight: float
    seen: dict[int, tuple[str, Waveform | None]] = field(default_factory=dict, repr=False)   # what was read of records

    def parts(self, number: int, text: str, tokens: int, ended: bool) -> dict[str, float]:
        """The parts of one report's reward, each from 0 to 1: the evidence score, 0 where the record has no recording;
        1 for a text no longer than `long`, falling to 0 at TOO_LONG times; 1 for one that ended and repeats no
        sentence.
        """
        if number not in self.seen:
            if len(self.seen) >= _SEEN:
                self.seen.clear()
            record = self.evidence.at(int(self.indices[number]))
            self.seen[number] = record.row.language, record.waveform
        language, of = self.seen[number]
        score = ground(text, language, of).score if of is not None else 0.0
        length = (TOO_LONG - tokens / self.long) / (TOO_LONG - 1)
        said = [" ".join(part.lower().split()) for part in _SENTENCE.split(text) if part.strip()]
        well_formed = ended and bool(said) and len(set(said)) == len(said)
        return {"evidence": score, "length": min(1.0, max(0.0, length)), "format": float(well_formed)}

    def total(self, parts: dict[str, float]) -> float:
        """The reward."""
        return parts["evidence"] + self.length_weight * parts["length"] + self.format_weight * parts["format"]


def lengths_of(split: Split) -> tuple[float, int]:
    """The length that 19 of 20 reports of a split do not exceed, and the longest; of many, of evenly spread ones."""
    count = len(split.indices)
    sizes = split.sizes(np.unique(np.linspace(0, count - 1, min(count, _LOOKED_AT)).astype(np.int64)))
    answers = sizes[:, 0] - sizes[:, 1]
    return float(np.quantile(answers, 0.95)), int(answers.max())


def advantages(rewards: np.ndarray) -> np.ndarray:
    """How much better each report is than the others of its record, in standard deviations: (records, samples), zero
    where all of a record's are alike."""
    spread = rewards.std(axis=1, keepdims=True)
    return (rewards - rewards.mean(axis=1, keepdims=True)) / (spread + 1e-4)
