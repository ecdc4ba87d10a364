"""Texts that the tests of the metrics share."""

from __future__ import annotations

import random

from emgecg_cli.core.artifacts import PredictionRow

_TEXT = """sinus rhythm bradycardia tachycardia normal ecg ecgs abnormal abnormality otherwise with rapid ventricular
response atrial fibrillation fast quick heart cardiac block blocks . , ( ) V4 0.12 s st-t T the a of inverted inversion
1. e.g. st. aVF. Edit: don't "quoted" & &amp; <skipped> - -- ... % 50% flimmern Ä ueber"""
WORDS = [*_TEXT.split(), "\t", "\n"]

DEGENERATE = [
    ("", "sinus rhythm"), ("   \n", "sinus rhythm."), ("sinus", "sinus"), ("ecg", "normal"), ("a b", "a b"),
    ("sinus rhythm. normal ecg", "sinus rhythm. normal ecg"), ("...", "sinus rhythm. normal ecg."), (".", "."),
    ("sinus sinus sinus", "sinus"), ("sinus", "sinus sinus sinus sinus"), ("pr 0.12 s", "pr 0.12 s, qrs 0.1 s"),
    ("t-negativität\tseitlich", "verlÄngerung der überleitung"), ("窦性心律", "窦性心动过缓 V4"),
    ("<|assistant|>\nsinus rhythm", "sinus rhythm"), ("\x00 sinus", "\x00 rhythm"),
    ("\u2028 sinus\xa0rhythm", "sinus rhythm"),
]


def random_pairs(n: int, seed: int, longest: int = 20) -> list[tuple[str, str]]:
    """Pairs of texts of 0 to `longest` words, references never blank; half of the hypotheses are edited references."""
    rng = random.Random(seed)
    pairs = []
    for _ in range(n):
        reference = [rng.choice(WORDS) for _ in range(rng.randrange(longest + 1))] + ["rhythm"]
        hypothesis = [word for word in reference if rng.random() < 0.8] if rng.random() < 0.5 else [
            rng.choice(WORDS) for _ in range(rng.randrange(longest + 1))]
        pairs.append((" ".join(hypothesis), " ".join(reference)))
    return pairs


def rows_of(pairs: list[tuple[str, str]], language: str | None = "en") -> list[PredictionRow]:
    """A row per pair, numbered."""
    return [PredictionRow(str(number), hypothesis, reference, language=language)
            for number, (hypothesis, reference) in enumerate(pairs)]


def columns(pairs: list[tuple[str, str]]) -> tuple[list[str], list[str]]:
    """Hypotheses and references."""
    return [hypothesis for hypothesis, _ in pairs], [reference for _, reference in pairs]
