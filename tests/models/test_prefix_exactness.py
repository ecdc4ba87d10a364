"""Prefix-KV fusion gives the logits of the oracle, for every family, padded whichever way."""

from __future__ import annotations

import pytest
import torch
from oracle import oracle
from prefix_rows import PROMPTS, error, fused_rows, oracle_rows, pad, signal_tokens
from tiny_backbones import EAGER_ONLY, FAMILIES, LAYERS, POSITIONS, VOCABULARY, WINDOW, make
from transformers import GPT2Config, GPT2LMHeadModel

from emgecg_cli.core.models.fusion.prefix_kv import PrefixKV

TOLERANCE = 1e-3
CASES = [(family, implementation) for family in FAMILIES
         for implementation in (["eager"] if family in EAGER_ONLY else ["eager", "sdpa"])]
WINDOWED = ["gpt_neo", "mistral", "gemma3", "phi3", "qwen2_moe", "mixtral", "gemma2", "ministral", "gpt_oss", "cohere2"]


@pytest.mark.parametrize("lora", [False, True], ids=["plain", "lora"])
@pytest.mark.parametrize(("family", "implementation"), CASES)
def test_logits_equal_the_oracle(family: str, implementation: str, lora: bool) -> None:
    lm = make(family, lora, implementation)
    without = oracle_rows(lm, None)
    with torch.no_grad():  # the oracle itself, and the shortest way through the model
        plain = [lm(input_ids=torch.tensor([ids])).logits[0] for ids in PROMPTS]
    assert error(plain, without) < TOLERANCE
    fusion = PrefixKV(lm)
    for count in (0, 1, 3):
        tokens = signal_tokens(fusion.dim, count) if count else None
        expected = oracle_rows(lm, tokens)
        for side in ("left", "right"):
            for use_cache in (False, True):
                assert error(fused_rows(fusion, tokens, side, use_cache=use_cache), expected) < TOLERANCE
        with torch.no_grad():
            unmasked = fusion.forward(tokens if tokens is None else tokens[:1], input_ids=torch.tensor(PROMPTS[:1]))
        assert error(unmasked.logits, expected[:1]) < TOLERANCE
        if count:  # or the rest would prove nothing
            assert min(error([a], [b]) for a, b in zip(expected, without, strict=True)) > 0.1


@pytest.mark.parametrize("family", ["gpt2", "opt"])
def test_in_double_precision_only_rounding_is_left(family: str) -> None:
    lm = make(family, lora=True, implementation="sdpa").double()
    tokens = signal_tokens(6, 3).double()
    assert error(fused_rows(PrefixKV(lm), tokens), oracle_rows(lm, tokens)) < 1e-10


@pytest.mark.parametrize("family", WINDOWED)
def test_the_prefix_is_seen_from_beyond_the_window_and_the_text_is_not(family: str) -> None:
    # In the windowed layer alone, so that nothing reaches the last query by way of another token.
    lm = make(family)
    windowed = 1 if family == "gpt_neo" else 0
    fusion, ids = PrefixKV(lm, layers=[windowed]), torch.tensor([list(range(5, 5 + 3 * WINDOW))])
    tokens = signal_tokens(fusion.dim, 2, batch=2)
    seen: list[torch.Tensor] = []
    fusion.attention[windowed].register_forward_hook(lambda module, args, output: seen.append(output[0][0]))
    with torch.no_grad():
        states = fusion.forward(tokens[:1], input_ids=ids, output_hidden_states=True)
        fusion.forward(tokens[1:], input_ids=ids)
    assert (seen[0][-1] - seen[1][-1]).abs().max() > 0.01
    expected = oracle(lm, ids[0].tolist(), tokens[0], [windowed])
    assert error(states.logits, [expected]) < TOLERANCE
    if windowed == 0:  # the first layer's own input differs at the changed token only
        changed = ids.clone()
        changed[0, 2] = 30
        with torch.no_grad():
            fusion.forward(tokens[:1], input_ids=changed)
        assert torch.equal(seen[0][2 + WINDOW:], seen[2][2 + WINDOW:])
        assert not torch.equal(seen[0][1 + WINDOW], seen[2][1 + WINDOW])


@pytest.mark.parametrize("family", ["llama", "gpt2", "bloom", "gpt_neo"])
def test_a_row_depends_on_its_own_signal_only_and_at_every_position(family: str) -> None:
    fusion = PrefixKV(make(family))
    tokens = signal_tokens(fusion.dim)
    changed = tokens.clone()
    changed[1] = signal_tokens(fusion.dim, seed=9)[1]
    before, after = fused_rows(fusion, tokens), fused_rows(fusion, changed)
    assert torch.equal(before[0], after[0]) and torch.equal(before[2], after[2])
    assert (before[1] - after[1]).abs().amax(-1).min() > 1e-3  # the first position included
    swapped = fused_rows(fusion, tokens[[0, 2, 1]])
    assert error(swapped[1:2], [oracle(fusion.backbone, PROMPTS[1], tokens[2])]) < TOLERANCE


@pytest.mark.parametrize("family", FAMILIES)
def test_a_text_as_long_as_the_positions_and_its_own_beginning(family: str) -> None:
    lm = make(family)
    fusion = PrefixKV(lm)
    tokens = signal_tokens(fusion.dim, 3, batch=1)
    ids = [3 + i % (VOCABULARY - 3) for i in range(POSITIONS)]
    with torch.no_grad():
        whole = fusion.forward(tokens, input_ids=torch.tensor([ids])).logits[0]
        start = fusion.forward(tokens, input_ids=torch.tensor([ids[:7]])).logits[0]
    assert error([whole], [oracle(lm, ids, tokens[0])]) < TOLERANCE
    assert error([whole[:7]], [start]) < 1e-4  # causal


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("layer", range(LAYERS))
def test_a_subset_of_layers_is_fused_and_the_others_still_run(family: str, layer: int) -> None:
    lm = make(family)
    fusion = PrefixKV(lm, layers=[layer])
    tokens = signal_tokens(fusion.dim)
    assert error(fused_rows(fusion, tokens), oracle_rows(lm, tokens, [layer])) < TOLERANCE


@pytest.mark.parametrize(("family", "implementation"), CASES)
def test_rows_and_single_tokens_that_are_not_valid_are_not_there(family: str, implementation: str) -> None:
    lm = make(family, implementation=implementation)
    with torch.no_grad():
        plain = lm(**pad(), **({} if family == "bloom" else
                               {"position_ids": (pad()["attention_mask"].cumsum(-1) - 1).clamp(min=0)})).logits
    fusion = PrefixKV(lm)
    tokens = signal_tokens(fusion.dim, 3)
    ragged = torch.tensor([[True, False, True], [False, False, False], [True, True, True]])
    tokens[~ragged] = float("nan")  # what is not valid may hold anything
    expected = [oracle(lm, ids, tokens[i][ragged[i]] if ragged[i].any() else None) for i, ids in enumerate(PROMPTS)]
    got = fused_rows(fusion, tokens, valid=ragged)
    assert error(got, expected) < TOLERANCE
    assert error(got[1:2], [plain[1][pad()["attention_mask"][1].bool()]]) < 1e-5
    rows = torch.tensor([False, False, True])
    expected = [oracle(lm, ids, tokens[i] if rows[i] else None) for i, ids in enumerate(PROMPTS)]
    assert error(fused_rows(fusion, tokens, valid=rows), expected) < TOLERANCE
    with torch.no_grad():  # one query and no padding, where a model may build no mask at all
        single = fusion.forward(signal_tokens(fusion.dim), torch.tensor([True, False, True]),
                                input_ids=torch.tensor([[5], [6], [7]])).logits
    assert error([single[1]], [oracle(lm, [6])]) < TOLERANCE


def test_a_token_that_is_not_valid_gets_no_gradient() -> None:
    fusion = PrefixKV(make("llama"))
    tokens = signal_tokens(fusion.dim).requires_grad_()
    fusion.forward(tokens, torch.tensor([True, False, True]), **pad()).logits.square().mean().backward()
    assert tokens.grad is not None
    assert tokens.grad[1].abs().max() == 0 and tokens.grad[[0, 2]].abs().amin() > 0


def test_the_cache_holds_text_only() -> None:
    fusion = PrefixKV(make("llama"))
    with torch.no_grad():
        output = fusion.forward(signal_tokens(fusion.dim), **pad(), use_cache=True)
    assert output.past_key_values.get_seq_length() == max(map(len, PROMPTS))
    assert output.logits.shape == (3, max(map(len, PROMPTS)), VOCABULARY)


@pytest.mark.parametrize("family", FAMILIES)
def test_token_by_token_with_a_cache_equals_one_forward(family: str) -> None:
    lm = make(family)
    fusion = PrefixKV(lm)
    tokens, ids = signal_tokens(fusion.dim, batch=1), torch.arange(5, 17)[None]
    cache, rows = None, []
    with torch.no_grad():
        for t in range(ids.shape[1]):
            output = fusion.forward(tokens, input_ids=ids[:, t:t + 1], past_key_values=cache, use_cache=True,
                                    attention_mask=torch.ones(1, t + 1, dtype=torch.long))
            cache = output.past_key_values
            rows.append(output.logits[0, 0])
    assert error([torch.stack(rows)], [oracle(lm, ids[0].tolist(), tokens[0])]) < TOLERANCE


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt"])
def test_pieces_of_a_text_under_the_mask_of_the_whole(family: str) -> None:
    lm = make(family)
    fusion = PrefixKV(lm)
    tokens, whole = signal_tokens(fusion.dim), pad()
    cache, pieces = None, []
    with torch.no_grad():
        for start in (0, 3, 6):
            output = fusion.forward(tokens, input_ids=whole["input_ids"][:, start:start + 3], past_key_values=cache,
                                    attention_mask=whole["attention_mask"], use_cache=True)
            cache = output.past_key_values
            pieces.append(output.logits)
    rows = [row[keep.bool()] for row, keep in zip(torch.cat(pieces, 1), whole["attention_mask"], strict=True)]
    assert error(rows, oracle_rows(lm, tokens)) < TOLERANCE


def test_gpt2_with_cross_attention_gets_the_prefix_in_its_self_attention_only() -> None:
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=VOCABULARY, n_embd=24, n_layer=2, n_head=4, n_positions=32, add_cross_attention=True,
                        bos_token_id=1, eos_token_id=1)
    lm = GPT2LMHeadModel(config).eval()
    fusion = PrefixKV(lm)
    assert len(fusion.attention) == 2 and not any(module.is_cross_attention for module in fusion.attention)
    memory, ids = torch.randn(1, 4, 24), torch.tensor(PROMPTS[:1])
    tokens = 10 * signal_tokens(fusion.dim, batch=1)
    with torch.no_grad():
        outputs = [fusion.forward(shown, input_ids=ids, encoder_hidden_states=memory, use_cache=cached).logits
                   for shown, cached in ((tokens, False), (tokens, True), (None, True))]
    assert error(outputs[:1], outputs[1:2]) < 1e-5 and error(outputs[:1], outputs[2:]) > 1e-3
