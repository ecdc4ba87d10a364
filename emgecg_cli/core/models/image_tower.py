"""Which image tower is meant by `--image-tower`: its sizes, and where its weights lie."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPVisionModel

from emgecg_cli.core import names
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.models.capacity import Use
from emgecg_cli.core.models.encoders.clip import ClipVision
from emgecg_cli.core.models.hub import locate, obtain
from emgecg_cli.core.models.other_formats import CONFIG
from emgecg_cli.core.models.weight_names import misfit

ENCODER = "clip"
TINY = "tiny"
# Trains from scratch on two CPU cores: 64 patches of a picture of 256 pixels.
_TINY: dict[str, Any] = dict(hidden_size=96, intermediate_size=192, num_hidden_layers=4, num_attention_heads=6,
                             image_size=256, patch_size=32)
_KEPT = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "image_size", "patch_size",
         "hidden_act", "layer_norm_eps", "num_channels")
_LOADING = (OSError, ValueError, KeyError, RuntimeError, TypeError)


@dataclass(frozen=True)
class ImageTower:
    """The sizes of a tower, as `ClipVision` takes them, and the folder of its weights; None: new ones."""

    sizes: Mapping[str, Any]
    folder: Path | None = None


def open_image_tower(name: str) -> ImageTower:
    """"tiny", a folder with a CLIP or its vision part, or a hub id, which is fetched if it is not in the cache.

    Raises MedReportError where there is no such tower.
    """
    if name == TINY:
        return ImageTower(_TINY)
    try:
        folder = obtain(locate(name), Use(torch.float32))
    except MedReportError as error:
        raise MedReportError(error.message.replace("backbone ", "image tower ", 1),
                             (error.hint or "").replace("--backbone", "--image-tower")) from None
    return ImageTower(read_sizes(folder / CONFIG), folder)


def read_sizes(file: Path) -> dict[str, Any]:
    """The sizes a configuration of CLIP says. Raises MedReportError where it is another model's."""
    try:
        held = json.loads(file.read_bytes())
        kind = held.get("model_type")
        vision = held["vision_config"] if kind == "clip" else held
        if kind not in ("clip", "clip_vision_model"):
            raise ValueError(f"it says model_type '{kind}'")
        return {key: vision[key] for key in _KEPT if key in vision}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MedReportError(f"{file}: not the configuration of a CLIP ({' '.join(str(error).split())[:120]})",
                             "give a folder or hub id of a CLIP, such as openai/clip-vit-large-patch14-336") from None


def load_image_weights(encoder: ClipVision, folder: Path) -> None:
    """Give an encoder the weights of a folder; raises MedReportError where they do not fit."""
    try:
        loaded: Any = CLIPVisionModel.from_pretrained(folder, use_safetensors=True, trust_remote_code=False,
                                                      local_files_only=True, output_loading_info=True)
    except _LOADING as error:
        raise MedReportError(f"image tower {folder}: cannot be loaded: {' '.join(str(error).split())[:200]}",
                             "give a folder with the safetensors of a CLIP") from None
    model, found = loaded
    held: dict[str, Tensor] = {name: tensor for name, tensor in model.state_dict().items()
                               if name not in found["missing_keys"]}
    if wrong := misfit(held, encoder.tower.state_dict()):
        raise MedReportError(f"image tower {folder}: its weights do not fit its sizes ({wrong})",
                             "fetch it again from where it came")
    encoder.tower.load_state_dict(held)


def sizes_of(encoder: str, image_tower: str) -> dict[str, dict[str, Any]]:
    """The sizes of those encoders, by name, that the table does not say."""
    if ENCODER not in names.encoders_of(encoder).values():
        return {}
    return {ENCODER: dict(open_image_tower(image_tower).sizes)}
