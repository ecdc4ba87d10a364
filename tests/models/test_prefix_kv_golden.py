"""MEIT's attention with one signal token, against golden rows worked out by hand-written loops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    Cohere2Config,
    Cohere2ForCausalLM,
    FalconConfig,
    FalconForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Glm4Config,
    Glm4ForCausalLM,
    GlmConfig,
    GlmForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTJConfig,
    GPTJForCausalLM,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    GptOssConfig,
    GptOssForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Ministral3Config,
    Ministral3ForCausalLM,
    MinistralConfig,
    MinistralForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    Olmo2Config,
    Olmo2ForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    Qwen2MoeConfig,
    Qwen2MoeForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
    SmolLM3Config,
    SmolLM3ForCausalLM,
    StableLmConfig,
    StableLmForCausalLM,
)

from emgecg_cli.core.models.fusion.prefix_kv import PrefixKV

E = torch.tensor([1.0, 2.0, 3.0, 4.0]) / 30**0.5
LLAMA_0 = (1.91230, .22010, .23590, -.03695, -.14479, -.44934, -.43211, -.56797)
LLAMA_2 = (2.01259, .19318, .21355, .06281, -.00267, -.18694, .12918, -.02742)
GPT2_0 = (2.01175, .17876, .17061, .05904, -.15846, -.53468, -.34564, -.55041)
GPT2_2 = (2.11447, .15081, .14856, .15595, -.02104, -.27957, .19779, -.02803)
GPTJ_2 = (2.01819, .19024, .21259, .06384, -.00444, -.18853, .12297, -.03443)
NEOX_2 = (2.12085, .14872, .14755, .15933, -.01927, -.27515, .20542, -.02150)
ONE_GROUP = ((1.91230, .22010, .23590, -.03695, 1.88947, .23150, .23903, -.03813),
             (2.01259, .19318, .21355, .06281, 2.01675, .18713, .21072, .06649))
NEIGHBOURS_2 = (2.01813, .19028, .21259, .06384, -.00441, -.18856, .12302, -.03434)
NEO_0 = (1.91833, .21709, .23507, -.03663, -.14560, -.44802, -.43402, -.57154)

GOLDEN: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {  # case -> rows at t = 0 and t = 2
    "llama": (LLAMA_0, LLAMA_2),
    "llama, one group": ONE_GROUP,
    "llama, no signal": ((2.27621, .03847, .18601, -.01804, -.24240, -.29094, -.66114, -.99586),
                         (2.17973, .11787, .18762, .10467, .01203, -.04185, .24172, .00873)),
    "llama, zero signal": ((1.17434, .01985, .09597, -.00931, -.12384, -.14864, -.33778, -.50879),
                           (1.63591, .08847, .14081, .07855, .00904, -.03145, .18168, .00656)),
    "mistral": (LLAMA_0, LLAMA_2),
    "phi3": (LLAMA_0, LLAMA_2),
    "gpt2": (GPT2_0, GPT2_2),
    "opt": (GPT2_0, GPT2_2),
    "gpt_neo, global": (NEO_0, (2.01099, .19393, .21435, .05957, -.00498, -.19715, .11726, -.03524)),
    "gpt_neo, local": (NEO_0, (1.92251, .24579, .22380, .08546, .06922, -.16783, .36056, .26502)),
    "gptj": (LLAMA_0, GPTJ_2),
    "gpt_neox": (GPT2_0, NEOX_2),
    "bloom": (GPT2_0, (2.11281, .14945, .14688, .16132, -.02052, -.27866, .19976, -.02605)),
    "qwen2_moe": (GPT2_0, (2.11145, .15379, .14932, .15713, -.01693, -.27237, .21396, -.01235)),
    "qwen3_moe": ((2.09762, .12760, .21049, -.02732, -.19208, -.37260, -.54306, -.77525),
                  (2.12018, .23299, .23794, .06026, .03736, -.13759, .29032, .12586)),
    "mixtral": (LLAMA_0, LLAMA_2),
    "gemma2": ((1.91110, .22070, .23606, -.03701, -.14470, -.44949, -.43188, -.56755),
               (2.01313, .19291, .21346, .06295, -.00274, -.18689, .12897, -.02775)),
    "olmo2": ((2.13104, .11092, .20591, -.02558, -.18306, -.38724, -.52189, -.73571),
              (2.10587, .23367, .23718, .06016, .03445, -.13698, .28312, .11347)),
    "granite": (LLAMA_0, LLAMA_2),
    "smollm3": (LLAMA_0, LLAMA_2),
    "smollm3, no positions": (LLAMA_0, (2.01411, .19186, .21335, .06164, -.00541, -.19220, .11825, -.03782)),
    "glm": (LLAMA_0, NEIGHBOURS_2),
    "glm4": (GPT2_0, NEOX_2),
    "ministral": (LLAMA_0, LLAMA_2),
    "ministral3": (LLAMA_0, (2.01103, .19434, .21396, .06249, -.00158, -.18679, .13261, -.02297)),
    "gpt_oss": ((1.23362, .10962, .10462, .03620, -.11429, -.38566, -.24931, -.39701),
                (1.59318, .11604, .11267, .11856, -.01414, -.22750, .17871, -.01031)),
    "phi": (GPT2_0, NEOX_2),
    "falcon": ONE_GROUP,
    "falcon, grouped": (LLAMA_0, LLAMA_2),
    "stablelm": (LLAMA_0, GPTJ_2),
    "cohere2": (LLAMA_0, NEIGHBOURS_2),
}
EAGER_ONLY = {"gpt_neo, global", "gpt_neo, local", "gptj", "bloom", "gemma2", "gpt_oss"}
SINKS = (0.3, -0.2)

COMMON: dict[str, Any] = dict(vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
                              max_position_embeddings=16, pad_token_id=0, bos_token_id=0, eos_token_id=0)
LLAMA: dict[str, Any] = COMMON | dict(intermediate_size=8, num_key_value_heads=2)
ROPE: dict[str, Any] = {"rope_type": "default", "rope_theta": 10000.0}
HALF: dict[str, Any] = {"rope_parameters": ROPE | {"partial_rotary_factor": 0.5}}
CURRENT: dict[str, Any] = LLAMA | {"rope_parameters": ROPE}
EXPERTS: dict[str, Any] = dict(num_experts=2, num_experts_per_tok=1, moe_intermediate_size=4)
FULL, WINDOWED = ["full_attention"], ["sliding_attention"]


def _neo(kind: str) -> GPTNeoForCausalLM:
    return GPTNeoForCausalLM(GPTNeoConfig(vocab_size=8, hidden_size=8, num_layers=1, num_heads=2, window_size=2,
                                          max_position_embeddings=16, attention_types=[[[kind], 1]]))


def _neox() -> GPTNeoXForCausalLM:
    rope = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}
    return GPTNeoXForCausalLM(GPTNeoXConfig(**COMMON, intermediate_size=8, rope_parameters=rope))


MODELS: dict[str, Callable[[], Any]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**LLAMA)),
    "llama, one group": lambda: LlamaForCausalLM(LlamaConfig(**LLAMA | {"num_key_value_heads": 1})),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**LLAMA)),
    "phi3": lambda: Phi3ForCausalLM(Phi3Config(**LLAMA)),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=8, n_embd=8, n_layer=1, n_head=2, n_positions=16)),
    "opt": lambda: OPTForCausalLM(OPTConfig(**COMMON, ffn_dim=8, word_embed_proj_dim=8)),
    "gpt_neo, global": lambda: _neo("global"),
    "gpt_neo, local": lambda: _neo("local"),
    "gptj": lambda: GPTJForCausalLM(GPTJConfig(vocab_size=8, n_embd=8, n_layer=1, n_head=2, n_positions=16,
                                               rotary_dim=2)),
    "gpt_neox": _neox,
    "bloom": lambda: BloomForCausalLM(BloomConfig(vocab_size=8, hidden_size=8, n_layer=1, n_head=2)),
    "qwen2_moe": lambda: Qwen2MoeForCausalLM(Qwen2MoeConfig(**CURRENT, **EXPERTS, shared_expert_intermediate_size=4)),
    "qwen3_moe": lambda: Qwen3MoeForCausalLM(Qwen3MoeConfig(**CURRENT, **EXPERTS, head_dim=4)),
    "mixtral": lambda: MixtralForCausalLM(MixtralConfig(**CURRENT, num_local_experts=2)),
    "gemma2": lambda: Gemma2ForCausalLM(Gemma2Config(**CURRENT, head_dim=4, query_pre_attn_scalar=4,
                                                     attn_logit_softcapping=0.1, layer_types=FULL)),
    "olmo2": lambda: Olmo2ForCausalLM(Olmo2Config(**CURRENT)),
    "granite": lambda: GraniteForCausalLM(GraniteConfig(**CURRENT, attention_multiplier=0.5)),
    "smollm3": lambda: SmolLM3ForCausalLM(SmolLM3Config(**CURRENT, no_rope_layers=[1])),
    "smollm3, no positions": lambda: SmolLM3ForCausalLM(SmolLM3Config(**CURRENT, no_rope_layers=[0])),
    "glm": lambda: GlmForCausalLM(GlmConfig(**LLAMA, head_dim=4, attention_bias=False, rope_parameters=ROPE | {
        "partial_rotary_factor": 1.0})),
    "glm4": lambda: Glm4ForCausalLM(Glm4Config(**LLAMA | HALF, head_dim=4)),
    "ministral": lambda: MinistralForCausalLM(MinistralConfig(**CURRENT, head_dim=4, layer_types=WINDOWED)),
    "ministral3": lambda: Ministral3ForCausalLM(Ministral3Config(**LLAMA, head_dim=4, rope_parameters=ROPE | {
        "llama_4_scaling_beta": 0.5, "original_max_position_embeddings": 2})),
    "gpt_oss": lambda: GptOssForCausalLM(GptOssConfig(**CURRENT, head_dim=4, num_local_experts=2, num_experts_per_tok=1,
                                                      layer_types=FULL)),
    "phi": lambda: PhiForCausalLM(PhiConfig(**LLAMA | HALF)),
    "falcon": lambda: FalconForCausalLM(FalconConfig(**COMMON)),
    "falcon, grouped": lambda: FalconForCausalLM(FalconConfig(**COMMON, new_decoder_architecture=True,
                                                              num_kv_heads=2)),
    "stablelm": lambda: StableLmForCausalLM(StableLmConfig(**LLAMA | HALF)),
    "cohere2": lambda: Cohere2ForCausalLM(Cohere2Config(**CURRENT, layer_types=WINDOWED)),
}


def _projections(groups: int) -> tuple[list[Tensor], list[Tensor]]:
    """Weights (out, in) and biases of queries, keys and values."""
    i, j = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    n = torch.arange(8.0)
    weights = [(1 + i + 2 * j).sin() / 2, ((i - j).cos() / 2)[:4 * groups], ((i * j + 1).sin() / 2)[:4 * groups]]
    return weights, [0.1 * n.cos(), 0.1 * n.sin(), 0.1 * (2 * n).cos()]


def _fill(attention: Any, groups: int) -> None:
    weights, biases = _projections(groups)
    if hasattr(attention, "c_attn"):  # Conv1D holds its weight transposed
        attention.c_attn.weight.copy_(torch.cat(weights).T)
        attention.c_attn.bias.copy_(torch.cat(biases))
    elif getattr(attention, "multi_query", False) and not attention.new_decoder_architecture:
        attention.query_key_value.weight.copy_(torch.cat(weights))
    elif hasattr(attention, "query_key_value"):  # each head's q, k, v after the other's
        attention.query_key_value.weight.copy_(torch.stack([w.view(2, 4, 8) for w in weights], 1).flatten(0, 2))
        if attention.query_key_value.bias is not None:
            attention.query_key_value.bias.copy_(torch.stack([b.view(2, 4) for b in biases], 1).flatten())
    elif hasattr(attention, "qkv_proj"):
        attention.qkv_proj.weight.copy_(torch.cat(weights))
    else:
        for part, weight, bias in zip("qkv", weights, biases, strict=True):
            projection = getattr(attention, f"{part}_proj")
            projection.weight.copy_(weight)
            if projection.bias is not None:
                projection.bias.copy_(bias)
    names = ("o_proj", "out_proj", "c_proj", "dense")
    out = next(getattr(attention, name) for name in names if hasattr(attention, name))
    out.weight.copy_(torch.eye(8))
    if out.bias is not None:
        out.bias.zero_()
    if hasattr(attention, "sinks"):
        attention.sinks.copy_(torch.tensor(SINKS))


def fused(case: str) -> PrefixKV:
    """One layer, two heads of width 4; the text states enter the attention as they are."""
    lm = MODELS[case]().eval()
    for name, module in list(lm.named_modules()):
        if name.rsplit(".", 1)[-1] in ("input_layernorm", "ln_1", "ln_attn", "self_attn_layer_norm",
                                     "word_embeddings_layernorm"):
            lm.get_submodule(name.rsplit(".", 1)[0]).register_module(name.rsplit(".", 1)[-1], nn.Identity())
        if name.rsplit(".", 1)[-1] in ("wpe", "embed_positions") and hasattr(module, "weight"):
            nn.init.zeros_(module.weight)
    t, k = torch.meshgrid(torch.arange(3.0), torch.arange(8.0), indexing="ij")
    fusion = PrefixKV(lm)
    with torch.no_grad():
        scaled = 8**0.5 if case == "gemma2" else 1.0  # it scales its words by the root of its width
        lm.get_input_embeddings().weight[:3] = (0.7 * t + 0.3 * k).sin() / scaled
        _fill(fusion.attention[0], groups=1 if GOLDEN[case] is ONE_GROUP else 2)
    return fusion


def attend(case: str, token: Tensor | None, implementation: str = "eager") -> Tensor:
    """What the attention gives for the three tokens, (3, 8)."""
    fusion = fused(case)
    fusion.base.set_attn_implementation(implementation)
    seen: list[Tensor] = []

    def record(module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        residual = kwargs.get("residual")  # BLOOM adds it in the attention
        seen.append(output[0] if residual is None else output[0] - residual)

    fusion.attention[0].register_forward_hook(record, with_kwargs=True)
    with torch.no_grad():
        fusion.forward(token, input_ids=torch.tensor([[0, 1, 2]]), attention_mask=torch.ones(1, 3, dtype=torch.long))
    return seen[0][0]


@pytest.mark.parametrize(("case", "implementation"), [
    (case, implementation) for case in GOLDEN for implementation in ("eager", "sdpa")
    if implementation == "eager" or case not in EAGER_ONLY])
def test_attention_output_equals_the_golden_rows(case: str, implementation: str) -> None:
    built = {"llama, no signal": "llama", "llama, zero signal": "llama"}.get(case, case)
    token = {"llama, no signal": None, "llama, zero signal": torch.zeros(1, 1, 4)}.get(case, E[None, None])
    torch.testing.assert_close(attend(built, token, implementation)[[0, 2]], torch.tensor(GOLDEN[case]), atol=1e-4,
                               rtol=0)


def test_a_slightly_longer_token_misses_the_golden_rows() -> None:
    assert (attend("llama", 1.02 * E[None, None])[[0, 2]] - torch.tensor(GOLDEN["llama"])).abs().max() > 1e-3


def test_one_token_acts_as_the_sum_of_the_column_blocks() -> None:
    fusion = fused("llama")
    weight: Any = fusion.base.model.layers[0].self_attn.k_proj.weight
    torch.testing.assert_close(fusion.tile(E[None, None])[0, 0] @ weight.T, (weight[:, :4] + weight[:, 4:]) @ E)
