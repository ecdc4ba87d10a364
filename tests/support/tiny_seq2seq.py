"""Tiny random encoder-decoder models, with weights large enough for a wrong signal to show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from peft import LoraConfig, TaskType, get_peft_model
from transformers import BartConfig, BartForConditionalGeneration, T5Config, T5ForConditionalGeneration

TOKENS: dict[str, Any] = dict(vocab_size=40, pad_token_id=0, eos_token_id=1)


def _bart() -> BartForConditionalGeneration:
    return BartForConditionalGeneration(BartConfig(
        **TOKENS, bos_token_id=2, decoder_start_token_id=1, forced_eos_token_id=None, d_model=24, encoder_layers=2,
        decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=32, decoder_ffn_dim=32,
        max_position_embeddings=32, dropout=0.0, attention_dropout=0.0, activation_dropout=0.0))


def _t5() -> T5ForConditionalGeneration:
    return T5ForConditionalGeneration(T5Config(
        **TOKENS, decoder_start_token_id=0, d_model=24, d_kv=6, d_ff=32, num_layers=2, num_heads=4, dropout_rate=0.0,
        feed_forward_proj="gated-gelu", tie_word_embeddings=False))


SEQ2SEQ: dict[str, Callable[[], Any]] = {"bart": _bart, "t5": _t5}
START = {"bart": 1, "t5": 0}  # the decoder's start token


def make_seq2seq(family: str, lora: bool = False) -> Any:
    """A model in evaluation mode; with `lora` a peft model whose adapters are not zero either."""
    torch.manual_seed(1)
    lm = SEQ2SEQ[family]().eval()
    with torch.no_grad():
        for name, parameter in lm.named_parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.randn_like(parameter) * 0.3)
            elif not name.endswith("norm.weight"):
                parameter.copy_(torch.randn_like(parameter) * 0.2)
    if lora:
        lm = get_peft_model(lm, LoraConfig(r=3, lora_alpha=6, target_modules="all-linear", init_lora_weights=False,
                                           task_type=TaskType.SEQ_2_SEQ_LM))
    return lm
