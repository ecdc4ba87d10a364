"""The names and shapes of GEM's released weights, and what they are called in a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Size
from transformers import LlamaConfig, LlamaForCausalLM

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.models.encoders.clip import PUBLISHED, ClipVision
from emgecg_cli.core.models.encoders.ecg_coca import HEAD_WIDTH, EcgCoca
from emgecg_cli.core.models.projector import bridge, llava_projector

# How names of a run begin, by how the published ones do; all others are the language model's, and the same
PREFIXES = {"model.ecg_tower.ecg_tower.": "towers.ecg.encoder.",
            "model.vision_tower.vision_tower.vision_model.": "towers.image.encoder.tower.",
            "model.ecg_projector.": "towers.ecg.projector.layers.", "model.mm_projector.": "towers.shared.layers."}
UNUSED = "model.image_newline"  # of LLaVA 1.6, which GEM's way of putting pictures never reads
_LANGUAGE = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
             "num_key_value_heads", "max_position_embeddings", "rms_norm_eps", "rope_theta", "rope_scaling",
             "hidden_act", "initializer_range", "bos_token_id", "eos_token_id", "pad_token_id")
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class GemSizes:
    """The language model's configuration, and the sizes of both towers as their encoders take them."""

    language: LlamaConfig
    ecg: Mapping[str, Any]
    image: Mapping[str, Any]

    def expected(self) -> dict[str, Size]:
        """The published names of such a model with their shapes."""
        with torch.device("meta"):
            width, dim = self.image["hidden_size"], self.language.hidden_size
            parts = {"model.ecg_tower.ecg_tower.": EcgCoca(**self.ecg),
                     "model.vision_tower.vision_tower.vision_model.": ClipVision(**self.image).tower,
                     "model.ecg_projector.": bridge(self.ecg["width"], 1, width).layers,
                     "model.mm_projector.": llava_projector(width, 1, dim).layers, "": LlamaForCausalLM(self.language)}
            return {prefix + name: tensor.shape for prefix, part in parts.items()
                    for name, tensor in part.state_dict().items()}


def ours(name: str) -> str | None:
    """What a run calls a weight of the towers or projectors; None for one of the language model."""
    return next((own + name.removeprefix(prefix) for prefix, own in PREFIXES.items() if name.startswith(prefix)), None)


def published(name: str) -> str | None:
    """The inverse of `ours`; None for a weight that GEM does not have."""
    return next((prefix + name.removeprefix(own) for prefix, own in PREFIXES.items() if name.startswith(own)), None)


def sizes_of(config: Path, shapes: Shapes) -> GemSizes:
    """The sizes of released weights: depths as published, widths as the weights have them. Where one that would say it
    is missing, the published size: what does not fit is told by `expected`.

    Raises MedReportError for a configuration that is not GEM's.
    """
    try:
        held = json.loads(config.read_bytes())
        if not isinstance(held, dict) or "LlavaLlama" not in str(held.get("architectures")):
            raise ValueError("its architecture is not LlavaLlamaForCausalLM")
        language = LlamaConfig.from_dict({key: held[key] for key in _LANGUAGE if key in held})
    except (OSError, ValueError, TypeError) as error:
        raise MedReportError(f"{config}: not the configuration of GEM ({' '.join(str(error).split())[:120]})",
                             "give the folder of LANSG/GEM: `hf download LANSG/GEM --local-dir DIR`") from None
    language.tie_word_embeddings = False

    def shape(name: str, otherwise: tuple[int, ...]) -> tuple[int, ...]:
        found = shapes.get(name, ())
        return found if len(found) == len(otherwise) else otherwise

    ecg, image = ("model.ecg_tower.ecg_tower.", "model.vision_tower.vision_tower.vision_model.")
    tokens, width = shape(ecg + "positional_embedding", (101, 768))
    patch = shape(ecg + "conv1.weight", (768, 12, 50))[2]
    hidden, _, size, _ = shape(image + "embeddings.patch_embedding.weight", (1024, 3, 14, 14))
    places = shape(image + "embeddings.position_embedding.weight", (577, 1024))[0]
    inner = shape(image + "encoder.layers.0.mlp.fc1.weight", (4096, 1024))[0]
    return GemSizes(
        language,
        {"samples": (tokens - 1) * patch, "patch": patch, "width": width,
         "latent": shape(ecg + "proj", (768, 512))[1]},
        PUBLISHED | {"hidden_size": hidden, "intermediate_size": inner, "patch_size": size,
                     "image_size": size * round((places - 1) ** 0.5),
                     "num_attention_heads": max(1, hidden // HEAD_WIDTH)})
