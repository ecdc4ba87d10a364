"""The loss of a few tokens at a time: as that of all logits at once, in every family, under every tuning and fusion."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tiny_backbones import FAMILIES, VOCABULARY, make
from tiny_seq2seq import make_seq2seq
from torch import Tensor, nn
from transformers import Cohere2Config, GraniteConfig

from emgecg_cli.core.inputs.batch import Batch, Totals
from emgecg_cli.core.instructions.render import IGNORE_INDEX, PLACEHOLDER
from emgecg_cli.core.models.builders import build_report_model
from emgecg_cli.core.models.output_head import output_head
from emgecg_cli.core.models.report_model import ReportModel
from emgecg_cli.core.models.tuning import base_of
from emgecg_cli.core.training import objective as objectives
from emgecg_cli.core.training.objective import Objective

END = (1,)


def batch_of(rows: int = 3, length: int = 9, placeholders: bool = False) -> Batch:
    """Token ids with answers from position 4 on, padded behind; the end of one of them counts differently."""
    torch.manual_seed(0)
    ids = torch.randint(3, VOCABULARY, (rows, length))
    if placeholders:
        ids[:, 1:3] = PLACEHOLDER
    mask = torch.ones_like(ids)
    mask[1, -2:] = 0
    ids[1, -2:], ids[0, -1] = 0, END[0]
    labels = torch.where(mask.bool() & (torch.arange(length) >= 4), ids, IGNORE_INDEX)
    return Batch({}, ids, mask, labels, torch.zeros(rows, 0), {}, 4, list(range(rows)))


def differentiated(model: ReportModel, inputs: dict[str, Tensor], batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch and the gradients of all that trains."""
    objective = Objective(model, torch.zeros(0), weight=1.0, end=END, eos_weight=0.3)
    torch.manual_seed(3)  # for dropout
    loss = objective(inputs, batch, Totals(13, len(batch.indices))).total
    loss.backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return loss.detach(), found


def check(model: ReportModel, monkeypatch: pytest.MonkeyPatch, batch: Batch,
          inputs: dict[str, Tensor] | None = None, tolerance: float = 1e-6) -> None:
    """Chunks of three tokens and of one give the loss and the gradients of all at once."""
    shapes: list[int] = []
    monkeypatch.setattr(objectives, "token_losses", lambda logits, labels, whole=objectives.token_losses:
                        (shapes.append(len(logits)), whole(logits, labels))[1])
    loss, gradients = differentiated(model, inputs or {}, batch)
    assert shapes == [15] and len(gradients) > 1 and all(g.abs().max() > 0 for g in gradients.values())
    for tokens in (3, 1):
        shapes.clear()
        monkeypatch.setattr(objectives, "LOGITS_AT_ONCE", tokens * VOCABULARY)
        found, others = differentiated(model, inputs or {}, batch)
        assert set(shapes) == {tokens} and len(shapes) == 2 * 15 // tokens  # forward, and again backward
        torch.testing.assert_close(found, loss, atol=1e-6, rtol=1e-6)
        assert others.keys() == gradients.keys()
        for name, gradient in gradients.items():
            assert (others[name] - gradient).abs().max() <= tolerance * max(1.0, float(gradient.abs().max())), name


def model_of(backbone: Any) -> ReportModel:
    """The backbone with a fusion that adds nothing to it: text alone."""
    return ReportModel({}, backbone, PlainText(backbone))


class PlainText:
    """A fusion without a signal."""

    dim, placeholders, padding_side = 1, False, "left"

    def __init__(self, backbone: Any) -> None:
        self.backbone = backbone

    def forward(self, signal_tokens: Tensor | None, valid: Tensor | None = None, **inputs: Any) -> Any:
        """The backbone's own."""
        return self.backbone(**inputs)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_gives_the_same_loss(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = make(family)
    if family == "gemma2":
        assert backbone.config.final_logit_softcapping
    if isinstance(backbone.config, GraniteConfig):
        backbone.config.logits_scaling = 3.0
    if isinstance(backbone.config, Cohere2Config):
        backbone.logit_scale = 0.25
    head = backbone.get_output_embeddings()
    for name, parameter in backbone.named_parameters():  # the ends of the model alone: what is between is not touched
        parameter.requires_grad_("norm" in name or "ln_f" in name or parameter is head.weight)
    check(model_of(backbone), monkeypatch, batch_of())


@pytest.mark.parametrize("case", ["lora on the head", "trained copy of the head", "tied"])
def test_heads_that_are_wrapped_or_tied(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = make("llama")
    backbone.config.tie_word_embeddings = case == "tied"
    backbone.tie_weights()
    if case == "tied":
        assert backbone.lm_head.weight is backbone.model.embed_tokens.weight
    else:
        targets = dict(target_modules=["q_proj", "lm_head"], lora_dropout=0.2) if case == "lora on the head" else \
            dict(target_modules=["q_proj"], modules_to_save=["lm_head"])
        backbone = get_peft_model(backbone, LoraConfig(r=2, init_lora_weights=False, **targets)).train()
        assert base_of(backbone).get_output_embeddings() is not None
    # A dropout is drawn for each chunk, so that it is another one than for all tokens at once.
    if case == "lora on the head":
        for module in backbone.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
    check(model_of(backbone), monkeypatch, batch_of())


@pytest.mark.parametrize("fusion", ["prefix-kv", "splice", "cross-attention"])
def test_every_fusion_gives_the_same_loss(fusion: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build_report_model(make("llama", lora=True), encoder="resnet18-tiny", projector="linear", fusion=fusion,
                               signal_tokens=2, token_norm="none", seed=0)
    if fusion == "cross-attention":
        with torch.no_grad():
            for name, parameter in model.fusion.named_parameters():
                if "gate" in name:
                    parameter.fill_(0.5)
    signal = torch.randn(3, 12, 200)
    # What reaches the encoder has been rounded by every layer in between.
    check(model.eval(), monkeypatch, batch_of(placeholders=fusion == "splice"), {"ecg": signal}, tolerance=3e-6)


def test_an_encoder_decoder_has_its_logits_whole() -> None:
    assert output_head(make_seq2seq("t5")) is None and output_head(make_seq2seq("bart", lora=True)) is None
    assert output_head(make("llama", lora=True)) is not None


def test_a_head_that_is_not_called_once_is_not_taken_for_one() -> None:
    head = output_head(make("llama"))
    assert head is not None
    with pytest.raises(RuntimeError, match="ran 0 times"), head.aside():
        pass
