"""A few predictions, and what is asked of their scores."""

from __future__ import annotations

from metric_corpora import rows_of

from emgecg_cli.core.evaluation.score import Scores

MOST_FREQUENT, RANDOM = "baseline: most frequent train report", "baseline: random train report"
TEXT = ["bleu", "meteor", "rouge", "cider"]
VALUES = ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-1", "ROUGE-2", "ROUGE-L", "CIDEr-D"]
TRAIN = ["sinus rhythm. normal ecg", "atrial fibrillation", "sinus rhythm. normal ecg", "  "]
ROWS = rows_of([("sinus rhythm. normal ecg", "sinus rhythm. normal ecg"), ("atrial fibrillation", "atrial flutter"),
                ("", "left axis deviation"), ("sinus rhythm", "sinus rhythm. normal ecg")])


def has_note(scores: Scores, *parts: str) -> bool:
    return any(all(part in note for part in parts) for note in [*scores.caveats, *scores.notes])
