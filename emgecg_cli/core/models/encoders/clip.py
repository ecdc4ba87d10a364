"""CLIP's vision tower, as transformers has it: pictures to one vector for each patch of the last layer but one."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel

from emgecg_cli.core.models.encoders.patches import pool

PUBLISHED: dict[str, Any] = dict(hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16,
                                 image_size=336, patch_size=14)  # ViT-L/14-336


class ClipVision(nn.Module):
    """Pictures (B, 3, H, W), or K of each record (B, K, 3, H, W), to `tokens` vectors of each picture.

    What lies behind the layer that is read serves CLIP's comparison with texts alone: it stays as it is.
    """

    def __init__(self, **sizes: Any) -> None:
        super().__init__()
        # The fused kernels sum their gradients in no fixed order on a GPU.
        settings: Any = dict(sizes, attn_implementation="eager")
        self.tower = CLIPVisionModel(CLIPVisionConfig(**settings))
        config: Any = self.tower.config
        self.width = config.hidden_size
        self.tokens = (config.image_size // config.patch_size) ** 2
        for unread in (self.tower.encoder.layers[-1], self.tower.post_layernorm):
            unread.requires_grad_(False)

    def forward(self, images: Tensor, tokens: int = 1) -> Tensor:
        """-> (B, tokens, E): as many as K pictures have are all of them, any other number means of stretches."""
        each = images.flatten(0, -4)  # (B, K, 3, H, W) -> (B * K, 3, H, W)
        states = self.tower(pixel_values=each, output_hidden_states=True).hidden_states[-2][:, 1:]
        patches = states.reshape(len(images), -1, self.width)
        return patches if tokens == patches.shape[1] else pool(patches, tokens)


def clip_vision(**sizes: Any) -> ClipVision:
    """A tower of these sizes, those of ViT-L/14-336 if none are given: 303,507,456 parameters, 576 tokens."""
    return ClipVision(**(sizes or PUBLISHED))
