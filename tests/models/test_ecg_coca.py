"""ECG-CoCa: the published layout against an oracle, its checkpoint, its unit, rate, length and order of leads."""

from __future__ import annotations

import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pipeline import short_config
from safetensors.torch import load_file
from torch import Tensor

from emgecg_cli.core import names
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.models.encoders import load_encoder_weights
from emgecg_cli.core.models.encoders.ecg_coca import EcgCoca, ecg_coca
from emgecg_cli.core.models.preprocessing import preprocessing_of
from emgecg_cli.core.signals.leads import MISSING
from emgecg_cli.core.training.run import train

SMALL: dict[str, Any] = dict(width=24, layers=2, latent=10, heads=3)


def published(width: int, layers: int, latent: int) -> dict[str, tuple[int, ...]]:
    """The names and shapes of the published encoder, at any width."""
    block = {"ln_1.weight": (width,), "ln_1.bias": (width,), "attn.in_proj_weight": (3 * width, width),
             "attn.in_proj_bias": (3 * width,), "attn.out_proj.weight": (width, width), "attn.out_proj.bias": (width,),
             "ln_2.weight": (width,), "ln_2.bias": (width,), "mlp.c_fc.weight": (4 * width, width),
             "mlp.c_fc.bias": (4 * width,), "mlp.c_proj.weight": (width, 4 * width), "mlp.c_proj.bias": (width,)}
    shapes = {"class_embedding": (width,), "positional_embedding": (101, width), "proj": (width, latent),
              "conv1.weight": (width, 12, 50)}
    shapes |= {f"{norm}.{part}": (width,) for norm in ("ln_pre", "ln_post") for part in ("weight", "bias")}
    return shapes | {f"transformer.resblocks.{i}.{name}": shape for i in range(layers) for name, shape in block.items()}


def weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: 0.3 * torch.randn(shape, generator=generator) + ("ln_" in name and name.endswith("weight"))
            for name, shape in shapes.items()}


def oracle(held: dict[str, Tensor], signal: Tensor, layers: int, heads: int) -> Tensor:
    """The spec read line by line, with torch's own attention: (B, 12, 5000) -> (B, 101, E), before the last norm."""
    width = len(held["class_embedding"])

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (width,), held[f"{name}.weight"], held[f"{name}.bias"], 1e-5)

    x = F.conv1d(signal, held["conv1.weight"], stride=50).permute(0, 2, 1)
    x = torch.cat([held["class_embedding"][None, None].repeat(len(x), 1, 1), x], 1) + held["positional_embedding"]
    x = norm(x, "ln_pre")
    for i in range(layers):
        at = f"transformer.resblocks.{i}."
        y = norm(x, at + "ln_1").transpose(0, 1)
        y, _ = F.multi_head_attention_forward(
            y, y, y, width, heads, held[at + "attn.in_proj_weight"], held[at + "attn.in_proj_bias"], None, None, False,
            0.0, held[at + "attn.out_proj.weight"], held[at + "attn.out_proj.bias"], need_weights=False)
        x = x + y.transpose(0, 1)
        y = F.gelu(F.linear(norm(x, at + "ln_2"), held[at + "mlp.c_fc.weight"], held[at + "mlp.c_fc.bias"]))
        x = x + F.linear(y, held[at + "mlp.c_proj.weight"], held[at + "mlp.c_proj.bias"])
    return x


def checkpoint(held: dict[str, Tensor], file: Path, prefix: str = "module.ecg.", **more: Any) -> Path:
    state = {prefix + name: tensor for name, tensor in held.items()} | {"module.logit_scale": torch.tensor(2.0)}
    torch.save({"epoch": 20, "name": "wfep", "state_dict": state, "optimizer": {"state": {}}, **more}, file)
    return file


def test_the_published_names_shapes_and_count() -> None:
    with torch.device("meta"):
        encoder = ecg_coca()
    expected = published(768, 12, 512)
    assert len(expected) == 152
    assert {name: tuple(tensor.shape) for name, tensor in encoder.state_dict().items()} == expected
    assert encoder(torch.zeros(1, 12, 5000, device="meta"), 101).shape == (1, 101, 768)


@pytest.mark.parametrize("prefix", ["module.ecg.", "ecg."])
def test_a_checkpoint_loads_and_gives_what_the_spec_says(tmp_path: Path, prefix: str) -> None:
    held = weights(published(24, 2, 10))
    encoder = EcgCoca(**SMALL).eval()
    load_encoder_weights(encoder, checkpoint(held, tmp_path / "cpt_wfep_epoch_20.pt", prefix))
    signal = torch.randn(2, 12, 5000, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found, expected = encoder(signal, 101), oracle(held, signal, 2, 3)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
        pooled = F.layer_norm(expected, (24,), held["ln_post.weight"], held["ln_post.bias"])[:, 0] @ held["proj"]
        torch.testing.assert_close(encoder.latent(signal), F.normalize(pooled, dim=-1), atol=1e-4, rtol=1e-4)
        short, padded = signal[..., :3000], torch.cat([signal[..., :3000], torch.zeros(2, 12, 2000)], -1)
        assert torch.equal(encoder(short, 101), encoder(padded, 101))
        assert torch.equal(encoder(torch.cat([signal, short], -1), 101), found)


def test_what_does_not_fit_is_listed_and_nothing_but_tensors_is_read(tmp_path: Path) -> None:
    encoder, file = EcgCoca(**SMALL), tmp_path / "x.pt"
    held = weights(published(24, 2, 10))
    wrong = {("ln_pre.wheight" if name == "ln_pre.weight" else name): tensor for name, tensor in held.items()}
    wrong["proj"] = torch.zeros(24, 9)
    with pytest.raises(MedReportError) as raised:
        load_encoder_weights(encoder, checkpoint(wrong, file))
    assert "missing: ln_pre.weight; not known: ln_pre.wheight" in str(raised.value)
    assert "proj (24, 9) instead of (24, 10)" in str(raised.value)
    with pytest.raises(MedReportError, match="tensors alone"):
        load_encoder_weights(encoder, checkpoint(held, file, args=SimpleNamespace(a=1)))
    torch.serialization.add_safe_globals([SimpleNamespace])  # what a package of this process allows is not allowed here
    try:
        with pytest.raises(MedReportError, match="tensors alone"):
            load_encoder_weights(encoder, file)
        assert SimpleNamespace in torch.serialization.get_safe_globals()
    finally:
        torch.serialization.clear_safe_globals()
    torch.save({"state_dict": {"module.visual.x": torch.zeros(1)}}, file)
    with pytest.raises(MedReportError, match=r"no name begins with module.ecg. or ecg. \(it holds module.visual.x"):
        load_encoder_weights(encoder, file)
    file.write_bytes(b"\x80\x02nothing")
    with pytest.raises(MedReportError, match="tensors alone"):
        load_encoder_weights(encoder, file)
    assert not zipfile.is_zipfile(file)


def test_recordings_enter_in_millivolts_at_500_hz_in_the_order_asked_for() -> None:
    signal = np.arange(12, dtype=np.int16)[:, None].repeat(1000, 1) * 100
    signal[0, 300] = MISSING
    for dataset, order, swapped in (("ptb-xl", "canonical", False), ("ptb-xl", "as-file", False),
                                    ("ptb-xl", "mimic", True), ("mimic-iv-ecg", "as-file", True),
                                    ("mimic-iv-ecg", "canonical", False)):
        store: Any = SimpleNamespace(dataset=dataset, fs=100, signal=lambda _: signal)
        prepare = preprocessing_of("ecg-coca", {"lead_order": order})
        made = prepare(torch.from_numpy(prepare.recording(store, 0)))
        assert made.shape == (12, 5000) and made.dtype == torch.float32
        middle = (made[:, 2500] * 10).round().int().tolist()
        assert middle == [0, 1, 2, 3, *((5, 4) if swapped else (4, 5)), *range(6, 12)]
        assert made[0, 1500].abs() < 0.01


def test_a_run_starts_from_a_published_encoder_and_keeps_all_of_it(inputs: tuple[Path, Path], tmp_path: Path,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(names.ENCODERS, "ecg-coca", names.Encoder("test_ecg_coca:small", fs=500, scale=1000.0,
                                                                  tokens=101))
    held = weights(published(24, 2, 10))
    file = checkpoint(held, tmp_path / "published.pt")
    train(inputs[1], tmp_path / "tuned", short_config(encoder="ecg-coca", encoder_weights=str(file), steps=1,
                                                      encoder_loss="none", fusion="splice", lead_order="mimic"))
    tuned = load_file(tmp_path / "tuned/signal.safetensors")
    moved = {name for name, tensor in held.items() if not torch.equal(tuned[f"towers.ecg.encoder.{name}"], tensor)}
    assert moved == set(held) - {"proj", "ln_post.weight", "ln_post.bias"}  # which no language model is shown


def small() -> EcgCoca:
    return EcgCoca(**SMALL)
