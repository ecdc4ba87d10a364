"""Direct supervision of the encoder: what its features should predict besides the report.

Not part of any published fusion: without it, a small backbone trained from scratch learns nothing from the signal
within minutes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.inputs.rendered import Split
from emgecg_cli.core.store import Store

AUTO = "auto"
LOSSES = ("none", "codes", "words")
LEAST_RECORDS = 5
MOST_TARGETS = 1000


@dataclass(frozen=True)
class Targets:
    """Names of the K targets and which of them each training record holds: bool (records, K)."""

    names: list[str]
    matrix: np.ndarray

    @property
    def shares(self) -> Tensor:
        """Share of the records that hold each target, (K)."""
        return torch.from_numpy(self.matrix.mean(0, dtype=np.float32))


def choose_loss(kind: str, store: Store) -> str:
    """What the encoder is to predict if that is left open ("auto"): the codes, where enough of the training records
    have them, else the words of the reports. Raises MedReportError for an unknown kind."""
    if kind not in (*LOSSES, AUTO):
        raise MedReportError(f"no encoder loss '{kind}'", f"available: {', '.join((*LOSSES, AUTO))}")
    if kind != AUTO:
        return kind
    rows = store.reported("train")
    counts = Counter(code for codes in store.column("codes").gather(rows).to_list() for code in {*codes})
    return "codes" if learnable(counts, len(rows)) else "words"


def encoder_targets(kind: str, store: Store, rendered: Split, needed: bool = True) -> Targets:
    """Targets of the training records: their "codes", or the "words" (tokens) of their reports.

    Those of fewer than 5 records, or of all, are left out, and of the rest the 1,000 most frequent kept. Raises
    MedReportError when none remains, where targets are `needed`.
    """
    count = len(rendered.indices)
    if kind == "none":
        return Targets([], np.zeros((count, 0), bool))
    bags = _bags(kind, store, rendered)
    chosen = _choose(bags, count)
    if not chosen and needed:
        raise MedReportError(f"encoder loss '{kind}': none of the {kind} occurs in {LEAST_RECORDS} of the {count} "
                             "training records",
                             f"give --encoder-loss {'words, or none' if kind == 'codes' else 'none'}")
    return Targets(chosen, mark(bags(), count, chosen))


def target_matrix(kind: str, chosen: list[str], store: Store, rendered: Split) -> np.ndarray:
    """Which of the chosen targets each record of a split holds: bool (records, K)."""
    if not chosen:
        return np.zeros((len(rendered.indices), 0), bool)
    return mark(_bags(kind, store, rendered)(), len(rendered.indices), chosen)


def mark(bags: Iterable[Iterable[str]], count: int, chosen: Sequence[str]) -> np.ndarray:
    """Which of the chosen names each of `count` bags holds: bool (count, K)."""
    matrix = np.zeros((count, len(chosen)), bool)
    column = {name: k for k, name in enumerate(chosen)}
    for row, bag in zip(matrix, bags, strict=True):
        row[[column[name] for name in bag if name in column]] = True
    return matrix


def learnable(counts: Mapping[str, int], count: int) -> list[str]:
    """Names that at least 5 of `count` records hold, but not all of them."""
    return [name for name, n in counts.items() if LEAST_RECORDS <= n < count]


def _bags(kind: str, store: Store, rendered: Split) -> Callable[[], Iterator[set[str]]]:
    """The codes, or the answer's tokens, of each record, to be gone through more than once; answers, which may be
    rendered only now, are asked for once."""
    if kind == "codes":
        codes = store.column("codes")
        return lambda: (set(codes[index]) for index in rendered.indices.tolist())
    tokens = [np.unique(answer) for answer in rendered.answers()]
    return lambda: (set(map(str, held.tolist())) for held in tokens)


def _choose(bags: Callable[[], Iterator[set[str]]], count: int) -> list[str]:
    counts = Counter(name for bag in bags() for name in bag)
    by_number = sorted(learnable(counts, count), key=lambda name: (-counts[name], name))
    return sorted(by_number[:MOST_TARGETS])
