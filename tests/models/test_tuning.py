"""What trains: MEIT's published counts, targets in every family, embeddings with their ties, LoRA on four bits."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_backbones import FAMILIES, make
from tiny_seq2seq import make_seq2seq
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    GPT2Config,
    GPTJConfig,
    GPTNeoConfig,
    GPTNeoXConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    OPTConfig,
    T5Config,
    T5ForConditionalGeneration,
)

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.models.backbones import load_model
from emgecg_cli.core.models.tuning import count_parameters, embeddings, target_layers, tune_backbone

FOUR_BIT = pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not here")
ALL_FAMILIES = [*FAMILIES, "t5", "t5-tied", "bart"]
IDS = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]])


def family(name: str) -> Any:
    if name == "t5-tied":  # as all of T5's first generation
        torch.manual_seed(1)
        return T5ForConditionalGeneration(T5Config(vocab_size=40, d_model=24, d_kv=6, d_ff=32, num_layers=2,
                                                   num_heads=4, decoder_start_token_id=0)).eval()
    return make_seq2seq(name) if name in ("t5", "bart") else make(name)


def lora(backbone: Any, targets: str = "all-linear", **more: Any) -> Any:
    return tune_backbone(backbone, more.pop("tuning", "lora"), rank=more.pop("rank", 2), alpha=4, dropout=0.0,
                         targets=targets, **more)


@pytest.mark.parametrize(("config", "trainable"), [
    (LlamaConfig(), 159_907_840), (MistralConfig(), 167_772_160),
    (GPT2Config(n_embd=1280, n_layer=36, n_head=20), 11_796_480),
    (GPT2Config(n_embd=1024, n_layer=24, n_head=16), 6_291_456),
    (BloomConfig(vocab_size=250880, hidden_size=4096, n_layer=30, n_head=32), 31_457_280),
    (GPTNeoXConfig(), 69_206_016), (GPTJConfig(), 44_040_192),
    (OPTConfig(hidden_size=4096, ffn_dim=16384, num_hidden_layers=32, num_attention_heads=32,
               word_embed_proj_dim=4096), 50_331_648),
    (GPTNeoConfig(), 18_874_368),
    (GPTNeoConfig(hidden_size=2560, num_layers=32, num_heads=20, attention_types=[[["global", "local"], 16]]),
     31_457_280)])
def test_meits_scripts_trained_as_many_parameters_as_published(config: Any, trainable: int) -> None:
    with torch.device("meta"):
        backbone = AutoModelForCausalLM.from_config(config)
        total = count_parameters(backbone)
        tuned = lora(backbone, "meit-code", rank=64)
    assert count_parameters(tuned, trainable=True) == trainable
    assert count_parameters(tuned) == total + trainable


def test_llama_1_with_its_lora_is_the_papers_6_90_billion() -> None:
    with torch.device("meta"):
        tuned = lora(AutoModelForCausalLM.from_config(LlamaConfig()), rank=64)
    assert count_parameters(tuned, trainable=True) == 159_907_840  # all linear layers of LLaMA are the scripts' seven
    assert round(count_parameters(tuned) / 1e9, 2) == 6.90


KINDS = {
    "gpt2": "attn.c_attn attn.c_proj mlp.c_fc mlp.c_proj", "gptj": "attn.k_proj attn.v_proj attn.q_proj attn.out_proj "
    "mlp.fc_in mlp.fc_out", "llama": "self_attn.q_proj self_attn.k_proj self_attn.v_proj self_attn.o_proj "
    "mlp.gate_proj mlp.up_proj mlp.down_proj", "bloom": "self_attention.query_key_value self_attention.dense "
    "mlp.dense_h_to_4h mlp.dense_4h_to_h", "phi3": "self_attn.o_proj self_attn.qkv_proj mlp.gate_up_proj mlp.down_proj",
}


@pytest.mark.parametrize("name", KINDS)
def test_all_linear_is_all_but_the_head(name: str) -> None:
    layers = target_layers(family(name), "all-linear")
    assert sorted({layer.split(".", 3)[-1] for layer in layers}) == sorted(KINDS[name].split())
    assert len(layers) == 2 * len(KINDS[name].split())


@pytest.mark.parametrize(("name", "count"), [("t5", 2 * 7 + 2 * 11), ("t5-tied", 2 * 6 + 2 * 10),
                                            ("bart", 2 * 6 + 2 * 10)])
def test_all_linear_has_both_halves_of_an_encoder_decoder(name: str, count: int) -> None:
    layers = target_layers(family(name), "all-linear")
    assert len(layers) == count and "lm_head" not in layers  # q, k, v, o and two or three; the decoder attends twice
    assert lora(family(name)).peft_config["default"].task_type == "SEQ_2_SEQ_LM"


@pytest.mark.parametrize("name", ALL_FAMILIES)
def test_every_layer_that_is_named_gets_lora_and_a_gradient(name: str) -> None:
    tuned = lora(family(name))
    before = tuned(input_ids=IDS, labels=IDS)
    before.loss.backward()
    trained = {key: p for key, p in tuned.named_parameters() if p.requires_grad}
    layers = target_layers(family(name), "all-linear")
    assert len(trained) == 2 * len(layers) and all("lora_" in key for key in trained)
    assert all(p.grad.abs().max() > 0 for key, p in trained.items() if "lora_B" in key)  # A's waits for B


@pytest.mark.parametrize(("name", "kinds"), [
    ("llama", 7), ("mistral", 7), ("gpt2", 1), ("bloom", 1), ("gpt_neox", 1), ("opt", 3), ("gptj", 3), ("gpt_neo", 3)])
def test_meit_code_is_what_the_scripts_named(name: str, kinds: int) -> None:
    assert len(target_layers(family(name), "meit-code")) == 2 * kinds


def test_targets_by_name_and_names_that_mean_nothing() -> None:
    assert len(target_layers(family("llama"), "q_proj, mlp.down_proj")) == 4
    with pytest.raises(MedReportError, match="no linear layer of the backbone is named 'c_attn'") as caught:
        target_layers(family("llama"), "q_proj,c_attn")
    assert "q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj" in (caught.value.hint or "")
    for name in ("lm_head", "proj", ""):  # the head is no target, and part of a name is no name
        with pytest.raises(MedReportError, match="no linear layer"):
            target_layers(family("llama"), name)
    with pytest.raises(MedReportError, match="name none for the family 'phi3'"):
        target_layers(family("phi3"), "meit-code")


# ---------------------------------------------------------------------------------------------------------- embeddings
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ALL_FAMILIES)
def test_embeddings_train_with_whatever_is_tied_to_them(name: str, dtype: torch.dtype) -> None:
    backbone = family(name).to(dtype)
    tied = backbone.get_input_embeddings().weight is backbone.get_output_embeddings().weight
    tuned = lora(backbone, train_embeddings=True)
    found = embeddings(tuned)
    assert ("output" in found) != tied
    assert all(weight.requires_grad and weight.dtype == torch.float32 for weight in found.values())
    trained = [key for key, p in tuned.named_parameters() if p.requires_grad and "lora_" not in key]
    assert len(trained) == len(found)
    out = tuned(input_ids=IDS, labels=IDS)
    out.loss.backward()
    assert all(weight.grad is not None and weight.grad.abs().max() > 0 for weight in found.values())
    base = tuned.get_base_model()
    if tied:  # one step moves both ends at once
        found["input"].data.mul_(0.5)
        assert torch.equal(base.get_output_embeddings().weight, base.get_input_embeddings().weight)


def test_a_16_bit_backbone_computes_in_16_bits_beside_trained_embeddings() -> None:
    seen = []
    backbone = make("llama").to(torch.bfloat16)
    plain = backbone(input_ids=IDS).logits
    tuned = lora(backbone, train_embeddings=True)
    tuned.get_base_model().model.layers[1].register_forward_pre_hook(lambda module, args: seen.append(args[0].dtype))
    torch.testing.assert_close(tuned(input_ids=IDS).logits, plain.float(), atol=0.3, rtol=0.05)
    assert seen == [torch.bfloat16]


@pytest.mark.parametrize("train", [False, True])
def test_a_frozen_backbone_may_train_its_embeddings_alone(train: bool) -> None:
    tuned = tune_backbone(make("gpt2"), "frozen", rank=1, alpha=1, dropout=0.0, train_embeddings=train)
    assert count_parameters(tuned, trainable=True) == (40 * 24 if train else 0)


# ----------------------------------------------------------------------------------------------------------- four bits
@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("llama")
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(vocab_size=40, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
                                 num_attention_heads=4)).save_pretrained(path)
    return path


def gradients(model: Any) -> dict[str, torch.Tensor]:
    model.zero_grad()
    model.train()(input_ids=IDS, labels=IDS).loss.backward()
    return {key: p.grad.clone() for key, p in model.named_parameters() if p.requires_grad}


@FOUR_BIT
@pytest.mark.parametrize("train_embeddings", [False, True])
def test_qlora_trains_its_adapter_also_under_gradient_checkpointing(llama: Path, train_embeddings: bool) -> None:
    backbone = load_model(llama, torch.float32, four_bit=True)
    tuned = lora(backbone, tuning="qlora", train_embeddings=train_embeddings)
    assert count_parameters(tuned, trainable=True) == 2 * 2 * (4 * 128 + 3 * 192) + train_embeddings * 2 * 40 * 64
    with torch.no_grad():
        for key, parameter in tuned.named_parameters():
            if "lora_B" in key:
                parameter.normal_(std=0.1)
    plain = gradients(tuned)
    assert all(grad.abs().max() > 0 for grad in plain.values())
    tuned.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    for key, grad in gradients(tuned).items():
        torch.testing.assert_close(grad, plain[key])


@FOUR_BIT
def test_lora_and_qlora_want_the_backbone_in_their_own_precision(llama: Path) -> None:
    with pytest.raises(MedReportError, match="four bits already"):  # a checkpoint may be so
        lora(load_model(llama, torch.float32, four_bit=True), tuning="lora")
    with pytest.raises(RuntimeError, match="another precision"):
        lora(load_model(llama, torch.float32, four_bit=False), tuning="qlora")
