"""What no fusion, or only some, can serve is refused before a step, and the hint names what works: tried on each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import (
    BambaConfig,
    BambaForCausalLM,
    CodeGenConfig,
    CodeGenForCausalLM,
    CTRLConfig,
    CTRLLMHeadModel,
    DeepseekV3Config,
    DeepseekV3ForCausalLM,
    FalconConfig,
    FalconForCausalLM,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Llama4ForCausalLM,
    Llama4TextConfig,
    MambaConfig,
    MambaForCausalLM,
    MptConfig,
    MptForCausalLM,
    OlmoConfig,
    OlmoForCausalLM,
    OpenAIGPTConfig,
    OpenAIGPTLMHeadModel,
    Qwen3NextConfig,
    Qwen3NextForCausalLM,
    XLNetConfig,
    XLNetLMHeadModel,
)

from emgecg_cli.core.config import TrainConfig
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.instructions.render import PLACEHOLDER
from emgecg_cli.core.models.builders import check_fusion
from emgecg_cli.core.models.fusion.cross_attention import CrossAttention
from emgecg_cli.core.models.fusion.prefix_kv import PrefixKV
from emgecg_cli.core.models.fusion.splice import Splice
from emgecg_cli.core.models.tuning import language_part, target_layers, tune_backbone
from emgecg_cli.core.training.setup import make_model

SIZES: dict[str, Any] = dict(vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
                             intermediate_size=16, pad_token_id=0, eos_token_id=1, bos_token_id=2)
GROUPED: dict[str, Any] = SIZES | dict(num_key_value_heads=2, max_position_embeddings=64)
GPT: dict[str, Any] = dict(vocab_size=40, n_embd=16, n_layer=2, n_head=2, n_positions=64)
EXPERTS: dict[str, Any] = dict(num_experts_per_tok=2, moe_intermediate_size=8)


def gemma3_with_images() -> Gemma3ForConditionalGeneration:
    """As the checkpoints of 4b and more are: a language model beside a vision tower."""
    images = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, image_size=28,
                  patch_size=14)
    return Gemma3ForConditionalGeneration(Gemma3Config(
        text_config=GROUPED | dict(head_dim=8, sliding_window=5, layer_types=["sliding_attention", "full_attention"]),
        vision_config=images, mm_tokens_per_image=1, image_token_id=30, boi_token_id=31, eoi_token_id=32))


def deepseek() -> DeepseekV3ForCausalLM:
    return DeepseekV3ForCausalLM(DeepseekV3Config(
        **GROUPED, **EXPERTS, n_routed_experts=4, kv_lora_rank=4, q_lora_rank=4, qk_rope_head_dim=4, qk_nope_head_dim=4,
        v_head_dim=4, n_group=1, topk_group=1, first_k_dense_replace=1))


def qwen3_next() -> Qwen3NextForCausalLM:
    return Qwen3NextForCausalLM(Qwen3NextConfig(
        **GROUPED, **EXPERTS, head_dim=8, num_experts=4, shared_expert_intermediate_size=8, linear_num_value_heads=2,
        linear_num_key_heads=2, linear_key_head_dim=8, linear_value_head_dim=8,
        layer_types=["linear_attention", "full_attention"]))


def bamba() -> BambaForCausalLM:
    return BambaForCausalLM(BambaConfig(**GROUPED, mamba_n_heads=4, mamba_d_head=8, mamba_d_state=4,
                                        attn_layer_indices=[1]))


MODELS: dict[str, Callable[[], Any]] = {
    "gemma3 with images": gemma3_with_images,
    "openai-gpt": lambda: OpenAIGPTLMHeadModel(OpenAIGPTConfig(**GPT)),
    "ctrl": lambda: CTRLLMHeadModel(CTRLConfig(**GPT, dff=16)),
    "bamba": bamba,
    "mamba": lambda: MambaForCausalLM(MambaConfig(vocab_size=40, hidden_size=16, num_hidden_layers=2, state_size=4)),
    "mpt": lambda: MptForCausalLM(MptConfig(vocab_size=40, d_model=16, n_layers=2, n_heads=2)),
    "xlnet": lambda: XLNetLMHeadModel(XLNetConfig(vocab_size=40, d_model=16, n_layer=2, n_head=2, d_inner=16)),
    "falcon with alibi": lambda: FalconForCausalLM(FalconConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, alibi=True, multi_query=False)),
    "olmo": lambda: OlmoForCausalLM(OlmoConfig(**GROUPED)),
    "codegen": lambda: CodeGenForCausalLM(CodeGenConfig(**GPT | {"n_head": 4}, n_ctx=64, rotary_dim=4)),
    "deepseek": deepseek,
    "qwen3-next": qwen3_next,
    "llama4": lambda: Llama4ForCausalLM(Llama4TextConfig(
        **GROUPED, head_dim=8, num_local_experts=2, intermediate_size_mlp=16, attention_chunk_size=16)),
}
SERVED = {  # which fusions take it
    "gemma3 with images": {"prefix-kv", "cross-attention"}, "falcon with alibi": {"splice", "cross-attention"},
    "olmo": {"splice"}, "codegen": {"splice"}, "deepseek": {"splice"}, "qwen3-next": {"splice"},
    "llama4": {"splice"},
}
FUSIONS: dict[str, Any] = {"prefix-kv": PrefixKV, "splice": Splice, "cross-attention": CrossAttention}


def made(name: str) -> Any:
    torch.manual_seed(0)
    return MODELS[name]().eval()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_fusion_serves_a_model_from_loss_to_text_or_refuses_it_first(name: str, fusion: str) -> None:
    lm = made(name)
    if fusion not in SERVED.get(name, set()):
        with pytest.raises(MedReportError) as caught:
            check_fusion(lm, fusion)
        hint, served = caught.value.hint or "", SERVED.get(name, set())
        assert any(other in hint for other in served) if served else "choose another backbone" in hint
        assert not any(f"--fusion {other} takes it" in hint for other in set(FUSIONS) - served)
        return
    check_fusion(lm, fusion)
    attached = FUSIONS[fusion](lm)
    tokens = torch.randn(2, 1, attached.dim, requires_grad=True)
    first = PLACEHOLDER if attached.placeholders else 9
    ids, mask = torch.tensor([[0, first, 5, 6], [first, 7, 8, 9]]), torch.tensor([[0, 1, 1, 1], [1, 1, 1, 1]])
    attached.forward(tokens, input_ids=ids, attention_mask=mask, use_cache=False).logits.square().mean().backward()
    assert tokens.grad is not None
    assert tokens.grad.abs().max() > 0 or fusion == "cross-attention"  # its gates start shut
    new = attached.generate(tokens.detach(), input_ids=ids, attention_mask=mask, max_new_tokens=2, do_sample=False,
                            eos_token_id=None, pad_token_id=0)
    assert new.shape == (2, 2)


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_of_a_multimodal_checkpoint_the_language_model_alone_trains(tuning: str) -> None:
    lm = made("gemma3 with images")
    assert language_part(lm) == "model.language_model." and len(target_layers(lm, "all-linear")) == 2 * 7
    lm = tune_backbone(lm, tuning, rank=2, alpha=2, dropout=0.0)
    fusion = PrefixKV(lm)
    ids = torch.tensor([[5, 6, 7]])
    fusion.forward(torch.randn(1, 1, fusion.dim), input_ids=ids).logits.square().mean().backward()
    trained = {name: p for name, p in lm.named_parameters() if p.requires_grad}
    assert trained and not any("vision" in name or "projector" in name for name in trained)
    assert all(p.grad is not None for p in trained.values())  # what has none stops a group of processes


@pytest.mark.parametrize("name", ["deepseek", "qwen3-next", "mamba", "bamba", "llama4"])
def test_lora_on_all_linear_layers_takes_what_peft_takes(name: str) -> None:
    lm = made(name)
    layers = target_layers(lm, "all-linear")
    tuned = tune_backbone(lm, "lora", rank=2, alpha=2, dropout=0.1)
    adapted = {key.removeprefix("base_model.model.").removesuffix(".lora_A.default.weight")
               for key, p in tuned.named_parameters() if p.requires_grad and "lora_A" in key}
    assert adapted == set(layers) and layers
    assert not any(key.endswith(("gate_proj", "out_proj")) for key in adapted if name in ("deepseek", "mamba"))
    assert not any("router" in key for key in adapted)
    fusion = Splice(tuned) if "splice" in SERVED.get(name, set()) else None
    if fusion:
        fusion.forward(None, input_ids=torch.tensor([[5, 6, 7]])).logits.square().mean().backward()
        assert all(p.grad is not None for p in tuned.parameters() if p.requires_grad)


def test_what_peft_refuses_by_name_is_one_line_with_a_way_out() -> None:
    experts = dict(targets="gate_proj,up_proj,down_proj", rank=2, alpha=2)
    with pytest.raises(MedReportError, match="experts of 'deepseek_v3' has no dropout") as caught:
        tune_backbone(made("deepseek"), "lora", dropout=0.1, **experts)
    assert "this family needs --lora-dropout 0" in (caught.value.hint or "")
    tuned = tune_backbone(made("deepseek"), "lora", dropout=0.0, **experts)
    assert any("experts" in name and p.requires_grad for name, p in tuned.named_parameters())
    with pytest.raises(MedReportError, match="without also targeting up_proj") as caught:
        tune_backbone(made("deepseek"), "lora", dropout=0.0, targets="gate_proj", rank=2, alpha=2)
    with pytest.raises(MedReportError, match=r"peft cannot put LoRA on these layers of 'mamba'.*out_proj") as caught:
        tune_backbone(made("mamba"), "lora", dropout=0.0, targets="out_proj", rank=2, alpha=2)
    assert "--lora-targets" in (caught.value.hint or "")


@pytest.mark.parametrize("name", ["mamba", "deepseek"])
def test_the_family_is_asked_before_anything_is_tuned(name: str) -> None:
    lm = made(name)
    before = [p.requires_grad for p in lm.parameters()]
    with pytest.raises(MedReportError, match="do not know the backbone family"):
        make_model(lm, TrainConfig(backbone="it", fusion="prefix-kv", lora_targets="gate_proj,up_proj,out_proj"))
    assert [p.requires_grad for p in lm.parameters()] == before and not hasattr(lm, "peft_config")
