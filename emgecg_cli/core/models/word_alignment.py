"""Signal tokens that name words: what makes a pretrained language model read them within minutes.

To a pretrained backbone a new signal token is a vector that no text ever had, and the gradient of the report loss
tells it little of where it should lie. Words are vectors it knows. So the tokens of a record are asked, through the
backbone's own word embeddings, which content words its report holds: a record with a left bundle branch block should
have a token that lies near "bundle". Nothing of the backbone is run for it. The construction is ours; its parts are a
bag of words predicted from an image (Joulin et al. 2016) and the output embedding tied to the input's (Press & Wolf
2017).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

RAREST, MOST_COMMON = 0.004, 0.6  # share of the reports that hold a content word
SHARPNESS = 20.0  # of the softest maximum over tokens: one near token is enough


def content_words(shares: Tensor) -> Tensor:
    """The ids (V) of the tokens that tell reports apart, of the share (vocabulary) of reports that hold each token."""
    return torch.nonzero((shares >= RAREST) & (shares <= MOST_COMMON)).flatten()


class WordAlignment(nn.Module):
    """The loss of signal tokens that should lie near the words of their report.

    `embeddings` (vocabulary, D) are the backbone's, `shares` (vocabulary) the share of training reports that hold each
    token. Of a token only its direction counts, and of the embeddings what tells words apart, not their mean. The loss
    of a word is binary: whether the nearest signal token of the record lies near it, by a learned scale and bias,
    against whether the report holds it.
    """

    words: Tensor
    directions: Tensor
    column: Tensor

    def __init__(self, embeddings: Tensor, shares: Tensor) -> None:
        super().__init__()
        words = content_words(shares)
        column = torch.full((len(embeddings),), len(words))
        column[words] = torch.arange(len(words))
        directions = F.normalize(embeddings[words].float() - embeddings.float().mean(0), dim=-1)
        for name, value in (("words", words), ("column", column), ("directions", directions)):
            self.register_buffer(name, value, persistent=False)
        self.scale = nn.Parameter(torch.full((1,), math.log(10.0)))
        self.bias = nn.Parameter(torch.logit(shares[words].float(), eps=1e-3))

    def held(self, labels: Tensor) -> Tensor:
        """Which content words the answers (B, T) of a batch hold, what is no answer being negative: float32 (B, V)."""
        count = len(self.words)
        columns = torch.where(labels >= 0, self.column[labels.clamp(min=0)], count)
        return labels.new_zeros(len(labels), count + 1, dtype=torch.float32).scatter_(1, columns, 1.0)[:, :count]

    def logits(self, tokens: Tensor, valid: Tensor | None = None) -> Tensor:
        """How near each content word lies to the signal tokens (B, N, D) of a record, those that `valid` (B, N) says
        are real: (B, V)."""
        near = F.normalize(tokens.float(), dim=-1) @ self.directions.T
        if valid is not None:
            near = near.masked_fill(~valid[..., None], -1.0)  # as far as a token can be
        return self.scale.exp() * torch.logsumexp(SHARPNESS * near, 1) / SHARPNESS + self.bias

    def forward(self, tokens: Tensor, labels: Tensor, valid: Tensor | None = None) -> Tensor:
        """The mean loss a word, summed over the records of a batch; those without a real token say nothing."""
        if valid is not None:
            there = valid.any(1)
            tokens, labels, valid = tokens[there], labels[there], valid[there]
        each = F.binary_cross_entropy_with_logits(self.logits(tokens, valid), self.held(labels), reduction="none")
        return each.mean(1).sum()
