"""Signal tokens whose length is matched to the backbone's own text."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from tiny_backbones import make
from tiny_seq2seq import make_seq2seq
from torch import Tensor

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.models.builders import build_report_model
from emgecg_cli.core.models.fusion.attention_families import attention_modules
from emgecg_cli.core.models.report_model import ReportModel
from emgecg_cli.core.models.token_length import match, measure

ROWS = [[3, 4, 5, 6], [7, 8]]


def model_of(backbone: Any, fusion: str, layers: str = "auto") -> ReportModel:
    return build_report_model(backbone, encoder="resnet18-tiny", projector="mlp-gelu", fusion=fusion, signal_tokens=2,
                              token_norm="matched", seed=1, fusion_layers=layers).eval()


def tokens_of(model: ReportModel) -> Tensor:
    seen = model.see({"ecg": torch.randn(2, 12, 1000)})
    assert seen.tokens is not None
    return seen.tokens


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3"])
def test_splice_takes_the_mean_length_of_an_embedded_word(family: str) -> None:
    backbone = make(family)
    model = model_of(backbone, "splice")
    lengths = measure(model, ROWS, pad=0)
    embedded = backbone.get_input_embeddings()(torch.tensor([3, 4, 5, 6, 7, 8]))  # with a scale of the family's own
    assert lengths == pytest.approx([float(embedded.norm(dim=-1).mean())], rel=1e-5)
    match(model, lengths)
    torch.testing.assert_close(tokens_of(model).norm(dim=-1), torch.full((2, 2), lengths[0]))


@pytest.mark.parametrize(("family", "layers"), [("llama", "auto"), ("gpt2", "1"), ("gemma3", "auto")])
def test_prefix_kv_takes_a_share_of_what_each_layer_sees_of_text(family: str, layers: str) -> None:
    backbone = make(family)
    model = model_of(backbone, "prefix-kv", layers)
    lengths = measure(model, ROWS, pad=0)
    fused: list[Any] = [module for _, module in attention_modules(backbone)]
    fused = fused if layers == "auto" else [fused[int(layers)]]
    assert len(lengths) == len(fused)
    seen: dict[Any, list[Tensor]] = {module: [] for module in fused}
    projected: dict[Any, list[Tensor]] = {module: [] for module in fused}
    handles = [module.register_forward_pre_hook(
        lambda module, args, kwargs: seen[module].append(kwargs.get("hidden_states", args[0] if args else None)),
        with_kwargs=True, prepend=True) for module in fused]
    for row in ROWS:
        model.fusion.forward(None, input_ids=torch.tensor([row]), use_cache=False)
    for handle in handles:
        handle.remove()
    heads = backbone.config.get_text_config().num_attention_heads
    for module, length in zip(fused, lengths, strict=True):
        states = torch.cat([part.flatten(0, 1) for part in seen[module]])
        assert length == pytest.approx(0.3 * float(states.norm(dim=-1).mean()) / math.sqrt(heads), rel=1e-4)

    match(model, lengths)
    tokens = tokens_of(model)
    torch.testing.assert_close(tokens.norm(dim=-1), torch.ones(2, 2))
    for module in fused:
        for hook in module._forward_pre_hooks.values():
            project = hook.project
            hook.project = lambda own, hidden, project=project: (projected[own].append(hidden), project(own, hidden))[1]
    model.fusion.forward(tokens, input_ids=torch.tensor([ROWS[0]] * 2), use_cache=False)
    for module, length in zip(fused, lengths, strict=True):
        torch.testing.assert_close(projected[module][0], tokens.repeat(1, 1, heads) * length)


@pytest.mark.parametrize(("backbone", "fusion"), [("llama", "cross-attention"), ("t5", "prefix-kv")])
def test_a_fusion_that_has_no_text_to_match_says_so(backbone: str, fusion: str) -> None:
    made = make_seq2seq(backbone) if backbone == "t5" else make(backbone)
    with pytest.raises(MedReportError, match="matched"):
        measure(model_of(made, fusion), ROWS, pad=0)
