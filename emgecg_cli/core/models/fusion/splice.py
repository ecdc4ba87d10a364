"""Splice fusion (LLaVA): signal tokens take the places of placeholders among the embedded text.

A signal token is one more position of the sequence: it is embedded beside words, has a position, is seen causally, and
every layer works on it. It enters as the projector made it, not scaled as some families (Gemma) scale their words.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.instructions.render import PLACEHOLDER
from emgecg_cli.core.models.fusion.attention_families import FAMILIES
from emgecg_cli.core.models.fusion.inputs import with_positions
from emgecg_cli.core.models.fusion.signal_tokens import check_tokens, real_tokens, sequences
from emgecg_cli.core.models.tuning import base_of

HARMLESS = 0  # an id every vocabulary has, for looking up at a placeholder; what it embeds to is replaced


class Splice:
    """Replaces the i-th placeholder of a row by the row's i-th valid signal token; a plain object without state.

    Signal tokens are (B, N, dim), dim the width of the input embeddings: for an OPT with a narrow embedding that is its
    width, not the backbone's. Rows may hold any number of placeholders, in any number of groups; a row that has more or
    fewer than valid signal tokens raises RuntimeError.
    Raises MedReportError for an encoder-decoder backbone, for one that embeds words in more than one place, and when
    `layers` are named.
    """

    placeholders = True
    padding_side = "left"

    def __init__(self, backbone: Any, layers: Collection[int] | None = None) -> None:
        self.backbone = backbone
        self.base: Any = base_of(backbone)
        if getattr(self.base.config, "is_encoder_decoder", False):
            raise MedReportError("splice fusion needs a causal language model, "
                                 f"'{self.base.config.model_type}' is an encoder-decoder", "use prefix-kv fusion")
        text = self.base.config.get_text_config()
        # Gemma 3n and 4 look ids up again for each layer; decoders cut from BART and its like give positions by place,
        # so that padding would move the text. The families of our tests are known to do neither.
        takes_positions = "position_ids" in inspect.signature(type(self.base).forward).parameters
        if getattr(text, "hidden_size_per_layer_input", 0) or not (takes_positions or text.model_type in FAMILIES):
            raise MedReportError(f"splice fusion cannot serve '{text.model_type}', which needs more of its words than "
                                 "their embeddings and positions", "choose another backbone")
        if text.model_type not in FAMILIES and _looks_ahead(self.base):
            raise MedReportError(f"splice fusion needs a causal language model, '{text.model_type}' looks ahead: it "
                                 "would read the answer it is to learn", "choose another backbone")
        if layers is not None:
            raise MedReportError("fusion layers have no effect with splice fusion, where a signal enters at the "
                                 "embedding", "leave them out, or choose another fusion")
        self.dim = _width(self.base.get_input_embeddings())

    def forward(self, signal_tokens: Tensor | None, valid: Tensor | None = None, *, input_ids: Tensor,
                **inputs: Any) -> Any:
        """Run the backbone once on (B, T) ids with placeholders; returns its output, with logits (B, T, vocabulary)."""
        inputs["inputs_embeds"] = self._embed(signal_tokens, valid, input_ids)
        return self.backbone(**with_positions(self.base, inputs))

    @torch.no_grad()
    def generate(self, signal_tokens: Tensor | None, valid: Tensor | None = None, *, input_ids: Tensor,
                 attention_mask: Tensor | None = None, **inputs: Any) -> Tensor:
        """Left-padded prompts (B, T) -> new token ids (B, new).

        From embeddings the backbone returns nothing else, and always uses its cache. A penalty on repeated words counts
        the new ones only.
        """
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        embedded = self._embed(signal_tokens, valid, input_ids)
        return sequences(self.backbone.generate(inputs_embeds=embedded, attention_mask=mask, **inputs))

    def detach(self) -> None:
        """Nothing to undo: the backbone was never changed."""

    def _embed(self, signal_tokens: Tensor | None, valid: Tensor | None, ids: Tensor) -> Tensor:
        """(B, T) ids -> (B, T, dim), in the dtype of the embeddings."""
        spots = ids == PLACEHOLDER
        # Called as a module, so that LoRA, sharded weights and a scale of the family's own apply.
        embedded = self.base.get_input_embeddings()(ids.masked_fill(spots, HARMLESS))
        if signal_tokens is None or signal_tokens.shape[1] == 0:
            _check_counts(spots.sum(1), torch.zeros_like(ids[:, 0]))
            return embedded
        check_tokens("splice", signal_tokens, self.dim, len(ids))
        signal_tokens, real = (part.to(ids.device) for part in real_tokens(signal_tokens, valid))
        _check_counts(spots.sum(1), real.sum(1))
        in_order = real.int().argsort(dim=1, descending=True, stable=True)  # (B, N): valid ones first
        which = (spots.cumsum(1) - 1).clamp(0, real.shape[1] - 1)  # (B, T): how many placeholders stand before
        taken = in_order.gather(1, which)[..., None].expand(-1, -1, self.dim)
        signals = signal_tokens.to(embedded.dtype).gather(1, taken)
        return torch.where(spots[..., None], signals, embedded)


@torch.no_grad()
def _looks_ahead(base: Any) -> bool:
    """Whether the last word changes what a model says of those before it, by as much as the first one would."""
    training, device = base.training, base.get_input_embeddings().weight.device
    base.eval()
    plain, later, earlier = (base(input_ids=torch.tensor([ids], device=device)).logits[0, 2].float()
                             for ids in ([3, 4, 5, 6], [3, 4, 5, 7], [7, 4, 5, 6]))
    base.train(training)
    return bool((plain - later).abs().max() > 0.05 * (plain - earlier).abs().max())


def _check_counts(placeholders: Tensor, signals: Tensor) -> None:
    pairs = torch.stack([placeholders, signals], 1).tolist()  # the only synchronisation with the device
    for row, (wanted, given) in enumerate(pairs):
        if wanted != given:
            raise RuntimeError(f"splice fusion: row {row} has {wanted} placeholders and {given} signal tokens")


def _width(embeddings: nn.Module) -> int:
    """The width of an embedding, under whatever tuning wraps it; not from its weights, which may be sharded."""
    return next(module.embedding_dim for module in embeddings.modules() if isinstance(module, nn.Embedding))
