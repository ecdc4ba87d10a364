"""EMG Alignment Encoder: a value of a nerve-conduction table beside its reference percentiles, to two embeddings.

The maths is that of EMGLLM's released code: comparisons of the value with each percentile, a convolution, two virtual
tokens, and attention from these to prototypes that are mixtures of the backbone's own word embeddings. What is
computed otherwise here gives the same numbers: batches, and the prototypes' keys and values without the prototypes.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emgecg_cli.core.errors import MedReportError

TOKENS_PER_VALUE = 2
RESHAPES = ("compat", "clean")
STARTS = ("scaled", "published")
ROWS_AT_ONCE = 8192  # of the vocabulary, when their embeddings are taken to another precision


class EmgAlignment(nn.Module):
    """Matrices (n, 3, 7) to embeddings (n, 2, D), D the width of the backbone's input embeddings.

    Row 0 of a matrix holds the upper percentiles, most extreme first, row 1 the value in every column, row 2 the lower
    percentiles. Units are free: the result is the same for any positive affine map of a matrix, so that it says where
    the value lies among the percentiles and nothing else.

    `embeddings` are the backbone's (V, D), or a function that gives them, which follows a backbone that is resized or
    moved; they are neither trained nor saved here. `reshape` "compat" keeps the released code's order in memory, which
    mixes channels into the comparisons; "clean" gives each comparison its row. `start` "published" leaves torch's
    initial weights; "scaled" takes the same ones to a scale at which a new encoder's embeddings of values differ as
    much as those of words do, which trains in fewer steps.
    All is computed in float32 (or float64, if the weights are), under autocast too.
    """

    def __init__(self, embeddings: Tensor | Callable[[], Tensor], prototypes: int = 192, reshape: str = "compat",
                 dropout: float = 0.1, *, percentiles: int = 7, start: str = "scaled", channels: int = 64,
                 heads: int = 8, head_width: int = 3) -> None:
        super().__init__()
        if reshape not in RESHAPES:
            raise MedReportError(f"no EMG reshape '{reshape}'", f"available: {', '.join(RESHAPES)}")
        if start not in STARTS:
            raise MedReportError(f"no start '{start}' of the EMG encoder", f"available: {', '.join(STARTS)}")
        # A parameter among the attributes would be registered, trained and saved.
        self._embeddings = functools.partial(_same, embeddings) if isinstance(embeddings, Tensor) else embeddings
        self.vocabulary, self.dim = self._embeddings().shape
        self.percentiles, self.reshape, self.heads, inner = percentiles, reshape, heads, heads * head_width
        self.compare = nn.Conv1d(1, channels, kernel_size=2, stride=2, bias=False)
        self.mapping = nn.Linear(2 * percentiles, TOKENS_PER_VALUE)
        self.prototypes = nn.Linear(self.vocabulary, prototypes)
        self.query = nn.Linear(channels, inner)
        self.key, self.value = nn.Linear(self.dim, inner), nn.Linear(self.dim, inner)
        self.out = nn.Linear(inner, self.dim)
        self.dropout = dropout
        nn.init.kaiming_normal_(self.compare.weight, nonlinearity="relu")
        self._kept: _Kept | None = None
        if start == "scaled" and self._embeddings().device.type != "meta":
            self._scale_start()

    def forward(self, matrices: Tensor) -> Tensor:
        """(n, 3, percentiles) -> (n, 2, D), float32, on the device of the weights.

        Raises MedReportError when a number is NaN or infinite, which would make the whole prompt NaN.
        """
        with torch.autocast(self.out.weight.device.type, enabled=False):
            return self._embed(self._attend(matrices))

    def encode_records(self, matrices: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """(B, R, 3, percentiles) and (B, R) bool -> signal tokens (B, 2 R, D) and which of them are real, (B, 2 R).

        This is what `splice` takes. Rows that are not valid may hold anything and come out as zeros.
        """
        valid = valid.to(self.out.weight.device, torch.bool)
        which = valid.flatten().nonzero()[:, 0]
        with torch.autocast(self.out.weight.device.type, enabled=False):
            attended = self._attend(matrices.to(valid.device).flatten(0, 1)[which])
            if len(which) < valid.numel():  # spread before the last layer: what comes after it is the large part
                attended = attended.new_zeros(valid.numel(), *attended.shape[1:]).index_copy(0, which, attended)
            tokens = self._embed(attended)
        tokens = tokens.index_fill_(0, (~valid).flatten().nonzero()[:, 0], 0.0)
        real = valid.repeat_interleave(TOKENS_PER_VALUE, dim=1)
        return tokens.view(*real.shape, self.dim), real

    def virtual_tokens(self, matrices: Tensor) -> Tensor:
        """(n, 3, percentiles) -> (n, 2, channels), from which the queries of the attention are made."""
        dtype, device = self._dtype(), self.out.weight.device
        upper, x, lower = normalise(matrices.to(device, dtype)).permute(1, 2, 0)  # each (percentiles, n)
        of_value, of_limit = self.compare.weight.to(dtype).unbind(-1)  # each (channels, 1)
        shape: tuple[int, ...]
        if self.reshape == "compat":  # (percentiles, channels, 2) read as rows: half the channels, both limits in turn
            shape, x = (1, 2, 1, -1, 1), x[:, None, :, None, None]
            limits = torch.stack([upper, lower], -1)[:, None, :, None]
        else:
            shape, x = (1, 1, 1, -1), x[:, None, :, None]
            limits = torch.stack([upper, lower], 1)[..., None]
        of_value, of_limit = of_value.reshape(shape), of_limit.reshape(shape)
        # tanh(z) = 2 sigmoid(2 z) - 1, and a CPU takes a fifth of the time for it; the 2 and the 1 go into the mapping
        lines = torch.addcmul(2 * of_value * x, 2 * of_limit, limits).sigmoid_().reshape(2 * self.percentiles, -1)
        weight = self.mapping.weight.to(dtype)
        mapped = 2 * weight @ lines + (self.mapping.bias.to(dtype) - weight.sum(1))[:, None]
        mapped = mapped.view(TOKENS_PER_VALUE, len(matrices), self.query.in_features).transpose(0, 1)
        return F.dropout(torch.tanh(mapped), self.dropout, self.training)

    def train(self, mode: bool = True) -> EmgAlignment:
        """As for every module; kept keys and values are dropped, since some optimizers change weights unnoticed."""
        self._kept = None
        super().train(mode)
        return self

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_kept": None}  # a copy of the module has weights of its own

    def _apply(self, fn: Any, recurse: bool = True) -> EmgAlignment:
        self._kept = None
        super()._apply(fn, recurse)
        return self

    def _attend(self, matrices: Tensor) -> Tensor:
        """(n, 3, percentiles) -> what the virtual tokens attend to in the prototypes, (n, 2, inner)."""
        self._check(matrices)
        keys, values = self._keys_and_values()
        dtype, rows = self._dtype(), TOKENS_PER_VALUE * len(matrices)
        query = F.linear(self.virtual_tokens(matrices), self.query.weight.to(dtype), self.query.bias.to(dtype))
        query = query.reshape(rows, *keys.shape[::2]).transpose(0, 1)  # (heads, 2 n, head width)
        shares = (query / math.sqrt(keys.shape[-1]) @ keys.transpose(1, 2)).softmax(-1)
        shares = F.dropout(shares, self.dropout, self.training)
        attended = values.transpose(1, 2) @ shares.transpose(1, 2)  # (heads, head width, 2 n): the faster way
        return attended.flatten(0, 1).T.reshape(len(matrices), TOKENS_PER_VALUE, self.out.in_features)

    def _embed(self, attended: Tensor) -> Tensor:
        """(n, 2, inner) -> (n, 2, D)."""
        dtype = self._dtype()
        embedded = F.linear(attended.flatten(0, 1), self.out.weight.to(dtype), self.out.bias.to(dtype))
        return embedded.view(len(attended), TOKENS_PER_VALUE, self.dim)

    def _keys_and_values(self) -> tuple[Tensor, Tensor]:
        """Of the prototypes, each (heads, prototypes, head width); kept while no gradient needs them."""
        sources = [self.prototypes.weight, self.prototypes.bias, self.key.weight, self.key.bias, self.value.weight,
                   self.value.bias]
        learning = torch.is_grad_enabled() and any(source.requires_grad for source in sources)
        words = self._words()
        sources.append(words)
        if learning or any(source.is_inference() for source in sources):  # those do not count their changes
            both = self._project(words)
        else:
            state = [(source.data_ptr(), source._version, source.dtype) for source in sources]
            if self._kept is None or self._kept.state != state:
                with torch.inference_mode(False), torch.no_grad():
                    self._kept = _Kept([source.detach() for source in sources], state, self._project(words))
            both = self._kept.both
        keys, values = both.view(len(both), 2, self.heads, -1).permute(1, 2, 0, 3)
        return keys, values

    def _project(self, words: Tensor) -> Tensor:
        """Keys and values of all prototypes side by side, (prototypes, 2 * inner).

        With P = M E + m, P W' = M (E W') + m (sum of W'): words are projected before they are mixed, which takes a
        quarter of the work and never holds P, nor the embeddings in another precision.
        """
        dtype = self._dtype()
        weight = torch.cat([self.key.weight, self.value.weight]).to(dtype)  # (2 * inner, D)
        bias = torch.cat([self.key.bias, self.value.bias]).to(dtype)
        projected = _FrozenProduct.apply(words, weight.to(words.device)).to(weight.device)  # (V, 2 * inner)
        mixed = self.prototypes.weight.to(dtype) @ projected
        return mixed + torch.outer(self.prototypes.bias.to(dtype), weight.sum(1)) + bias

    def _words(self) -> Tensor:
        words = self._embeddings().detach()
        if words.shape != (self.vocabulary, self.dim):
            raise MedReportError(f"EMG encoder: the backbone has {words.shape[0]} words of width {words.shape[1]}, the "
                                 f"encoder was made for {self.vocabulary} of {self.dim}",
                                 "use the backbone it was made for, and add tokens before the encoder is made")
        return words

    def _dtype(self) -> torch.dtype:
        return torch.promote_types(self.out.weight.dtype, torch.float32)

    def _check(self, matrices: Tensor) -> None:
        if matrices.ndim != 3 or matrices.shape[1:] != (3, self.percentiles):
            raise RuntimeError(f"EMG encoder: matrices {tuple(matrices.shape)}, need (n, 3, {self.percentiles})")
        finite = matrices.isfinite().flatten(1).all(1)
        if matrices.device.type != "meta" and not finite.all():
            wrong = int((~finite).nonzero()[0])
            raise MedReportError(f"EMG encoder: value {wrong + 1} of {len(matrices)} has NaN or infinity in its "
                                 "reference matrix", "leave a missing value as text, without a placeholder")

    @torch.no_grad()
    def _scale_start(self) -> None:
        """Take the initial weights to a scale: prototypes, queries, keys and values vary by about 1, embeddings of
        values by as much as words do."""
        words = self._words()
        size = torch.linalg.vector_norm(words, dtype=torch.float32) / math.sqrt(words.numel())
        size = size.clamp_min(1e-6).to(self.out.weight.device)
        self.prototypes.weight.mul_(math.sqrt(3.0) / size)  # torch's are uniform within 1 / sqrt(inputs)
        for layer in (self.query, self.key, self.value):
            layer.weight.mul_(math.sqrt(3.0))
        training = self.training
        self.eval()
        ladder = self(_ladder(self.percentiles))
        spread = (ladder - ladder.mean(0)).square().mean().sqrt()
        self.out.weight.mul_(size / spread.clamp_min(1e-6))
        self.out.bias.mul_(0)
        self.train(training)


def normalise(matrices: Tensor) -> Tensor:
    """(n, 3, k) to mean 0 and variance 1 over the upper row, the lower row and the row of the value twice.

    Centred on the value first, which changes nothing but the rounding: 60 m/s beside 61 keeps all its digits.
    """
    moved = matrices - matrices[:, 1:2, :1]
    counted = torch.cat([moved, moved[:, 1:2]], dim=1)
    mean = counted.mean((1, 2), keepdim=True)
    variance = (counted - mean).square().sum((1, 2), keepdim=True) / (4 * matrices.shape[2] - 1)
    return (moved - mean) / (variance + 1e-6).sqrt()


@dataclass(frozen=True)
class _Kept:
    """Keys and values, and the addresses and counts of changes of what they were made from; `sources` are held so that
    no other tensor comes to lie at their addresses."""

    sources: list[Tensor]
    state: list[tuple[Any, ...]]
    both: Tensor


class _FrozenProduct(torch.autograd.Function):
    """words (V, D) @ weight (inner, D)', in the precision of the weight, a part of the vocabulary at a time.

    Only the weight has a gradient; nothing is remembered but the embeddings themselves.
    """

    @staticmethod
    def forward(ctx: Any, words: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(words)
        return torch.cat([part.to(weight.dtype) @ weight.T for part in words.split(ROWS_AT_ONCE)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        (gradient,), (words,) = gradients, ctx.saved_tensors
        total = gradient.new_zeros(gradient.shape[1], words.shape[1])
        for part, rows in zip(words.split(ROWS_AT_ONCE), gradient.split(ROWS_AT_ONCE), strict=True):
            total.addmm_(rows.T, part.to(gradient.dtype))
        return None, total


def _same(embeddings: Tensor) -> Tensor:
    return embeddings


def _ladder(percentiles: int) -> Tensor:
    """Values from 6 deviations below the middle to 6 above it, beside the percentiles of a normal distribution."""
    chances = torch.linspace(0.02, 0.2, percentiles)
    limits = torch.special.ndtri(chances)
    steps = torch.linspace(-6, 6, 25)
    return torch.stack([torch.stack([-limits, step.expand(percentiles), limits]) for step in steps])
