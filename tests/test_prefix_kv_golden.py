"""MEIT's attention with one signal token, against golden rows worked out by hand-written loops (spec A4.5)."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from emgecg_cli.core.models.fusion.prefix_kv import PrefixKV

E = torch.tensor([1.0, 2.0, 3.0, 4.0]) / 30**0.5

GOLDEN = {  # case -> rows at t = 0 and t = 2
    "llama": ((1.91230, .22010, .23590, -.03695, -.14479, -.44934, -.43211, -.56797),
              (2.01259, .19318, .21355, .06281, -.00267, -.18694, .12918, -.02742)),
    "grouped": ((1.91230, .22010, .23590, -.03695, 1.88947, .23150, .23903, -.03813),
                (2.01259, .19318, .21355, .06281, 2.01675, .18713, .21072, .06649)),
    "no signal": ((2.27621, .03847, .18601, -.01804, -.24240, -.29094, -.66114, -.99586),
                  (2.17973, .11787, .18762, .10467, .01203, -.04185, .24172, .00873)),
    "zero signal": ((1.17434, .01985, .09597, -.00931, -.12384, -.14864, -.33778, -.50879),
                    (1.63591, .08847, .14081, .07855, .00904, -.03145, .18168, .00656)),
}


def model(groups: int) -> LlamaForCausalLM:
    """One layer, two heads of width 4, weights from closed formulas; the text states enter the attention directly."""
    config = LlamaConfig(vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2,
                         num_key_value_heads=groups, max_position_embeddings=16, rope_theta=10000.0)
    lm = LlamaForCausalLM(config).eval()
    i, j = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    attention = lm.model.layers[0].self_attn
    with torch.no_grad():
        attention.q_proj.weight.copy_((1 + i + 2 * j).sin() / 2)
        attention.k_proj.weight.copy_(((i - j).cos() / 2)[:4 * groups])
        attention.v_proj.weight.copy_(((i * j + 1).sin() / 2)[:4 * groups])
        attention.o_proj.weight.copy_(torch.eye(8))
        t, k = torch.meshgrid(torch.arange(3.0), torch.arange(8.0), indexing="ij")
        lm.model.embed_tokens.weight[:3] = (0.7 * t + 0.3 * k).sin()
    lm.model.layers[0].input_layernorm = torch.nn.Identity()
    return lm


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("case", GOLDEN)
def test_attention_output_equals_the_golden_rows(case: str, implementation: str) -> None:
    lm = model(groups=1 if case == "grouped" else 2)
    lm.set_attn_implementation(implementation)
    fusion = PrefixKV(lm)
    seen: list[torch.Tensor] = []
    lm.model.layers[0].self_attn.register_forward_hook(lambda module, args, output: seen.append(output[0]))
    token = {"no signal": None, "zero signal": torch.zeros(1, 1, 4)}.get(case, E[None, None])
    with torch.no_grad():
        fusion.forward(token, input_ids=torch.tensor([[0, 1, 2]]), attention_mask=torch.ones(1, 3, dtype=torch.long))
    expected = torch.tensor(GOLDEN[case])
    torch.testing.assert_close(seen[0][0, [0, 2]], expected, atol=1e-4, rtol=0)


def test_one_token_acts_as_the_sum_of_the_column_blocks() -> None:
    lm = model(groups=2)
    weight = lm.model.layers[0].self_attn.k_proj.weight
    torch.testing.assert_close(PrefixKV(lm).tile(E[None, None])[0, 0] @ weight.T, (weight[:, :4] + weight[:, 4:]) @ E)
