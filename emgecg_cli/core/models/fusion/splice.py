"""Splice fusion (LLaVA): signal tokens take the places of placeholders among the embedded text.

A signal token is one more position of the sequence: it is embedded beside words, has a position, is seen causally, and
every layer works on it. It enters as the projector made it, not scaled as some families (Gemma) scale their words.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.instructions.render import PLACEHOLDER
from emgecg_cli.core.models.fusion.attention_families import FAMILIES
from emgecg_cli.core.models.fusion.backbone_call import with_positions
from emgecg_cli.core.models.fusion.embedded import why_not_embedded
from emgecg_cli.core.models.fusion.frame import Frame
from emgecg_cli.core.models.fusion.signal_tokens import check_tokens, real_tokens, sequences
from emgecg_cli.core.models.tuning import base_of

HARMLESS = 0  # an id every vocabulary has, for looking up at a placeholder; what it embeds to is replaced


class Splice:
    """Replaces the i-th placeholder of a row by the row's i-th valid signal token; a plain object without state.

    Of several towers `parts` says how many columns of the signal tokens are each one's; the placeholders of the k-th,
    from 0, have the id `PLACEHOLDER - k`, and its own tokens take their places.

    Signal tokens are (B, N, dim), dim the width of the input embeddings: for an OPT with a narrow embedding that is its
    width, not the backbone's. Rows may hold any number of placeholders, in any number of groups; a row that has more or
    fewer than valid signal tokens raises RuntimeError.
    Raises MedReportError for a backbone that cannot be trained or asked to generate from embeddings, and when `layers`
    are named.
    """

    placeholders = True
    padding_side = "left"

    def __init__(self, backbone: Any, layers: Collection[int] | None = None) -> None:
        self.backbone = backbone
        self.base: Any = base_of(backbone)
        reason = why_not_embedded(self.base)
        if reason:
            family = self.base.config.get_text_config().model_type
            others = "use prefix-kv or cross-attention fusion" if family in FAMILIES else "choose another backbone"
            whole = getattr(self.base.config, "is_encoder_decoder", False)
            raise MedReportError(f"splice fusion {reason}", "use prefix-kv fusion" if whole else others)
        if layers is not None:
            raise MedReportError("fusion layers have no effect with splice fusion, where a signal enters at the "
                                 "embedding", "leave them out, or choose another fusion")
        self.dim = _width(self.base.get_input_embeddings())

    def forward(self, signal_tokens: Tensor | None, valid: Tensor | None = None, *, input_ids: Tensor,
                parts: Sequence[int] | None = None, **inputs: Any) -> Any:
        """Run the backbone once on (B, T) ids with placeholders; returns its output, with logits (B, T, vocabulary)."""
        inputs["inputs_embeds"] = self._embed(signal_tokens, valid, input_ids, parts)
        return self.backbone(**with_positions(self.base, inputs))

    @torch.no_grad()
    def generate(self, signal_tokens: Tensor | None, valid: Tensor | None = None, *, input_ids: Tensor,
                 attention_mask: Tensor | None = None, parts: Sequence[int] | None = None, **inputs: Any) -> Tensor:
        """Left-padded prompts (B, T) -> new token ids (B, new).

        From embeddings the backbone returns nothing else, and always uses its cache. A penalty on repeated words counts
        the new ones only.
        """
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        embedded = self._embed(signal_tokens, valid, input_ids, parts)
        return sequences(self.backbone.generate(inputs_embeds=embedded, attention_mask=mask, **inputs))

    def begin(self, signal_tokens: Tensor | None, valid: Tensor | None = None, **inputs: Any) -> tuple[Any, Frame]:
        """Read prompts into the cache, the signal among them; see `Fusion`."""
        return self.forward(signal_tokens, valid, **inputs), Frame(None)

    def proceed(self, frame: Frame, **inputs: Any) -> Any:
        """One step; see `Fusion`."""
        return self.backbone(**with_positions(self.base, inputs))

    @torch.no_grad()
    def measure(self, input_ids: Tensor, attention_mask: Tensor) -> list[float]:
        """How long a signal token should be: as an embedded word is at the mean. Text (B, T), padded behind."""
        return [float(self._embed(None, None, input_ids, None)[attention_mask.bool()].float().norm(dim=-1).mean())]

    def match(self, lengths: Sequence[float]) -> float:
        """Take the length of `measure`; returns the one the projector is to give."""
        (length,) = lengths
        return length

    def detach(self) -> None:
        """Nothing to undo: the backbone was never changed."""

    def _embed(self, signal_tokens: Tensor | None, valid: Tensor | None, ids: Tensor,
               parts: Sequence[int] | None) -> Tensor:
        """(B, T) ids -> (B, T, dim), in the dtype of the embeddings."""
        # Called as a module, so that LoRA, sharded weights and a scale of the family's own apply.
        embedded = self.base.get_input_embeddings()(ids.masked_fill(ids <= PLACEHOLDER, HARMLESS))
        if signal_tokens is None or signal_tokens.shape[1] == 0:
            _check_counts((ids <= PLACEHOLDER).sum(1), torch.zeros_like(ids[:, 0]))
            return embedded
        check_tokens("splice", signal_tokens, self.dim, len(ids))
        signal_tokens, real = (part.to(ids.device) for part in real_tokens(signal_tokens, valid))
        sizes = [signal_tokens.shape[1]] if parts is None else list(parts)
        for number, (tokens, own) in enumerate(zip(signal_tokens.split(sizes, 1), real.split(sizes, 1), strict=True)):
            last = number == len(sizes) - 1  # to which the ids belong that are no tower's: they are one too many
            spots = ids <= PLACEHOLDER - number if last else ids == PLACEHOLDER - number
            embedded = self._put(embedded, spots, tokens, own)
        return embedded

    def _put(self, embedded: Tensor, spots: Tensor, tokens: Tensor, real: Tensor) -> Tensor:
        """The embedded text with a row's i-th real token (B, N) at its i-th spot (B, T)."""
        _check_counts(spots.sum(1), real.sum(1))
        if not tokens.shape[1]:
            return embedded
        in_order = real.int().argsort(dim=1, descending=True, stable=True)  # (B, N): valid ones first
        which = (spots.cumsum(1) - 1).clamp(0, real.shape[1] - 1)  # (B, T): how many placeholders stand before
        taken = in_order.gather(1, which)[..., None].expand(-1, -1, self.dim)
        return torch.where(spots[..., None], tokens.to(embedded.dtype).gather(1, taken), embedded)


def _check_counts(placeholders: Tensor, signals: Tensor) -> None:
    pairs = torch.stack([placeholders, signals], 1).tolist()  # one synchronisation with the device for each tower
    for row, (wanted, given) in enumerate(pairs):
        if wanted != given:
            raise RuntimeError(f"splice fusion: row {row} has {wanted} placeholders and {given} signal tokens")


def _width(embeddings: nn.Module) -> int:
    """The width of an embedding, under whatever tuning wraps it; not from its weights, which may be sharded."""
    return next(module.embedding_dim for module in embeddings.modules() if isinstance(module, nn.Embedding))
