"""One tower for each input of a record: preprocessing, encoder and projector make signal tokens of what is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from emgecg_cli.core.models.preprocessing import Preprocessing
from emgecg_cli.core.models.projector import Projector

Inputs = Mapping[str, Tensor]


@dataclass(frozen=True)
class Seen:
    """Signal tokens (B, N, dim), which of them are real (B, N) or None for all, and the features (B, E) they were made
    of, None where there is no one vector of a record."""

    tokens: Tensor
    valid: Tensor | None
    features: Tensor | None


@dataclass(frozen=True)
class Joined:
    """The signal tokens of all towers side by side (B, N, dim), which are real (B, N) or None for all, how many each
    tower gave, and by input the features (B, E) that may be supervised."""

    tokens: Tensor | None
    valid: Tensor | None
    parts: tuple[int, ...]
    features: Mapping[str, Tensor] = field(default_factory=dict)

    def repeated(self, times: int) -> Joined:
        """Each record so many times in a row."""
        tokens, valid = (one if one is None else one.repeat_interleave(times, 0) for one in (self.tokens, self.valid))
        return Joined(tokens, valid, self.parts,
                      {name: one.repeat_interleave(times, 0) for name, one in self.features.items()})


class Tower(nn.Module):
    """For one array per record: the encoder cuts it into `pieces` (stretches of time, say), one feature vector each,
    and the projector makes signal tokens of them."""

    beside: Mapping[str, Preprocessing] = {}  # what it takes besides its input, by name

    def __init__(self, encoder: nn.Module, projector: Projector, pieces: int = 1,
                 preprocessing: Preprocessing | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = projector
        self.pieces = pieces
        self.preprocessing = preprocessing or Preprocessing()
        self._settled: list[nn.Module] = []

    def freeze(self) -> None:
        """Leave the encoder as it is, the statistics of its BatchNorms too."""
        self.encoder.requires_grad_(False)
        self._settle(self.encoder)

    def settle(self) -> None:
        """Let the projector train on without statistics of its batches: a token then means the same beside any others.

        Of 8 records the mean of a feature is a third of its spread off, and the backbone learns to mistrust it.
        """
        self._settle(self.projector)

    def _settle(self, part: nn.Module) -> None:
        self._settled.append(part.eval())

    def train(self, mode: bool = True) -> Tower:
        """Training or evaluation mode; a part whose statistics are settled stays in the latter."""
        super().train(mode)
        for part in self._settled:
            part.eval()
        return self

    @property
    def tokens(self) -> int:
        """Signal tokens of a record, and so placeholders of its part in a prompt."""
        return self.pieces * self.projector.tokens

    def forward(self, x: Tensor, present: Tensor | None = None) -> Seen:
        """Network input (B, …); `present` (B) says which records have this input, None all.

        The others are not encoded: nothing of them enters the statistics of a BatchNorm.
        """
        if present is None:
            features = self.encoder(x, self.pieces)
            return Seen(self.projector(features), None, features.mean(1))
        rows = present.nonzero()[:, 0]
        if not len(rows):
            rows = rows.new_zeros(1)  # all weights have a gradient in every batch, as processes that share them need
        with _statistics_of_few(self, len(rows)):
            features = self.encoder(x[rows], self.pieces)
            tokens = self.projector(features)
        real = present[:, None].expand(-1, tokens.shape[1])
        return Seen(_spread(tokens, rows, len(x)), real, _spread(features.mean(1), rows, len(x)))


class ValuesTower(nn.Module):
    """For the values of tables: matrices (B, R, 3, 7), rows that are all NaN being padding, to two tokens each.

    The encoder's embeddings are as wide as words, and need a projector only where a fusion takes another width. With
    `item_names` (token ids of items (B, R, P, W) -> (B, R, D)) both tokens of a value have its item's name added.
    """

    def __init__(self, encoder: nn.Module, projector: Projector | None = None, tokens: int = 2,
                 item_names: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = projector
        self.tokens = tokens  # of a value
        self.preprocessing = Preprocessing("values")
        self.item_names = item_names
        self.beside = {} if item_names is None else {"items": Preprocessing("items")}

    def freeze(self) -> None:
        """Let no weight of the encoder train; its dropout stays."""
        self.encoder.requires_grad_(False)

    def settle(self) -> None:
        """Nothing here has statistics of its batches."""

    def forward(self, x: Tensor, present: Tensor | None = None, items: Tensor | None = None) -> Seen:
        """A record without values has rows of NaN alone, whatever `present` says."""
        tokens, valid = self.encoder.encode_records(x, ~x.isnan().flatten(2).all(2))  # type: ignore[operator]
        if self.item_names is not None and items is not None:
            tokens = tokens + self.item_names(items.to(tokens.device)).repeat_interleave(self.tokens, dim=1)
        if self.projector is None:
            return Seen(tokens, valid, None)
        rows = valid.flatten().nonzero()[:, 0]
        if not len(rows):
            rows = rows.new_zeros(1)
        with _statistics_of_few(self.projector, len(rows)):
            projected = self.projector(tokens.flatten(0, 1)[rows][:, None])[:, 0]
        return Seen(_spread(projected, rows, valid.numel()).unflatten(0, valid.shape), valid, None)


class Towers(nn.Module):
    """The towers by the input each reads, in the order of their tokens; `shared` is a projector behind all of them.

    Not torch's ModuleDict, which takes no key `values`: that is one of its methods.
    """

    def __init__(self, towers: Mapping[str, nn.Module], shared: Projector | None = None) -> None:
        super().__init__()
        self.names = tuple(towers)
        for name, tower in towers.items():
            self.add_module(name, tower)
        self.shared = shared

    def __getitem__(self, name: str) -> Any:
        return self._modules[name]

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def supervised(self) -> tuple[str, ...]:
        """The inputs whose towers give features: all but values."""
        return tuple(name for name in self if not isinstance(self[name], ValuesTower))

    def forward(self, inputs: Inputs | None, present: Inputs | None = None) -> Joined:
        """What the towers make of the inputs there are; see `ReportModel`."""
        there, seen = inputs or {}, {}
        for name in (name for name in self if name in there):
            beside = {each: there[each] for each in self[name].beside}
            seen[name] = self[name](there[name], (present or {}).get(name), **beside)
        parts = tuple(seen[name].tokens.shape[1] if name in seen else 0 for name in self)
        if not seen:
            return Joined(None, None, parts)
        features = {name: one.features for name, one in seen.items() if one.features is not None}
        if len(seen) == 1:
            (one,) = seen.values()
            return Joined(self._projected(one.tokens), one.valid, parts, features)
        valid = None
        if any(one.valid is not None for one in seen.values()):
            valid = torch.cat([one.tokens.new_ones(one.tokens.shape[:2], dtype=torch.bool) if one.valid is None
                               else one.valid for one in seen.values()], 1)
        tokens = torch.cat([one.tokens for one in seen.values()], 1)
        return Joined(self._projected(tokens), valid, parts, features)

    def _projected(self, tokens: Tensor) -> Tensor:
        return tokens if self.shared is None else self.shared(tokens)


@contextmanager
def _statistics_of_few(module: nn.Module, rows: int) -> Iterator[None]:
    """Fewer than two rows have no statistics of their own: BatchNorms then use their running ones, as in evaluation.

    Several processes share their rows, and must all do the same.
    """
    if not module.training or rows > 1 or (dist.is_initialized() and dist.get_world_size() > 1):
        yield
        return
    norms = [each for each in module.modules() if isinstance(each, nn.BatchNorm1d) and each.training]
    for norm in norms:
        norm.training = False
    try:
        yield
    finally:
        for norm in norms:
            norm.training = True


def _spread(rows: Tensor, where: Tensor, count: int) -> Tensor:
    """(n, …) -> (count, …): these rows at `where`, zeros elsewhere."""
    return rows.new_zeros(count, *rows.shape[1:]).index_copy(0, where, rows)
