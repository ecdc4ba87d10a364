"""MEIT's attention with one signal token, against golden rows worked out by hand-written loops (spec A4.5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTJConfig,
    GPTJForCausalLM,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
)

from emgecg_cli.core.models.fusion.prefix_kv import PrefixKV

E = torch.tensor([1.0, 2.0, 3.0, 4.0]) / 30**0.5
LLAMA_0 = (1.91230, .22010, .23590, -.03695, -.14479, -.44934, -.43211, -.56797)
LLAMA_2 = (2.01259, .19318, .21355, .06281, -.00267, -.18694, .12918, -.02742)
GPT2_0 = (2.01175, .17876, .17061, .05904, -.15846, -.53468, -.34564, -.55041)
GPT2_2 = (2.11447, .15081, .14856, .15595, -.02104, -.27957, .19779, -.02803)
NEO_0 = (1.91833, .21709, .23507, -.03663, -.14560, -.44802, -.43402, -.57154)

GOLDEN: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {  # case -> rows at t = 0 and t = 2
    "llama": (LLAMA_0, LLAMA_2),
    "llama, one group": ((1.91230, .22010, .23590, -.03695, 1.88947, .23150, .23903, -.03813),
                         (2.01259, .19318, .21355, .06281, 2.01675, .18713, .21072, .06649)),
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
    "gptj": (LLAMA_0, (2.01819, .19024, .21259, .06384, -.00444, -.18853, .12297, -.03443)),
    "gpt_neox": (GPT2_0, (2.12085, .14872, .14755, .15933, -.01927, -.27515, .20542, -.02150)),
    "bloom": (GPT2_0, (2.11281, .14945, .14688, .16132, -.02052, -.27866, .19976, -.02605)),
}
EAGER_ONLY = {"gpt_neo, global", "gpt_neo, local", "gptj", "bloom"}

COMMON: dict[str, Any] = dict(vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
                              max_position_embeddings=16, pad_token_id=0, bos_token_id=0, eos_token_id=0)
LLAMA: dict[str, Any] = COMMON | dict(intermediate_size=8, num_key_value_heads=2)


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
    elif hasattr(attention, "query_key_value"):  # each head's q, k, v after the other's
        attention.query_key_value.weight.copy_(torch.stack([w.view(2, 4, 8) for w in weights], 1).flatten(0, 2))
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


def fused(case: str) -> PrefixKV:
    """One layer, two heads of width 4; the text states enter the attention as they are."""
    lm = MODELS[case]().eval()
    for name, module in list(lm.named_modules()):
        if name.rsplit(".", 1)[-1] in ("input_layernorm", "ln_1", "self_attn_layer_norm", "word_embeddings_layernorm"):
            lm.get_submodule(name.rsplit(".", 1)[0]).register_module(name.rsplit(".", 1)[-1], nn.Identity())
        if name.rsplit(".", 1)[-1] in ("wpe", "embed_positions") and hasattr(module, "weight"):
            nn.init.zeros_(module.weight)
    t, k = torch.meshgrid(torch.arange(3.0), torch.arange(8.0), indexing="ij")
    fusion = PrefixKV(lm)
    with torch.no_grad():
        lm.get_input_embeddings().weight[:3] = (0.7 * t + 0.3 * k).sin()
        _fill(fusion.attention[0], groups=1 if case == "llama, one group" else 2)
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
