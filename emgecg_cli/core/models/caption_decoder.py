"""The decoder of CoCa: it writes the caption of a recording, each word from those before it and the recording."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from emgecg_cli.core.models.encoders.attention import Block


class CaptionDecoder(nn.Module):
    """Token ids (B, T) and the tokens of a recording (B, N, E) to the logits (B, T, V) of the words that follow.

    It embeds words itself. The published one was given the states of a text encoder, each of which had seen the whole
    caption: there the next word was known.
    """

    def __init__(self, vocabulary: int, width: int, *, layers: int, heads: int, context: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, width)
        self.places = nn.Parameter(0.01 * torch.randn(context, width))
        nn.init.normal_(self.words.weight, std=0.02)
        self.resblocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.cross_attn = nn.ModuleList(Block(width, heads, crosses=True) for _ in range(layers))
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(width ** -0.5 * torch.randn(width, vocabulary))

    def forward(self, ids: Tensor, recording: Tensor) -> Tensor:
        """See the class."""
        count = ids.shape[1]
        before = torch.ones(count, count, dtype=torch.bool, device=ids.device).tril()
        x = self.words(ids) + self.places[:count]
        for own, other in zip(self.resblocks, self.cross_attn, strict=True):
            x = other(own(x, mask=before), recording)
        return self.ln_final(x) @ self.text_projection
