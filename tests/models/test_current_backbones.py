"""Families after MEIT's twelve as backbones of runs: sizes in the table, saved, loaded and exported, packed experts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from made_runs import logits, make_folder, make_run
from safetensors.torch import save_file
from transformers import (
    AutoModelForCausalLM,
    Cohere2Config,
    FalconConfig,
    Gemma2Config,
    Glm4Config,
    GptOssConfig,
    GptOssForCausalLM,
    GraniteConfig,
    MistralConfig,
    MixtralConfig,
    Olmo2Config,
    PhiConfig,
    Qwen2MoeConfig,
    Qwen3MoeConfig,
    SmolLM3Config,
    StableLmConfig,
)

from emgecg_cli.core import names
from emgecg_cli.core.export import export_run
from emgecg_cli.core.models.backbones import load_model
from emgecg_cli.core.models.capacity import Use
from emgecg_cli.core.models.hub import Place, obtain
from emgecg_cli.core.models.run_files import load_run
from emgecg_cli.core.models.tuning import count_parameters

CPU = torch.device("cpu")
FP4 = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])


def sized(width: int, inner: int, layers: int, heads: int, groups: int | None = None, **more: Any) -> dict[str, Any]:
    return dict(hidden_size=width, intermediate_size=inner, num_hidden_layers=layers, num_attention_heads=heads,
                num_key_value_heads=groups or heads, pad_token_id=0) | more


@pytest.mark.parametrize(("name", "config"), [
    ("qwen1.5-moe-a2.7b", Qwen2MoeConfig()), ("mixtral-8x7b", MixtralConfig()), ("falcon-7b", FalconConfig()),
    ("qwen3-30b-a3b", Qwen3MoeConfig(**sized(2048, 6144, 48, 32, 4), head_dim=128)),
    ("gemma-2-2b", Gemma2Config()), ("gemma-2-9b", Gemma2Config(**sized(3584, 14336, 42, 16, 8))),
    ("olmo-2-1b", Olmo2Config(**sized(2048, 8192, 16, 16), vocab_size=100352)),
    ("olmo-2-7b", Olmo2Config(**sized(4096, 11008, 32, 32), vocab_size=100352)),
    ("granite-3.3-2b", GraniteConfig(**sized(2048, 8192, 40, 32, 8), vocab_size=49159, tie_word_embeddings=True)),
    ("granite-3.3-8b", GraniteConfig(**sized(4096, 12800, 40, 32, 8), vocab_size=49159, tie_word_embeddings=True)),
    ("smollm3-3b", SmolLM3Config()), ("glm-4-9b", Glm4Config()),
    ("ministral-8b", MistralConfig(**sized(4096, 12288, 36, 32, 8), vocab_size=131072, head_dim=128)),
    ("gpt-oss-20b", GptOssConfig(num_hidden_layers=24, num_local_experts=32)),
    ("phi-2", PhiConfig(**sized(2560, 10240, 32, 32))),
    ("stablelm-2-1.6b", StableLmConfig(**sized(2048, 5632, 24, 32), vocab_size=100352, use_qkv_bias=True)),
    ("command-r7b", Cohere2Config(**sized(4096, 14336, 32, 32, 8), vocab_size=256000))])
def test_the_table_knows_how_large_they_are(name: str, config: Any) -> None:
    with torch.device("meta"):
        assert names.BACKBONES[name].parameters == count_parameters(AutoModelForCausalLM.from_config(config))


@pytest.mark.parametrize("tuning", ["lora", "full"])
@pytest.mark.parametrize("family", ["qwen2_moe", "mixtral", "gpt_oss", "gemma2", "falcon", "cohere2"])
def test_a_run_comes_back_and_is_exported(family: str, tuning: str, tmp_path: Path) -> None:
    made = make_run(tmp_path / "run", make_folder(tmp_path / "backbone", family), tuning, tokens=True)
    expected = logits(made.model)
    torch.testing.assert_close(logits(load_run(made.path, CPU)[0]), expected, atol=1e-5, rtol=1e-5)
    export_run(made.path, tmp_path / "out")
    torch.testing.assert_close(logits(load_run(tmp_path / "out", CPU)[0]), expected, atol=1e-3, rtol=1e-4)


def packed_folder(folder: Path) -> dict[str, torch.Tensor]:
    """A gpt-oss as it is published, the experts' weights four bits each; returns its tensors."""
    config = GptOssConfig(**sized(64, 64, 1, 4, 2), vocab_size=40, head_dim=16, num_local_experts=4,
                          num_experts_per_tok=2)
    tensors: dict[str, torch.Tensor] = {}
    for name, weight in GptOssForCausalLM(config).state_dict().items():
        if not name.endswith(("gate_up_proj", "down_proj")):
            tensors[name] = weight.to(torch.bfloat16).contiguous()
            continue
        experts, width, out = weight.shape
        tensors[f"{name}_blocks"] = torch.randint(0, 256, (experts, out, width // 32, 16), dtype=torch.uint8)
        tensors[f"{name}_scales"] = torch.randint(120, 126, (experts, out, width // 32), dtype=torch.uint8)
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    packed = {"quant_method": "mxfp4", "modules_to_not_convert": [
        "model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]}
    (folder / "config.json").write_text(json.dumps(config.to_dict() | {
        "architectures": ["GptOssForCausalLM"], "quantization_config": packed}))
    return tensors


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_packed_experts_are_unpacked_and_saved_unpacked(dtype: torch.dtype, tmp_path: Path) -> None:
    tensors = packed_folder(tmp_path / "packed")
    model = load_model(tmp_path / "packed", dtype)
    name = "model.layers.0.mlp.experts.gate_up_proj"
    blocks, scales = tensors[f"{name}_blocks"][1, 3].long(), tensors[f"{name}_scales"][1, 3].long()
    row = torch.stack([FP4[blocks & 15], FP4[blocks >> 4]], -1).flatten(1) * 2.0 ** (scales[:, None] - 127)
    weights = dict(model.named_parameters())
    assert torch.equal(weights[name][1, :, 3].float(), row.flatten())
    assert {weight.dtype for weight in weights.values()} == {dtype}
    model.save_pretrained(tmp_path / "saved")
    again = dict(load_model(tmp_path / "saved", dtype).named_parameters())
    assert all(torch.equal(weight, again[key]) for key, weight in weights.items())


def test_memory_is_asked_for_the_unpacked_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from emgecg_cli.core.models import hub

    packed_folder(tmp_path / "packed")
    seen: list[int] = []
    monkeypatch.setattr(hub, "missing_memory", lambda parameters, use: seen.append(parameters) or [])
    obtain(Place("packed", tmp_path / "packed"), Use(torch.float32))
    true = count_parameters(load_model(tmp_path / "packed", torch.float32))
    assert true <= seen[0] < 1.05 * true
