"""Causal language models and their tokenizers: by name, hub id or path, or built from sizes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from emgecg_cli.core import names
from emgecg_cli.core.errors import MedReportError

MEGABYTE = 1 << 20
ROLE_TAGS = ("<|system|>", "<|user|>", "<|assistant|>")


def machine_at_hand() -> dict[str, str]:
    """The type of the device here, and the precision that suits it: bf16 where it has it, else fp32."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return {"device": device, "precision": "bf16" if device == "cuda" and torch.cuda.is_bf16_supported() else "fp32"}


def load_backbone(name: str, dtype: torch.dtype, revision: str | None = None) -> tuple[Any, Any]:
    """Load model and tokenizer of a known name, a hub id or a local folder; only safetensors, no remote code.

    `revision` is the commit of a hub model, None for its newest.
    Raises MedReportError saying what is missing: files, access, or a tokenizer without EOS.
    """
    where = _location(name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(where, revision=revision or "main", trust_remote_code=False)
        model = AutoModelForCausalLM.from_pretrained(where, revision=revision or "main", dtype=dtype,
                                                     use_safetensors=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise _cannot_load(name, where, error) from None
    if tokenizer.eos_token_id is None:
        raise MedReportError(f"backbone {name}: its tokenizer has no EOS token", "a report must end; add one")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token  # masks are explicit everywhere, so the pad's identity is free
    return model, tokenizer


def fingerprint(folder: Path) -> str:
    """SHA-256 over a backbone's folder: small files whole, weights by size, first and last megabyte.

    Enough to notice another model or other training, without reading 100 GB twice.
    """
    digest = hashlib.sha256()
    kinds = (".json", ".safetensors", ".jinja", ".model")
    for path in sorted(path for path in folder.iterdir() if path.suffix in kinds):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as stream:
            digest.update(stream.read(MEGABYTE))
            stream.seek(max(0, size - MEGABYTE))
            digest.update(stream.read())
    return digest.hexdigest()


def _location(name: str) -> str:
    if Path(name).is_dir():
        return name
    if name in names.BACKBONES:
        return names.BACKBONES[name]
    if name.startswith((".", "/", "~")):
        raise MedReportError(f"backbone {name}: no such folder", "give a folder in Hugging Face format, or a hub id")
    if "/" not in name:
        raise names.unknown_name("backbone", name, names.BACKBONES)
    return name


def _cannot_load(name: str, where: str, error: Exception) -> MedReportError:
    reason = " ".join(str(error).split())
    first = reason.split(". ")[0][:300]
    if Path(where).is_dir():
        return MedReportError(f"backbone {name}: cannot load {where}: {first}",
                              "the folder needs config.json, *.safetensors and tokenizer files")
    if "gated" in reason or "401" in reason or "403" in reason:
        return MedReportError(f"backbone {name}: no access to {where} on the Hugging Face hub",
                              f"accept its licence at https://huggingface.co/{where}, then run `hf auth login`")
    return MedReportError(f"backbone {name}: {where} is neither in the local cache nor can it be downloaded: {first}",
                          f"with a network: `hf download {where}`; without: copy a folder and give its path; "
                          "`--backbone tiny` needs no download")


def build_tiny_llama(tokenizer: Any, seed: int) -> LlamaForCausalLM:
    """A 2-layer LLaMA of width 128 from sizes, random weights: what trains from scratch on two CPU cores."""
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=128, intermediate_size=352, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=512, initializer_range=0.06, tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        attention_dropout=0.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)


def train_tokenizer(texts: Iterable[str], vocabulary: int = 1000) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer on the given texts; the role tags are tokens of their own. Deterministic."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=["<pad>", "<s>", "</s>", *ROLE_TAGS],
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<pad>", bos_token="<s>", eos_token="</s>",
                                   clean_up_tokenization_spaces=False)
