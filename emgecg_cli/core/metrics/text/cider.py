"""CIDEr-D (Vedantam et al. 2015): tf-idf cosine of n-grams 1..4, clipped, with a Gaussian length penalty, times 10.

The inverse document frequencies come from the train reports when they are given, else from the references of the set,
or from a file; their count N comes from the same texts. They stay fixed when the set is resampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np

from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.metrics import Declared, Given
from emgecg_cli.core.metrics.text.idf import DocumentFrequencies, read_idf, write_idf
from emgecg_cli.core.metrics.text.ngrams import (
    NgramCounts,
    Pairs,
    count_ngrams,
    shared_ngrams,
    tokenize_all,
    unique_pairs,
)
from emgecg_cli.core.metrics.text.segmentation import tokens_of
from emgecg_cli.core.metrics.text.tokens import Tokens, language_label, words_13a

MAX_ORDER = 4
SIGMA = 6.0


class CiderD:
    """CIDEr-D on the x10 scale, mean over the reports."""

    name = "cider"
    declared = Declared(frozenset({"text"}), "tokens", headline={"CIDEr-D": ""}, several="mean")

    def __init__(self, languages: Sequence[str] = ("en",), reports: Sequence[str] | None = None, origin: str = "train",
                 tokens: Tokens | None = None, idf: DocumentFrequencies | None = None,
                 write_to: Path | None = None) -> None:
        """`reports` are the texts of the idf and `origin` their name; None takes the references that are scored. `idf`
        are frequencies of a file in their place; `write_to` is a file for those of the reports."""
        self.languages, self.idf, self.write_to = tuple(languages), idf, write_to
        self.reports, self.origin = reports, "refs" if reports is None else origin
        self.tokens = tokens or Tokens(words_13a, "13a-lc")
        self.n_documents = 0 if reports is None else len(reports)
        if idf is not None:
            self.n_documents, self.origin = idf.documents, idf.name

    @classmethod
    def of(cls, given: Given) -> Self:
        """Weighed as the setting `idf` says: by "refs", the references of the set; by "train", the train reports given;
        by a file; without it by the train reports where there are any."""
        asked = given.settings.get("idf")
        train = given.reports if asked != "refs" else []
        if asked == "train" and not given.reports:
            raise MedReportError("--idf train: there are no train reports", "add --store STORE, or take --idf refs")
        reports, tokens = train or [row.reference or "" for row in given.rows], tokens_of(given.segmentation)
        if given.settings.get("write_idf") and given.kept.setdefault("tokens", tokens) != tokens:
            raise MedReportError("--write-idf: these texts are cut into tokens in two ways, and a file holds the "
                                 "frequencies of one", "score the languages apart")
        if asked not in (None, "refs", "train") and "idf" not in given.kept:
            if given.settings.get("write_idf"):
                raise MedReportError("--write-idf writes what --idf has read", "leave one of them out")
            given.kept["idf"] = read_idf(Path(asked))
        return cls(given.languages, reports, "train" if train else "refs", tokens,
                   given.kept.get("idf"), given.settings.get("write_idf"))

    def applicable(self, rows: Sequence[PredictionRow]) -> str | None:
        """Its weights need at least two different reports; with fewer every weight is log 1 = 0. A file's are of one
        tokenizer."""
        if self.idf is not None:
            return None if self.idf.tokenizer == self.tokens.name else \
                f"its idf file is of the tokenizer {self.idf.tokenizer}, these texts are cut by {self.tokens.name}"
        documents = self.reports if self.reports is not None else [row.reference for row in rows]
        if len(set(documents)) < 2:
            return f"its idf needs at least two different {'references' if self.origin == 'refs' else 'train reports'}"
        return None

    def columns(self) -> tuple[str, ...]:
        """The value of the pair, and the count."""
        return ("CIDEr-D", "reports")

    def segment_statistics(self, hypotheses: list[str], references: list[str],
                           rows: Sequence[PredictionRow]) -> np.ndarray:
        """(n, 2): CIDEr-D of the pair, and 1 to count it."""
        pairs = unique_pairs(hypotheses, references)
        if self.idf is not None:
            grams = [tuple(gram.split(" ")) for order in self.idf.orders for gram in order]
            documents = [*tokenize_all(pairs.texts, self.tokens.tokenize), *grams]
            # An n-gram of the file is a document of its own, which holds no other one of its order.
            start, listed = len(pairs.texts), np.zeros((MAX_ORDER, len(documents)))
            for n, order in enumerate(self.idf.orders):
                listed[n, start:start + len(order)] = list(order.values())
                start += len(order)
            scores = _score_pairs(count_ngrams(documents, MAX_ORDER), pairs, listed, self.idf.documents)
            return np.stack([scores, np.ones_like(scores)], axis=1)[pairs.pair]
        reports = references if self.reports is None else self.reports
        self.n_documents = len(reports)
        known = {text: index for index, text in enumerate(pairs.texts)}
        texts = list(pairs.texts)
        weight: dict[int, int] = {}
        for report in reports:
            index = known.setdefault(report, len(texts))
            if index == len(texts):
                texts.append(report)
            weight[index] = weight.get(index, 0) + 1
        copies = np.zeros(len(texts))
        copies[list(weight)] = list(weight.values())
        counts = count_ngrams(tokenize_all(texts, self.tokens.tokenize), MAX_ORDER)
        scores = _score_pairs(counts, pairs, np.stack([copies] * MAX_ORDER), copies.sum())
        return np.stack([scores, np.ones_like(scores)], axis=1)[pairs.pair]

    def keep(self) -> None:
        """Write the frequencies of the texts it is weighed by, where that was asked."""
        if self.write_to is not None:
            write_idf(self.write_to, self.reports or (), self.tokens, self.origin)

    def aggregate(self, sums: np.ndarray) -> dict[str, np.ndarray]:
        """`CIDEr-D`, 0-10: mean over the reports."""
        return {"CIDEr-D": sums[..., 0] / sums[..., 1]}

    def signature(self) -> str:
        """Orders, sigma, scale, tokenizer, languages and where the document frequencies come from."""
        return (f"n:{MAX_ORDER}|sigma:{SIGMA:g}|scale:10|tok:{self.tokens.name}|lang:{language_label(self.languages)}"
                f"|df:{self.origin}|docs:{self.n_documents}")


def _score_pairs(counts: list[NgramCounts], pairs: Pairs, copies: np.ndarray, n_documents: float) -> np.ndarray:
    """CIDEr-D of P pairs, (P,). `copies` says of each order how often each text is among the N documents of the idf,
    (4, D)."""
    log_n = np.log(max(n_documents, 1.0))
    lengths = counts[0].totals
    penalty = np.exp(-((lengths[pairs.hypothesis] - lengths[pairs.reference]) ** 2) / (2 * SIGMA**2))
    total = np.zeros(len(pairs.hypothesis))
    for order, own in zip(counts, copies, strict=True):
        document = order.document
        frequency = np.bincount(order.ngram, own[document], minlength=order.n_ngrams)
        weights = order.count * (log_n - np.log(np.maximum(1.0, frequency)))[order.ngram]
        norms = np.sqrt(np.bincount(document, weights**2, minlength=copies.shape[1]))
        shared = shared_ngrams(order, pairs.hypothesis, pairs.reference)
        left, right = weights[shared.hypothesis], weights[shared.reference]
        products = np.bincount(shared.pair, np.minimum(left, right) * right, minlength=len(total))
        norm = norms[pairs.hypothesis] * norms[pairs.reference]
        total += np.where(norm > 0, products / np.where(norm > 0, norm, 1.0), 0.0)
    return total / MAX_ORDER * penalty * 10.0
