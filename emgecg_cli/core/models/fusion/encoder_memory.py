"""Fusion for encoder-decoder backbones (BART, T5): signal tokens follow the encoded text that the decoder reads.

Every cross-attention layer of the decoder projects them to keys and values with its own weights, and whatever LoRA they
carry. They have no position: BART adds positions at the encoder's input only, T5 none in cross-attention. That is what
prefix-KV fusion does in a causal model (MEIT).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutput

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.models.fusion.signal_tokens import check_tokens, real_tokens, sequences
from emgecg_cli.core.models.tuning import base_of


class EncoderMemory:
    """Runs an encoder-decoder language model with signal tokens (B, N, dim) in its memory; a plain, stateless object.

    `dim` is the backbone's width D. The text of the encoder is the prompt, that of the decoder the report; prompts are
    padded on the right. Raises MedReportError for a backbone without an encoder or without one width, and when `layers`
    are named.
    """

    placeholders = False
    padding_side = "right"

    def __init__(self, backbone: Any, layers: Collection[int] | None = None) -> None:
        self.base: Any = base_of(backbone)
        if not getattr(self.base.config, "is_encoder_decoder", False):
            raise MedReportError(f"the backbone family '{self.base.config.model_type}' has no encoder for a memory",
                                 "choose BART or T5, or another fusion")
        if layers is not None:
            raise MedReportError("fusion layers have no effect with an encoder-decoder backbone: every decoder layer "
                                 "reads the memory", "leave them out")
        if not hasattr(self.base.config, "hidden_size"):
            raise MedReportError(f"the backbone family '{self.base.config.model_type}' has an encoder and a decoder "
                                 "with a width each", "choose BART or T5")
        self.backbone = backbone
        self.dim = int(self.base.config.hidden_size)

    def forward(self, signal_tokens: Tensor | None, valid: Tensor | None = None, *, input_ids: Tensor,
                attention_mask: Tensor | None = None, prompt_ids: Tensor, prompt_mask: Tensor | None = None,
                logits_to_keep: int = 0, **inputs: Any) -> Any:
        """Decoder ids (B, T), start token first, and the encoder's prompt (B, P) -> output with logits (B, T, vocab).

        `logits_to_keep` > 0 gives the logits of the last so many positions only.
        """
        memory, mask = self._memory(signal_tokens, valid, prompt_ids, prompt_mask)
        output = self.backbone(encoder_outputs=memory, attention_mask=mask, decoder_input_ids=input_ids,
                               decoder_attention_mask=attention_mask, **inputs)
        if logits_to_keep:  # encoder-decoder models do not take it
            output.logits = output.logits[:, -logits_to_keep:]
        return output

    @torch.no_grad()
    def generate(self, signal_tokens: Tensor | None, valid: Tensor | None = None, *, input_ids: Tensor,
                 attention_mask: Tensor | None = None, **inputs: Any) -> Tensor:
        """Prompts (B, P) -> new token ids (B, new), without the decoder's start token."""
        memory, mask = self._memory(signal_tokens, valid, input_ids, attention_mask)
        return sequences(self.backbone.generate(encoder_outputs=memory, attention_mask=mask, **inputs))[:, 1:]

    def detach(self) -> None:
        """Nothing to undo: the backbone was never changed."""

    def _memory(self, signal_tokens: Tensor | None, valid: Tensor | None, prompt_ids: Tensor,
                prompt_mask: Tensor | None) -> tuple[BaseModelOutput, Tensor]:
        """Encoded text and signal (B, P + N, D), and which of it the decoder may see (B, P + N)."""
        mask = torch.ones_like(prompt_ids) if prompt_mask is None else prompt_mask
        encoded = self.base.get_encoder()(input_ids=prompt_ids, attention_mask=mask).last_hidden_state
        if signal_tokens is not None:
            check_tokens("encoder-memory", signal_tokens, self.dim, len(encoded))
            signal_tokens, columns = real_tokens(signal_tokens, valid)
            encoded = torch.cat([encoded, signal_tokens.to(encoded.device, encoded.dtype)], 1)
            mask = torch.cat([mask, columns.to(mask.device, mask.dtype)], 1)
        return BaseModelOutput(last_hidden_state=encoded), mask
