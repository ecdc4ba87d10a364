"""The backbone that needs no download: a small LLaMA built from sizes, and a tokenizer trained on the reports."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

ROLE_TAGS = ("<|system|>", "<|user|>", "<|assistant|>")


def build_tiny_llama(tokenizer: Any, seed: int, positions: int = 0, heads: int = 4) -> LlamaForCausalLM:
    """A 2-layer LLaMA of width 128 from sizes, random weights: what trains from scratch on two CPU cores.

    It takes `positions` tokens, and 512 at least; the weights do not depend on that. Tables need more `heads`, to find
    nerve, side and measure of a number.
    """
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=128, intermediate_size=352, num_hidden_layers=2,
        num_attention_heads=heads, num_key_value_heads=heads, max_position_embeddings=max(512, positions),
        initializer_range=0.06, tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        attention_dropout=0.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)


def train_tokenizer(texts: Iterable[str], vocabulary: int = 1000,
                    words: Sequence[str] = ()) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer on the given texts; the role tags are tokens of their own. Deterministic.

    A Chinese character is a token, but for these `words`, the longest first. There are no spaces to stop at, and whole
    clauses, each with its nerve, side and grade, would become tokens that can only be learnt one by one.
    """
    bpe = Tokenizer(models.BPE())
    chinese = Regex("|".join([*words, r"\p{Han}"]))
    bpe.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(chinese, "isolated"),
                                                 pre_tokenizers.ByteLevel(add_prefix_space=False)])
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=["<pad>", "<s>", "</s>", *ROLE_TAGS],
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<pad>", bos_token="<s>", eos_token="</s>",
                                   clean_up_tokenization_spaces=False)
