"""What the formulas of other systems share: they cut words at blanks, and take every text for English."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.metrics.text.meteor import Meteor
from emgecg_cli.core.metrics.text.tokens import Tokens, lacks_blanks


def without_blanks(rows: Sequence[PredictionRow]) -> str | None:
    """Why formulas that cut at blanks do not apply, where they do not."""
    if any(lacks_blanks(row.language, row.reference or "") for row in rows):
        return "it cuts words at blanks, and some of these reports have none"
    return None


def as_english(rows: Sequence[PredictionRow]) -> list[PredictionRow]:
    """Rows for METEOR, which NLTK takes for English whatever they are."""
    return [PredictionRow("", "", "", language="en")] * len(rows)


def meteor_at_blanks(hypotheses: list[str], references: list[str], rows: Sequence[PredictionRow]) -> np.ndarray:
    """NLTK's METEOR (n,) of words between blanks, in lower case."""
    meteor = Meteor(tokens=Tokens(_lower_words, "whitespace-lc"))
    return meteor.segment_statistics(hypotheses, references, as_english(rows))[:, 0]


def _lower_words(text: str) -> list[str]:
    return text.lower().split()
