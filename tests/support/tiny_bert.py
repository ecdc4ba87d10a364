"""A tiny BERT of random weights with a tokenizer of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

SIZES: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 48}


def make_bert(folder: Path, corpus: Sequence[str]) -> Path:
    """Three random layers and a WordPiece vocabulary; its tokenizer states no length limit."""
    import torch
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertConfig, BertModel, BertTokenizer

    trained = BertWordPieceTokenizer()
    trained.train_from_iterator(corpus, vocab_size=150, show_progress=False)
    torch.manual_seed(0)
    config = BertConfig(vocab_size=trained.get_vocab_size(), max_position_embeddings=64, **SIZES)
    BertModel(config).save_pretrained(folder)
    BertTokenizer(vocab=trained.get_vocab()).save_pretrained(folder)
    return folder
