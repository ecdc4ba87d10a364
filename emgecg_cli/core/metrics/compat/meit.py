"""What MEIT (Wan et al. 2024) reports: its formulas on clean text, and its whole arithmetic.

The formulas: BLEU, ROUGE-L and CIDEr-D of pycocoevalcap on text whose periods are set apart, NLTK's METEOR, ROUGE-1 and
ROUGE-2 of the package `rouge`. CIDEr-D has no idf: the whole corpus was taken for the references of one image, so that
every document frequency is 1 and cancels. `meit` computes them over the whole set; `meit-exact` as the published code:
the tag of the assistant's turn is left in both texts, and values are means over batches of 32, the last short one
counted like the others, CIDEr-D of a batch of one 0. BERTScore is `bertscore` with a baseline file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np

from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.metrics import Declared, Given
from emgecg_cli.core.metrics.compat import coco
from emgecg_cli.core.metrics.compat.blanks import as_english, without_blanks
from emgecg_cli.core.metrics.compat.rouge_package import rouge_f
from emgecg_cli.core.metrics.text.meteor import Meteor

BATCH = 32
TAG = "<|assistant|>\n"
_NAMES = (*(f"BLEU-{n}" for n in range(1, 5)), "METEOR", "ROUGE-1", "ROUGE-2", "ROUGE-L", "CIDEr-D")
_ORDERS = range(1, coco.MAX_ORDER + 1)
_BLEU = 2 + 2 * coco.MAX_ORDER  # columns that decide BLEU
_FORMULAS = ("bleu:pycocoevalcap|rouge-l:pycocoevalcap,beta 1.2|cider:no idf|meteor:nltk|rouge-1,rouge-2:rouge package,"
             "sets|text:period apart, case kept")


class Meit:
    """MEIT's formulas over the whole set, on text as it is; every value lies in 0-1, CIDEr-D in 0-10."""

    name = "meit"
    declared = Declared(frozenset({"text"}))

    @classmethod
    def of(cls, given: Given) -> Self:
        """Takes nothing but the texts."""
        return cls()

    def applicable(self, rows: Sequence[PredictionRow]) -> str | None:
        """Needs words with blanks between them."""
        return without_blanks(rows)

    def columns(self) -> tuple[str, ...]:
        """What decides BLEU, the values of the pair, and the count."""
        return ("length", "reference length", *(f"matches {n}" for n in _ORDERS), *(f"total {n}" for n in _ORDERS),
                *_NAMES[4:], "reports")

    def segment_statistics(self, hypotheses: list[str], references: list[str],
                           rows: Sequence[PredictionRow]) -> np.ndarray:
        """(n, 15)."""
        found = coco.statistics(hypotheses, references)
        meteor = Meteor().segment_statistics(hypotheses, references, as_english(rows))[:, :1]
        rouge = rouge_f(hypotheses, references)[:, :2]
        return np.concatenate([found[:, :_BLEU], meteor, rouge, found[:, _BLEU:], np.ones((len(found), 1))], axis=1)

    def aggregate(self, sums: np.ndarray) -> dict[str, np.ndarray]:
        """BLEU from its sums, means of the rest."""
        return dict(zip((f"meit-{name}" for name in _NAMES), np.moveaxis(_values(sums), -1, 0), strict=True))

    def signature(self) -> str:
        """The formulas, and that the set is scored at once."""
        return f"{_FORMULAS}|batches:none|version:1"


class MeitExact:
    """MEIT's published arithmetic: means over batches of 32 in the order of the file, the turn's tag in both texts.

    The order decides, so draws of reports would be of something else: there are no intervals, and no tests.
    """

    name = "meit-exact"
    declared = Declared(frozenset({"text"}), resampled=False)

    def __init__(self, n: int | None = None) -> None:
        """`n`: how many reports a set has, where several come one after the other."""
        self._n = n

    @classmethod
    def of(cls, given: Given) -> Self:
        """For sets of as many rows."""
        return cls(len(given.rows))

    def applicable(self, rows: Sequence[PredictionRow]) -> str | None:
        """Needs words with blanks between them."""
        return without_blanks(rows)

    def columns(self) -> tuple[str, ...]:
        """The value of the report's batch, shared among its reports, and their share of a batch."""
        return (*_NAMES, "batches")

    def segment_statistics(self, hypotheses: list[str], references: list[str],
                           rows: Sequence[PredictionRow]) -> np.ndarray:
        """(n, 10)."""
        own = Meit().segment_statistics(_tagged(hypotheses), _tagged(references), rows)
        found = np.zeros((len(own), len(_NAMES) + 1))
        whole = self._n or len(own)
        for first in range(0, len(own), max(whole, 1)):
            for start in range(first, min(first + whole, len(own)), BATCH):
                end = min(start + BATCH, first + whole, len(own))
                values = _values(own[start:end].sum(axis=0))
                values[-1] *= end - start > 1
                found[start:end] = np.append(values, 1.0) / (end - start)
        return found

    def aggregate(self, sums: np.ndarray) -> dict[str, np.ndarray]:
        """Means over the batches."""
        sums = np.asarray(sums, np.float64)
        return {f"meit-exact-{name}": sums[..., i] / sums[..., -1] for i, name in enumerate(_NAMES)}

    def signature(self) -> str:
        """The formulas, the batches and the tag."""
        return f"{_FORMULAS}|batches:{BATCH},mean|tag:{TAG.strip()} in both|version:1"


def _tagged(texts: Sequence[str]) -> list[str]:
    return [text if text.startswith(TAG) else TAG + text for text in texts]


def _values(sums: np.ndarray) -> np.ndarray:
    """The nine values (..., 9) from the sums of `Meit`."""
    sums = np.asarray(sums, np.float64)
    return np.concatenate([coco.bleu(sums[..., :_BLEU]), sums[..., _BLEU:-1] / sums[..., -1:]], axis=-1)
