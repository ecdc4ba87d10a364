"""The name of a value's item as one embedding, from the backbone's own word embeddings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class ItemNames:
    """Names of items as the backbone's `embeddings` (V, D) have them, which a function gives as they are now. They
    train here where they train at all."""

    embeddings: Callable[[], Tensor]

    def __call__(self, ids: Tensor) -> Tensor:
        """Token ids (B, R, P, W), negative where there is none, -> float32 (B, R, D), zeros for no name.

        The tokens of a name are averaged, so that a long one counts as a short one, and the P names added and divided
        by the root of their number: as long as a word, where they have little in common.
        """
        real = ids >= 0
        tokens = real.sum(3, keepdim=True)
        names = (tokens > 0).sum(2, keepdim=True)
        weights = real / (tokens.clamp(min=1) * names.clamp(min=1).sqrt())
        used, which = ids.clamp(min=0).unique(return_inverse=True)  # a few dozen words, in whatever precision they are
        words = self.embeddings()[used.to(self.embeddings().device)].to(ids.device, torch.float32)
        return F.embedding_bag(which.flatten(2).flatten(0, 1), words, mode="sum",
                               per_sample_weights=weights.flatten(2).flatten(0, 1)).unflatten(0, ids.shape[:2])
