"""Encoders: the published sizes, the contract every one of them keeps, and Mamba against its reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn
from transformers import MambaConfig
from transformers.models.mamba.modeling_mamba import MambaMixer

from emgecg_cli.core import names
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.models.encoders import load_encoder_weights, save_encoder_weights
from emgecg_cli.core.models.encoders.mamba import Mamba1d, Mixer
from emgecg_cli.core.models.encoders.patches import PatchStem, cut, linear_stem, pool, positions, stretches
from emgecg_cli.core.models.encoders.vit1d import TransformerBlock, Vit1d
from emgecg_cli.core.models.projector import mlp_projector

SIZES = {  # width, parameters
    "resnet18": (512, 3_848_832), "resnet34": (512, 7_223_168), "resnet50": (2048, 15_959_168),
    "resnet101": (2048, 28_266_624), "resnet152": (2048, 38_405_248), "vit1d": (768, 98_142_336),
    "mamba": (744, 85_719_216), "resnet18-tiny": (256, 397_472), "vit1d-tiny": (96, 259_728),
    "mamba-tiny": (96, 162_576), "ecg-coca": (768, 85_989_888), "ecg-coca-tiny": (96, 374_880)}
LARGE = ["resnet34", "resnet101", "resnet152", "vit1d", "mamba", "ecg-coca"]
TOKENS = (1, 4, 7)
ODD_LENGTH = 331
OF_SIGNALS = names.encoders_reading("ecg")


def build(name: str, device: str = "cpu") -> nn.Module:
    with torch.device(device):
        torch.manual_seed(0)
        return names.resolve("encoder", name)()


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("name", OF_SIGNALS)
def test_every_encoder_has_its_published_size(name: str) -> None:
    encoder = build(name, "meta")
    assert (encoder.width, count(encoder)) == SIZES[name]


def test_the_sizes_are_those_the_paper_gives_in_millions() -> None:
    assert [round(SIZES[name][1] / 1e6) for name in ("vit1d", "mamba")] == [98, 86]
    assert SIZES["resnet50"][1] + count(mlp_projector(2048, 1, 128)) == 20_422_144


def test_resnet50_halves_time_as_the_paper_says() -> None:
    encoder = build("resnet50", "meta")
    assert encoder.stem(torch.zeros(1, 12, 5000, device="meta")).shape[-1] == 2500
    assert encoder.stages(torch.zeros(1, 64, 2500, device="meta")).shape == (1, 2048, 313)


@pytest.mark.parametrize("name", OF_SIGNALS)
def test_every_encoder_keeps_the_contract(name: str) -> None:
    device = "meta" if name in LARGE else "cpu"  # on meta only shapes, and which parameters take part
    encoder = build(name, device).eval()
    signal = torch.randn(3, 12, ODD_LENGTH, device=device)
    for tokens in TOKENS if device == "cpu" else TOKENS[2:]:
        features = encoder(signal, tokens)
        assert features.shape == (3, tokens, encoder.width)
        if device == "cpu":
            assert torch.isfinite(features).all()
            # no row sees another
            torch.testing.assert_close(encoder(signal[1:2], tokens), features[1:2], atol=1e-4, rtol=1e-3)
    encoder.train()(signal, 4).square().sum().backward()
    for key, parameter in encoder.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, key
        assert device == "meta" or not parameter.requires_grad or parameter.grad.abs().max() > 0, key


@pytest.mark.parametrize("name", ["resnet18-tiny", "vit1d-tiny", "mamba-tiny"])
@pytest.mark.parametrize("length", [1, 26, 1000])
def test_any_length_gives_any_number_of_tokens(name: str, length: int) -> None:
    encoder = build(name).eval()
    features = encoder(torch.randn(2, 12, length), 40)
    assert features.shape == (2, 40, encoder.width) and torch.isfinite(features).all()


@pytest.mark.parametrize("name", ["resnet18", "resnet18-tiny", "vit1d-tiny", "mamba-tiny"])
def test_tokens_are_in_the_order_of_time(name: str) -> None:
    encoder = build(name).eval()
    quiet = torch.zeros(1, 12, 1000)
    late = quiet.clone()
    late[..., 900:] = torch.randn(12, 100)
    moved = (encoder(late, 5) - encoder(quiet, 5)).norm(dim=-1)[0]
    assert moved.argmax() == 4


def test_one_token_is_the_pooling_over_all_time() -> None:
    signal = torch.randn(4, 12, 500)
    plain, tiny = build("resnet18").eval(), build("resnet18-tiny").train()
    with torch.no_grad():
        over_time = plain.stages(plain.stem(signal))
        assert torch.equal(plain(signal)[:, 0], over_time.mean(-1))
        over_time = tiny.stages(tiny.stem(signal))
        pooled = torch.cat([over_time.mean(-1), over_time.amax(-1)], -1)
        torch.testing.assert_close(tiny(signal)[:, 0], F.batch_norm(pooled, None, None, training=True))


def test_stretches_are_those_of_adaptive_pooling() -> None:
    for length, tokens in ((10, 1), (10, 3), (10, 10), (3, 7), (1, 4), (63, 8)):
        states = torch.randn(2, length, 5)
        expected = F.adaptive_avg_pool1d(states.transpose(1, 2), tokens).transpose(1, 2)
        torch.testing.assert_close(pool(states, tokens), expected)
        assert len(stretches(length, tokens)) == tokens


def test_patches_hold_every_sample_and_the_baseline_behind_it() -> None:
    signal = torch.arange(2 * 3 * 7.0).view(2, 3, 7)
    patches = cut(signal, 4)
    assert patches.shape == (2, 2, 3, 4)
    assert torch.equal(patches[:, 0], signal[..., :4]) and torch.equal(patches[:, 1, :, :3], signal[..., 4:])
    assert not patches[:, 1, :, 3].any()
    assert cut(signal, 7).shape == (2, 1, 3, 7)


def test_positions_are_the_sines_and_cosines_of_the_transformer() -> None:
    found = positions(30, 8, torch.device("cpu")).numpy()
    for k in range(4):
        angles = np.arange(30) / 10_000 ** (2 * k / 8)
        np.testing.assert_allclose(found[:, k], np.sin(angles), atol=1e-5)
        np.testing.assert_allclose(found[:, 4 + k], np.cos(angles), atol=1e-5)


def test_the_attention_is_torchs() -> None:
    torch.manual_seed(0)
    block, x = TransformerBlock(12, 3, 20), torch.randn(2, 6, 12)
    ours = block.out(block._attend(x))
    theirs, _ = F.multi_head_attention_forward(
        *[x.transpose(0, 1)] * 3, 12, 3, block.qkv.weight, block.qkv.bias, None, None, False, 0.0, block.out.weight,
        block.out.bias, need_weights=False)
    torch.testing.assert_close(ours, theirs.transpose(0, 1))


def test_a_patch_is_seen_by_its_own_state_alone_before_the_blocks() -> None:
    for stem in (linear_stem(12, 25, 16), PatchStem(12, 25, 4, 16)):
        patches = torch.randn(1, 6, 12, 25)
        before = stem(patches)
        patches[:, 2] += 1.0
        changed = (stem(patches) - before).abs().amax(-1)[0] > 0
        assert changed.tolist() == [i == 2 for i in range(6)]


# --------------------------------------------------------------------------------------------------------------- mamba
def test_the_mixer_is_that_of_transformers() -> None:
    torch.manual_seed(0)
    theirs = MambaMixer(MambaConfig(hidden_size=24, state_size=8, num_hidden_layers=1), 0)
    ours = Mixer(24, 8)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(3, 17, 24)
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-6, rtol=1e-5)
    ours(x).square().sum().backward()
    theirs(x).square().sum().backward()
    expected = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name].grad, atol=1e-5, rtol=1e-4)


def test_a_new_mixer_starts_as_mamba_does() -> None:
    mixer = Mixer(64, 16)
    steps = F.softplus(mixer.dt_proj.bias)
    assert 1e-3 <= steps.min() < 2e-3 and 0.05 < steps.max() <= 0.1001
    torch.testing.assert_close(mixer.A_log.exp(), torch.arange(1.0, 17).expand(128, 16))


def test_mamba_sees_the_recording_from_both_ends() -> None:
    torch.manual_seed(0)
    encoder = Mamba1d(linear_stem(12, 10, 16), patch=10, width=16, depth=2, state=4).eval()
    signal = torch.randn(1, 12, 100)
    before = encoder(signal, 10)
    for place in (0, 99):  # the first sample, and the last one
        other = signal.clone()
        other[..., place] += 1.0
        assert ((encoder(other, 10) - before).abs().amax(-1) > 0).all()


# ------------------------------------------------------------------------------------------------------------- weights
def test_weights_come_back_equal(tmp_path: Path) -> None:
    encoder = build("resnet18-tiny")
    encoder.train()(torch.randn(4, 12, 200))  # moves BatchNorm's buffers
    save_encoder_weights(tmp_path, "resnet18-tiny", encoder.state_dict())
    other = names.resolve("encoder", "resnet18-tiny")()
    load_encoder_weights(other, tmp_path / "encoder.safetensors")
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name


def test_wrong_weights_are_refused_by_name(tmp_path: Path) -> None:
    vit = build("vit1d-tiny")
    file = tmp_path / "encoder.safetensors"
    before = {name: tensor.clone() for name, tensor in vit.state_dict().items()}
    for path, message in ((tmp_path / "nowhere", "no weights"), (tmp_path, "not a finished encoder")):
        with pytest.raises(MedReportError, match=message):
            load_encoder_weights(vit, path)
    file.write_bytes(b"not safetensors at all")
    with pytest.raises(MedReportError, match="no weights of an encoder"):
        load_encoder_weights(vit, file)
    save_encoder_weights(tmp_path, "mamba-tiny", build("mamba-tiny").state_dict())
    with pytest.raises(MedReportError, match="encoder mamba-tiny") as raised:
        load_encoder_weights(vit, file)
    assert raised.value.hint == "give --encoder mamba-tiny"
    wider = Vit1d(PatchStem(12, 25, 24, 48), patch=25, width=48, depth=3, heads=6, mlp=192)
    save_encoder_weights(tmp_path, "vit1d-tiny", wider.state_dict())  # the same names, other shapes
    with pytest.raises(MedReportError, match="do not fit"):
        load_encoder_weights(vit, file)
    save_file({"x": torch.zeros(1)}, file)
    with pytest.raises(MedReportError, match="something else"):
        load_encoder_weights(vit, file)
    assert all(torch.equal(vit.state_dict()[name], tensor) for name, tensor in before.items())
