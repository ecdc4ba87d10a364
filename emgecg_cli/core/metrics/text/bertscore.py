"""BERTScore (Zhang et al. 2020) with a model given by a local path; nothing is ever downloaded.

The matching is bert-score's own, on pairs without padding: in a padded batch it lets a token that is like none of the
other side match the padding, so that the value of a pair depends on its neighbours. Loading and encoding are not its,
because bert-score 0.3.13 under transformers 5 loses the prefix blank of RoBERTa's first word, fails on empty text and
on tokenizers without a length limit, and keeps the embeddings of the whole set in memory. Weights are read from
safetensors only.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Self

import numpy as np

from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.metrics import Declared, Given
from emgecg_cli.core.metrics.text.bert_model import (
    Encoder,
    check_folder,
    file_hash,
    known_layers,
    load_encoder,
    read_baseline,
)
from emgecg_cli.core.metrics.text.ngrams import unique_pairs
from emgecg_cli.core.metrics.text.tokens import CHINESE, language_label

_VALUES = ("BERTScore-P", "BERTScore-R", "BERTScore-F1")
# Pairs per chunk, whose embeddings are in memory together.
_CHUNK = 512


class BertScore:
    """Greedy cosine matching of contextual embeddings, mean over the reports; P, R and F1, raw and rescaled.

    `layers` is the number of encoder layers to run; known for the models that bert-score knows by name. `baseline` is a
    file of bert-score's rescale_baseline; with it rescaled values stand beside the raw ones. Metrics with the same
    layers can share the models they have loaded: `encoders`.
    """

    name = "bertscore"
    declared = Declared(frozenset({"text", "weights"}), "text", several="best")

    def __init__(self, languages: Sequence[str] = ("en",), model: Path | None = None, layers: int | None = None,
                 baseline: Path | None = None, encoders: dict[Path, Encoder] | None = None) -> None:
        self.languages = tuple(languages)
        self.model, self.baseline = model, baseline
        self.layers, self.offsets = 0, None
        self._encoders = {} if encoders is None else encoders
        if model is not None:
            check_folder(model)
            self.layers = layers if layers is not None else known_layers(model)
            self.offsets = read_baseline(baseline, self.layers) if baseline is not None else None

    @classmethod
    def of(cls, given: Given) -> Self:
        """With the model given; what has been loaded is kept for the next slice."""
        encoders: dict[Path, Encoder] = given.kept.setdefault("encoders", {})
        return cls(given.languages, **given.settings, encoders=encoders)

    def applicable(self, rows: Sequence[PredictionRow]) -> str | None:
        """Needs a model."""
        if self.model is not None:
            return None
        needs = "needs model weights: --bertscore-model PATH"
        return f"{needs} (for Chinese: of bert-base-chinese, layer 8)" if CHINESE & {*self.languages} else needs

    def columns(self) -> tuple[str, ...]:
        """The values of the pair, and the count."""
        rescaled = tuple(f"{name} rescaled" for name in _VALUES) if self.offsets is not None else ()
        return (*_VALUES, *rescaled, "reports")

    def segment_statistics(self, hypotheses: list[str], references: list[str],
                           rows: Sequence[PredictionRow]) -> np.ndarray:
        """(n, 4), or (n, 7) with a baseline: P, R, F1, then rescaled; and 1 to count the pair. An empty side is 0."""
        pairs = unique_pairs([text.strip() for text in hypotheses], [text.strip() for text in references])
        filled = np.array([bool(pairs.texts[h]) and bool(pairs.texts[r])
                           for h, r in zip(pairs.hypothesis, pairs.reference, strict=True)], dtype=bool)
        raw = np.zeros((len(filled), 3))
        raw[filled] = self._score([pairs.texts[h] for h in pairs.hypothesis[filled]],
                                  [pairs.texts[r] for r in pairs.reference[filled]])
        columns = [raw]
        if self.offsets is not None:
            columns.append(np.where(filled[:, None], (raw - self.offsets) / (1 - self.offsets), 0.0))
        columns.append(np.ones((len(filled), 1)))
        return np.concatenate(columns, axis=1)[pairs.pair]

    def _score(self, hypotheses: list[str], references: list[str]) -> np.ndarray:
        """P, R, F1 of pairs without empty sides, (P, 3)."""
        assert self.model is not None
        if self.model not in self._encoders:
            self._encoders[self.model] = load_encoder(self.model, self.layers)
        encoder = self._encoders[self.model]
        # One order of the pairs, whatever order they come in: batches, and with them the last digits, are the same.
        order = sorted(range(len(hypotheses)), key=lambda i: (len(references[i]), references[i], hypotheses[i]))
        found = np.zeros((len(order), 3))
        for start in range(0, len(order), _CHUNK):
            chunk = order[start:start + _CHUNK]
            found[chunk] = score_chunk(encoder, [hypotheses[i] for i in chunk], [references[i] for i in chunk])
        return found

    def aggregate(self, sums: np.ndarray) -> dict[str, np.ndarray]:
        """`BERTScore-P`, `-R`, `-F1`, and the same rescaled where a baseline file was given."""
        names = [*_VALUES, *(f"{name} rescaled" for name in _VALUES)][:sums.shape[-1] - 1]
        return {name: sums[..., column] / sums[..., -1] for column, name in enumerate(names)}

    def signature(self) -> str:
        """Model and hash of its weights, layers, baseline, treatment of empty text, versions."""
        if self.model is None:
            return "model:none"
        scale = f"{self.baseline.name}@{file_hash([self.baseline])}" if self.baseline is not None else "none"
        weights = file_hash(sorted(self.model.glob("*.safetensors")))
        return (f"model:{self.model.name}@{weights}|layers:{self.layers}|idf:no|baseline:{scale}|empty:0|padding:none"
                f"|precision:fp32|lang:{language_label(self.languages)}|bert-score:{version('bert-score')}"
                f"|transformers:{version('transformers')}")


def score_chunk(encoder: Encoder, hypotheses: list[str], references: list[str]) -> np.ndarray:
    """P, R, F1 of a few pairs of stripped, non-empty texts, (P, 3)."""
    import torch
    from bert_score.utils import greedy_cos_idf

    embedded = encoder.embed(list(dict.fromkeys(references + hypotheses)))
    shapes: dict[tuple[int, int], list[int]] = {}
    for i, (hypothesis, reference) in enumerate(zip(hypotheses, references, strict=True)):
        shapes.setdefault((len(embedded[reference][0]), len(embedded[hypothesis][0])), []).append(i)
    found = np.zeros((len(hypotheses), 3))
    for alike in shapes.values():
        sides = [part for texts in (references, hypotheses)
                 for part in encoder.stack([embedded[texts[i]] for i in alike])]
        found[alike] = torch.nan_to_num(torch.stack(greedy_cos_idf(*sides), dim=-1)).double().numpy()
    return found
