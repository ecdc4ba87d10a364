"""Rows that come and go in one cache say what each prompt alone says, in every family and fusion."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from prefix_rows import signal_tokens
from tiny_backbones import FAMILIES, LAYERS, TOKENS, WIDTH, make
from tiny_seq2seq import make_seq2seq
from torch import Tensor
from transformers import Qwen3NextConfig, Qwen3NextForCausalLM

from emgecg_cli.core.instructions.render import PLACEHOLDER
from emgecg_cli.core.models.decoding import Rows, read_prompts, why_not_refilled
from emgecg_cli.core.models.fusion import Fusion
from emgecg_cli.core.models.fusion.cross_attention import CrossAttention
from emgecg_cli.core.models.fusion.frame import Frame, join_frames
from emgecg_cli.core.models.fusion.prefix_kv import PrefixKV
from emgecg_cli.core.models.fusion.splice import Splice
from emgecg_cli.core.models.report_model import pad_prompts

# Longer and shorter than the windows of the tiny models; texts end at unlike times.
PROMPTS = [[5, 6, 7], [14, 15, 16, 17, 8, 9, 11], [18, 19], [20, 21, 22, 23, 24, 3], [25, 26]]
LENGTHS = [2, 8, 1, 5, 7]
VALID = torch.tensor([[True, True], [False, False], [True, False], [True, True], [False, True]])
FUSIONS = {"prefix-kv": PrefixKV, "cross-attention": CrossAttention, "splice": Splice}


def alone(fusion: Fusion, tokens: Tensor, valid: Tensor | None, prompts: list[list[int]]) -> list[list[int]]:
    """Each text by the backbone's own `generate`."""
    made = []
    for i, prompt in enumerate(prompts):
        output = fusion.generate(tokens[i:i + 1], None if valid is None else valid[i:i + 1],
                                 input_ids=torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)).long(),
                                 max_new_tokens=LENGTHS[i], do_sample=False, eos_token_id=None, pad_token_id=0)
        made.append(output[0].tolist())
    return made


def together(fusion: Fusion, lm: Any, tokens: Tensor, valid: Tensor | None,
             prompts: list[list[int]]) -> list[list[int]]:
    """The first two begin; the next one takes the place of one that has ended."""
    def begin(numbers: list[int]) -> tuple[Rows, Tensor]:
        ids, mask = pad_prompts([prompts[i] for i in numbers], 0, "left")
        return read_prompts(fusion, lm, tokens[numbers], None if valid is None else valid[numbers], ids, mask)

    made: list[list[int]] = [[] for _ in prompts]
    there, waiting = [0, 1], [2, 3, 4]
    rows, logits = begin(there)
    following = logits.argmax(-1)
    while there:
        for place, i in enumerate(there):
            made[i].append(int(following[place]))
            while waiting and len(made[there[place]]) == LENGTHS[there[place]]:
                there[place] = waiting.pop(0)
                others, first = begin([there[place]])
                rows.replace(torch.tensor([place]), others)
                following[place] = first.argmax(-1)
                made[there[place]].append(int(following[place]))
        kept = torch.tensor([place for place, i in enumerate(there) if len(made[i]) < LENGTHS[i]], dtype=torch.long)
        there, following = [there[int(k)] for k in kept], following[kept]
        if there:
            if len(there) < len(rows.mask):
                rows.keep(kept)
            following = rows.step(following, torch.ones(len(there), dtype=torch.bool)).argmax(-1)
    return made


@pytest.mark.parametrize(("family", "fusion"), [
    *((family, "prefix-kv") for family in FAMILIES),
    *((family, fusion) for fusion in ("cross-attention", "splice") for family in ("gpt2", "gemma3", "mistral"))])
def test_rows_that_come_and_go_say_what_each_says_alone(family: str, fusion: str) -> None:
    lm = make(family, lora=True)
    torch.manual_seed(0)
    made = FUSIONS[fusion](lm)
    if isinstance(made, torch.nn.Module):
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.3)
    tokens = signal_tokens(made.dim, batch=5)
    valid, front = (None, [PLACEHOLDER] * 2) if fusion == "splice" else (VALID, [])
    prompts = [front + prompt for prompt in PROMPTS]
    expected = alone(made, tokens, valid, prompts)
    assert why_not_refilled(lm) is None
    assert together(made, lm, tokens, valid, prompts) == expected
    assert len({tuple(text) for text in expected}) > 2


def test_signals_of_unlike_many_tokens_stand_below_each_other() -> None:
    """As those of tables do, and records without any beside others."""
    module = torch.nn.Linear(1, 1)
    one = Frame(torch.ones(2, 1, 4), None, {module: (torch.ones(2, 3, 1, 5), torch.ones(2, 3, 1, 5))})
    two = Frame(torch.full((1, 3, 4), 2.0), torch.tensor([[True, False, True]]),
                {module: (torch.full((1, 3, 3, 5), 2.0), torch.full((1, 3, 3, 5), 2.0))})
    joined = join_frames(join_frames(one, two, (2, 1)), Frame(None), (3, 2))
    assert joined.hidden is not None and joined.valid is not None and joined.memo is not None
    assert joined.valid.tolist() == [[True, False, False]] * 2 + [[True, False, True]] + [[False] * 3] * 2
    assert joined.hidden[:, :, 0].tolist() == [[1, 0, 0]] * 2 + [[2, 2, 2]] + [[0, 0, 0]] * 2
    assert joined.memo[module][0].shape == (5, 3, 3, 5) and joined.memo[module][1][2, 0, 2, 0] == 2
    assert joined.rows(torch.tensor([2])).memo[module][0].unique().tolist() == [2]  # type: ignore[index]
    assert join_frames(one, one, (2, 2)).valid is None


def test_whose_rows_cannot_come_and_go() -> None:
    assert "encoder-decoder" in str(why_not_refilled(make_seq2seq("bart")))
    hybrid = Qwen3NextForCausalLM(Qwen3NextConfig(
        **TOKENS, hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=32, head_dim=8, num_experts=2, num_experts_per_tok=1, moe_intermediate_size=16,
        shared_expert_intermediate_size=16, layer_types=["linear_attention", "full_attention"],
        linear_num_key_heads=2, linear_num_value_heads=2, linear_key_head_dim=8, linear_value_head_dim=8))
    assert "LinearAttention" in str(why_not_refilled(hybrid))
