"""The image tower, GEM's two projectors, and the sizes of the whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import CLIPConfig, CLIPModel, CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaForCausalLM

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.models.builders import build_report_model
from emgecg_cli.core.models.encoders.clip import ClipVision, clip_vision
from emgecg_cli.core.models.encoders.page_cnn import page_tiny
from emgecg_cli.core.models.image_tower import load_image_weights, open_image_tower

SMALL: dict[str, Any] = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=2,
                             image_size=64, patch_size=16)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_whole_has_the_published_counts_and_677_slots() -> None:
    with torch.device("meta"):
        backbone = LlamaForCausalLM(LlamaConfig(vocab_size=100, hidden_size=4096, num_hidden_layers=1))
        model = build_report_model(backbone, encoder="ecg-coca,clip", projector="shared-gelu", fusion="splice",
                                   signal_tokens=1, token_norm="none", seed=0)
        assert model.placeholders == {"ecg": 101, "image": 576}
        towers = model.towers
        assert count(towers["ecg"].encoder) == 85_989_888 and count(towers["image"].encoder) == 303_507_456
        assert count(towers["ecg"].projector) == 787_456 and count(towers["image"].projector) == 0
        assert towers.shared is not None and count(towers.shared) == 20_979_712
        seen = model.see({"ecg": torch.zeros(2, 12, 5000), "image": torch.zeros(2, 3, 336, 336)})
        assert seen.tokens is not None and seen.tokens.shape == (2, 677, 4096) and seen.parts == (101, 576)
        tiled = build_report_model(backbone, encoder="clip", projector="shared-gelu", fusion="splice", signal_tokens=1,
                                   token_norm="none", seed=0, image_mode="anyres")
        assert tiled.placeholders == {"image": 5 * 576}
        assert tiled.see({"image": torch.zeros(2, 5, 3, 336, 336)}).parts == (5 * 576,)


def test_the_two_projectors_are_the_specs_arithmetic() -> None:
    torch.manual_seed(0)
    backbone = LlamaForCausalLM(LlamaConfig(vocab_size=9, hidden_size=48, intermediate_size=8, num_hidden_layers=1,
                                            num_attention_heads=4))
    model = build_report_model(backbone, encoder="ecg-coca-tiny,clip", projector="shared-gelu", fusion="splice",
                               signal_tokens=1, token_norm="none", seed=0, sizes={"clip": SMALL}).eval()
    ecg, image = torch.randn(2, 12, 1000), torch.randn(2, 3, 64, 64)
    held: dict[str, torch.Tensor] = {name: tensor for name, tensor in model.state_dict().items() if "towers." in name}
    with torch.no_grad():
        tokens = model.see({"ecg": ecg, "image": image}).tokens
        first = nn.functional.linear(model.towers["ecg"].encoder(ecg, 41), held["towers.ecg.projector.layers.weight"],
                                     held["towers.ecg.projector.layers.bias"])
        both = torch.cat([first, model.towers["image"].encoder(image, 16)], 1)
        for name in ("0", "2"):
            both = nn.functional.linear(both, held[f"towers.shared.layers.{name}.weight"],
                                        held[f"towers.shared.layers.{name}.bias"])
            both = nn.functional.gelu(both) if name == "0" else both
    torch.testing.assert_close(tokens, both)


@pytest.mark.parametrize("whole", [True, False])
def test_a_tower_gives_the_patches_of_the_last_layer_but_one(tmp_path: Path, whole: bool) -> None:
    torch.manual_seed(0)
    if whole:
        clip = CLIPModel(CLIPConfig(vision_config=SMALL, text_config=dict(
            hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, vocab_size=50)))
        clip.save_pretrained(tmp_path)
        vision: Any = clip.vision_model
    else:
        vision = CLIPVisionModel(CLIPVisionConfig(**SMALL))
        vision.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    tower = open_image_tower(str(tmp_path))
    encoder = ClipVision(**tower.sizes).eval()
    load_image_weights(encoder, tmp_path)
    pictures = torch.randn(2, 3, 3, 64, 64)  # three of each record
    with torch.no_grad():
        expected = vision.eval()(pixel_values=pictures.flatten(0, 1), output_hidden_states=True).hidden_states[-2]
        patches = expected[:, 1:].reshape(2, 48, 32)
        torch.testing.assert_close(encoder(pictures, 48), patches, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(encoder(pictures[:, 1], 16), patches[:, 16:32], atol=1e-5, rtol=1e-4)
    idle = {name for name, parameter in encoder.named_parameters() if not parameter.requires_grad}
    encoder(pictures, 48).sum().backward()
    assert idle == {name for name, parameter in encoder.named_parameters() if parameter.grad is None}
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(MedReportError, match=r"not the configuration of a CLIP .*'llama'"):
        open_image_tower(str(tmp_path))


def test_a_small_network_reads_a_page_in_bands_from_top_to_bottom() -> None:
    torch.manual_seed(0)
    encoder = page_tiny().eval()
    page = torch.zeros(2, 3, 96, 128)
    lower = page.clone()
    lower[..., 80:, :] = torch.randn(3, 16, 128)
    with torch.no_grad():
        bands = encoder(page, 6)
        assert bands.shape == (2, 6, encoder.width) and encoder(page).shape == (2, 1, encoder.width)
        moved = (encoder(lower, 6) - bands).norm(dim=-1)[0]
        tiles = torch.randn(2, 3, 3, 32, 32)
        torch.testing.assert_close(encoder(tiles, 6)[:, :2], encoder(tiles[:, 0], 2))
    assert moved.argmax() == 5 and moved[:3].max() == 0
    encoder.train()(page, 6).square().sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())


def test_towers_that_are_not_there_are_refused_in_the_words_of_the_option() -> None:
    with pytest.raises(MedReportError, match=r"image tower \./nowhere: no such folder"):
        open_image_tower("./nowhere")
    with torch.device("meta"):
        assert clip_vision().tokens == 576
