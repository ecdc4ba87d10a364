"""GEM's released weights by name and shape, at reduced width: to a run, through `generate`, and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pipeline import make_store
from safetensors.torch import load_file, save_file
from test_ecg_coca import oracle, published
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaForCausalLM

from emgecg_cli.commands.app import run as medreport
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.instructions.build import build_instructions
from emgecg_cli.core.models.run_files import load_run
from emgecg_cli.core.models.tiny_backbone import train_tokenizer
from emgecg_cli.core.published.gem import export_gem, import_gem

LANGUAGE = dict(vocab_size=300, hidden_size=32, intermediate_size=48, num_hidden_layers=32, num_attention_heads=4,
                num_key_value_heads=4, max_position_embeddings=1024)
VISION = dict(hidden_size=24, intermediate_size=32, num_hidden_layers=24, num_attention_heads=1, image_size=32,
              patch_size=16)
TOWER, EYE = "model.ecg_tower.ecg_tower.", "model.vision_tower.vision_tower.vision_model."


def shapes() -> dict[str, tuple[int, ...]]:
    """The 840 names, written down from the published index, at reduced width."""
    d, inner, w, v, e = 32, 48, 16, 24, 32
    layer = {f"self_attn.{x}_proj": (d, d) for x in "qkvo"} | {
        "mlp.gate_proj": (inner, d), "mlp.up_proj": (inner, d), "mlp.down_proj": (d, inner), "input_layernorm": (d,),
        "post_attention_layernorm": (d,)}
    made: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (300, d), "lm_head.weight": (300, d),
                                        "model.norm.weight": (d,)}
    made |= {f"model.layers.{i}.{name}.weight": shape for i in range(32) for name, shape in layer.items()}
    made |= {"model.mm_projector.0.weight": (d, v), "model.mm_projector.0.bias": (d,),
             "model.mm_projector.2.weight": (d, d), "model.mm_projector.2.bias": (d,),
             "model.ecg_projector.weight": (v, w), "model.ecg_projector.bias": (v,)}
    made |= {TOWER + name: shape for name, shape in published(w, 12, 8).items()}
    made |= {EYE + "embeddings.class_embedding": (v,), EYE + "embeddings.patch_embedding.weight": (v, 3, 16, 16),
             EYE + "embeddings.position_embedding.weight": (5, v)}
    eye = {f"self_attn.{x}_proj": (v, v) for x in ("q", "k", "v", "out")} | {
        "mlp.fc1": (e, v), "mlp.fc2": (v, e), "layer_norm1": (v,), "layer_norm2": (v,)}
    every = {f"encoder.layers.{i}.{name}": shape for i in range(24) for name, shape in eye.items()} | {
        "pre_layrnorm": (v,), "post_layernorm": (v,)}
    return made | {f"{EYE}{name}.{part}": shape if part == "weight" else shape[:1] for name, shape in every.items()
                   for part in ("weight", "bias")}


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Tensor]]:
    """A folder as GEM's, of three shards."""
    folder = tmp_path_factory.mktemp("gem") / "GEM"
    folder.mkdir()
    torch.manual_seed(0)
    weights = {name: 0.15 * torch.randn(shape) + (1.0 if "norm.w" in name or "norm1.w" in name or "norm2.w" in name
                                                   or "layernorm.w" in name or "ln_" in name else 0.0)
               for name, shape in shapes().items()}
    write(folder, weights)
    config = LANGUAGE | {"architectures": ["LlavaLlamaForCausalLM"], "model_type": "llava_llama",
                         "mm_ecg_tower": "/path/to/your.pt", "open_clip_config": "coca_ViT-B-32"}
    (folder / "config.json").write_text(json.dumps(config))
    train_tokenizer(["sinus rhythm. a chat between"] * 3, vocabulary=300).save_pretrained(folder)
    return folder, weights


def write(folder: Path, weights: dict[str, Tensor]) -> None:
    for file in folder.glob("model*"):
        file.unlink()
    placed: dict[str, str] = {}
    for number in range(3):
        name = f"model-{number + 1:05d}-of-00003.safetensors"
        part = dict(list(weights.items())[number::3])
        save_file(part, folder / name)
        placed |= dict.fromkeys(part, name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": placed}))


def test_released_weights_become_a_run_that_says_what_the_spec_says(released: tuple[Path, dict[str, Tensor]],
                                                                    tmp_path: Path) -> None:
    folder, weights = released
    assert len(weights) == 840
    result = import_gem(folder, tmp_path / "runs/gem", lead_order="mimic")
    assert (result.names, result.unused) == (840, []) and import_gem(folder, result.path,
                                                                     lead_order="mimic").already_finished
    model, tokenizer, manifest = load_run(result.path, torch.device("cpu"))
    assert model.placeholders == {"ecg": 101, "image": 4} and manifest.details["model"]["lead_order"] == "mimic"
    signal, image = torch.randn(2, 12, 5000), torch.randn(2, 3, 32, 32)
    text = tokenizer("USER: read it", add_special_tokens=False)["input_ids"]
    ids = torch.tensor([text[:3] + [-1] * 101 + [-2] * 4 + text[3:]] * 2)
    with torch.no_grad():
        found, _ = model({"ecg": signal, "image": image}, ids, torch.ones_like(ids))
        torch.testing.assert_close(found, spoken(weights, signal, image, text), atol=2e-4, rtol=1e-3)
    assert export_gem(result.path, tmp_path / "back") == sorted(weights)
    again: dict[str, Tensor] = {}
    for file in (tmp_path / "back").glob("model*.safetensors"):
        again |= load_file(file)
    assert again.keys() == weights.keys() and all(torch.equal(again[name], weights[name]) for name in weights)
    assert import_gem(tmp_path / "back", tmp_path / "runs/twice").names == 840


def spoken(held: dict[str, Tensor], signal: Tensor, image: Tensor, text: list[int]) -> Tensor:
    """Section 2.2 of the specification on the published tensors: logits of [text | ECG | image | text]."""
    ecg = oracle({name.removeprefix(TOWER): tensor for name, tensor in held.items() if name.startswith(TOWER)}, signal,
                 12, 1)
    eye = CLIPVisionModel(CLIPVisionConfig(**VISION)).eval()
    eye.load_state_dict({name.removeprefix(EYE): tensor for name, tensor in held.items() if name.startswith(EYE)})
    patches = eye(pixel_values=image, output_hidden_states=True).hidden_states[-2][:, 1:]
    both = torch.cat([F.linear(ecg, held["model.ecg_projector.weight"], held["model.ecg_projector.bias"]), patches], 1)
    both = F.gelu(F.linear(both, held["model.mm_projector.0.weight"], held["model.mm_projector.0.bias"]))
    both = F.linear(both, held["model.mm_projector.2.weight"], held["model.mm_projector.2.bias"])
    language = LlamaForCausalLM(LlamaConfig(**LANGUAGE)).eval()
    language.load_state_dict({name: tensor for name, tensor in held.items()
                              if not name.startswith((TOWER, EYE, "model.ecg_proj", "model.mm_proj"))})
    words = held["model.embed_tokens.weight"][torch.tensor(text)].expand(2, -1, -1)
    return language(inputs_embeds=torch.cat([words[:, :3], both, words[:, 3:]], 1)).logits


def test_generate_takes_the_run(released: tuple[Path, dict[str, Tensor]], tmp_path: Path,
                                capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = make_store(tmp_path / "stores/ecg", 12, fs=500, split="50/25/25")
    build_instructions(store, tmp_path / "instructions/ecg", pool_size=1)
    assert medreport(["import-weights", "gem", str(released[0])]) == 0
    assert medreport(["generate", "runs/gem", "--limit", "2", "--max-new-tokens", "2"]) == 2
    assert "give --store" in capsys.readouterr().err
    assert medreport(["generate", "runs/gem", "--limit", "2", "--max-new-tokens", "2", "--store", str(store),
                      "--instructions", "instructions/ecg", "--out", "p.jsonl"]) == 0
    assert len((tmp_path / "p.jsonl").read_text().splitlines()) == 2
    capsys.readouterr()
    assert medreport(["export", "runs/gem", "--as", "gem", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["names"] == 840


def test_wrong_and_missing_names_are_listed(released: tuple[Path, dict[str, Tensor]], tmp_path: Path) -> None:
    folder, weights = released
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "config.json").write_bytes((folder / "config.json").read_bytes())
    changed: dict[str, Any] = dict(weights) | {"model.image_newline": torch.zeros(32)}
    del changed[TOWER + "transformer.resblocks.11.ln_2.bias"], changed["model.ecg_projector.bias"]
    changed["model.ecg_projector.2.weight"] = torch.zeros(24, 24)
    changed["model.mm_projector.2.bias"] = torch.zeros(31)
    write(copy, changed)
    with pytest.raises(MedReportError) as raised:
        import_gem(copy, tmp_path / "run")
    said = str(raised.value)
    assert f"missing: model.ecg_projector.bias, {TOWER}transformer.resblocks.11.ln_2.bias; not known: " \
        "model.ecg_projector.2.weight; of another shape: model.mm_projector.2.bias (31,) instead of (32,)" in said
    assert "image_newline" not in said
    assert not (tmp_path / "run").exists()
    (copy / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(MedReportError, match=r"index\.json names .* and \d+ more, which no file there holds"):
        import_gem(copy, tmp_path / "run")
    (copy / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    write(copy, weights)
    with pytest.raises(MedReportError, match="not LlavaLlamaForCausalLM"):
        import_gem(copy, tmp_path / "run")
