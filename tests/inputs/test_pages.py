"""Recordings, their pages, or either alone: mixed batches, conditions, what is left out at a visit, prompts."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from made_runs import make_folder
from pipeline import short_config
from torch import Tensor

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.generation.shown import parse_signal, shown_as
from emgecg_cli.core.inputs.batch import Totals, stacked
from emgecg_cli.core.inputs.records import Inputs, open_inputs
from emgecg_cli.core.inputs.rendered import render_all
from emgecg_cli.core.inputs.visits import Visits
from emgecg_cli.core.instructions.build import open_instructions
from emgecg_cli.core.instructions.render import Renderer, render_prompt
from emgecg_cli.core.instructions.template_settings import settle_template
from emgecg_cli.core.instructions.turns import turn_end
from emgecg_cli.core.models.backbones import load_backbone
from emgecg_cli.core.models.builders import build_report_model
from emgecg_cli.core.models.report_model import ReportModel, pad_prompts
from emgecg_cli.core.recipes import resolve_train_config
from emgecg_cli.core.signals.paper.images import prepare_image
from emgecg_cli.core.signals.paper.sheet import render_page
from emgecg_cli.core.store import open_store
from emgecg_cli.core.training.augment import network_input
from emgecg_cli.core.training.batches import BatchPlan, BatchSampler, VisitSampler
from emgecg_cli.core.training.objective import Objective
from emgecg_cli.core.training.records import records_of

ENCODERS = "ecg-coca-tiny,clip"
SIZES = {"clip": dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=64,
                      patch_size=32)}
SETTINGS: dict[str, Any] = dict(image_layout="12x1", image_dpi=30)
CPU = torch.device("cpu")
NONE: dict[str, int | None] = {"ecg": None, "image": None}
CASES: list[tuple[int, dict[str, int | None]]] = [(0, {}), (1, {"image": None}), (2, {"ecg": None}), (3, NONE)]


@pytest.fixture(scope="module")
def shown(inputs: tuple[Path, Path]) -> Inputs:
    return open_inputs(open_store(inputs[0]), open_instructions(inputs[1]), encoder=ENCODERS, hints={},
                       settings=SETTINGS, sizes=SIZES)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[ReportModel, Any]:
    backbone, tokenizer = load_backbone(str(make_folder(tmp_path_factory.mktemp("llama") / "llama")), torch.float32)
    settle_template(tokenizer, "llava-v1", None, None)
    model = build_report_model(backbone, encoder=ENCODERS, projector="shared-gelu", fusion="splice", signal_tokens=1,
                               token_norm="none", seed=0, sizes=SIZES, **SETTINGS)
    with torch.no_grad():
        assert model.towers.shared is not None
        model.towers.shared.layers[2].weight.mul_(4)  # so that what is seen moves what is said
    return model.eval(), tokenizer


def prompts(shown: Inputs, made: tuple[ReportModel, Any], cases: list[Any]) -> tuple[dict[str, Tensor], Any, Any, Any]:
    model, tokenizer = made
    ids, mask = pad_prompts([render_prompt(shown.messages(i, how), tokenizer,
                                           shown.placeholders(i, model.placeholders, how)) for i, how in cases],
                            tokenizer.pad_token_id, "left")
    arrays, present = stacked([shown.arrays(*one) for one in cases], [shown.lacking(*one) for one in cases])
    return {name: prepare(arrays[name]) for name, prepare in model.preprocessing.items()}, ids, mask, present


def test_a_mixed_batch_trains_and_generates_as_its_records_one_by_one(shown: Inputs, made: tuple[ReportModel, Any]) \
        -> None:
    model, _ = made
    seen, ids, mask, present = prompts(shown, made, CASES)
    assert [int((ids[:, 0:] == code).sum()) for code in (-1, -2)] == [2 * 41, 2 * 4]

    def passes(cases: list[Any]) -> tuple[Tensor, list[Tensor]]:
        seen, ids, mask, present = prompts(shown, made, cases)
        model.zero_grad()
        logits, _ = model(seen, ids, mask, present=present)
        logits[:, -1, :50].logsumexp(1).sum().backward()
        return logits[:, -1].detach(), [parameter.grad.clone() for parameter in model.parameters()
                                        if parameter.grad is not None]

    logits, gradients = passes(CASES)
    alone = [passes([case]) for case in CASES]
    torch.testing.assert_close(logits, torch.cat([one for one, _ in alone]), atol=1e-4, rtol=1e-4)
    assert all(len(found) == len(gradients) for _, found in alone)  # processes that share weights wait for all of them
    for number, gradient in enumerate(gradients):
        torch.testing.assert_close(gradient, torch.stack([found[number] for _, found in alone]).sum(0), atol=2e-4,
                                   rtol=1e-3)
    settings: dict[str, Any] = dict(max_new_tokens=6, do_sample=False, eos_token_id=None, pad_token_id=0)
    together = model.generate(seen, ids, mask, present=present, **settings)
    for row, case in zip(together, CASES, strict=True):
        own, ids, mask, present = prompts(shown, made, [case])
        assert torch.equal(row, model.generate(own, ids, mask, present=present, **settings)[0])
    for name in ("ecg", "image"):
        assert (logits[0] - passes([(0, {name: 5})])[0][0]).abs().max() > 1e-3  # each is read


def test_conversations_say_which_records_show_what(inputs: tuple[Path, Path]) -> None:
    """Where no prompt has a picture the page of every recording is shown; else where one stands."""
    store, held = open_store(inputs[0]), open_instructions(inputs[1])
    kinds = [[{"type": "ecg"}], [{"type": "image"}], [{"type": "ecg"}, {"type": "image"}], []]
    rows: Any = {}
    for number, (name, row) in enumerate(held.rows.items()):
        said = [{"role": "user", "content": [*kinds[number % 4], {"type": "text", "text": "Read it."}]},
                row.messages[-1]]
        rows[name] = replace(row, messages=said)
    shown = open_inputs(store, replace(held, rows=rows), encoder=ENCODERS, hints={}, settings=SETTINGS, sizes=SIZES)
    numbers = {name: number for number, name in enumerate(store.column("record_id"))}
    lacking = [shown.lacking(numbers[name]) for name in list(rows)[:4]]
    assert lacking == [("image",), ("ecg",), (), ("ecg", "image")]


def test_pages_are_drawn_as_asked_for_under_every_condition(shown: Inputs) -> None:
    store = shown.store

    def page(signal: np.ndarray, **more: Any) -> np.ndarray:
        return prepare_image(render_page(signal, store.fs, layout="12x1", dpi=30, **more), mode="ori", size=64)

    own = shown.arrays(4)["image"]
    assert own.shape == (3, 64, 64) and np.array_equal(own, page(store.signal(4)))
    chosen, pages = [4, 5, 6, 7], {}
    for how in ("real", "shuffled", "zeros", "noise", "none"):
        condition = shown_as(shown, chosen, parse_signal(f"image={how}", shown.names), 0)
        assert np.array_equal(condition.arrays(4)["ecg"], shown.arrays(4)["ecg"])
        pages[how] = condition.arrays(4)["image"]
        other = condition.source_of(4).get("image", 4)
        assert ("image" in condition.lacking(4)) == (how == "none")
        if how == "shuffled":
            assert other not in (None, 4) and np.array_equal(pages[how], page(store.signal(int(other or 0))))
    assert np.array_equal(pages["real"], own) and np.array_equal(pages["zeros"], page(np.zeros_like(store.signal(4))))
    assert len({made.tobytes() for made in pages.values()}) == 4  # flat lines are what an empty sheet has
    distorted = replace(shown, sources={**shown.sources, "image": replace(shown.sources["image"],  # type: ignore
                                                                          distortions=("noise",))})
    assert np.array_equal(distorted.arrays(4)["image"], own)  # only a visit in training is distorted
    assert np.array_equal(distorted.arrays(4, seed=7)["image"], page(store.signal(4), distortions=("noise",), seed=7))


def test_a_visit_leaves_out_what_a_record_without_it_lacks(shown: Inputs, made: tuple[ReportModel, Any]) -> None:
    model, tokenizer = made
    renderer = Renderer(tokenizer, 512, turn_end(tokenizer))
    visits = Visits(shown, renderer, model.placeholders, 0.5, seed=3)
    drawn = [visits.of(4, number, epoch)[0] for number in range(60) for epoch in range(5)]
    counts = Counter(next(iter(one), "both") for one in drawn)
    assert 120 < counts["both"] < 180 and min(counts["ecg"], counts["image"]) > 50
    assert drawn == [visits.of(4, number, epoch)[0] for number in range(60) for epoch in range(5)]
    config = short_config(encoder=ENCODERS, modality_dropout=0.5, image_distortion="noise", encoder_loss="none",
                          max_length=512, seed=3)
    records, _ = records_of(model, tokenizer, shown.store, shown, config, "train")
    index = int(records.rendered.indices[2])
    found = {next(iter(records.visits.of(index, 2, epoch)[0]), "both"): epoch  # type: ignore[union-attr]
             for epoch in range(20)}
    assert set(found) == {"both", "ecg", "image"}
    for left_out, epoch in found.items():
        item, how = records.visit(2, epoch), {} if left_out == "both" else {left_out: None}
        truly = render_all(_Lacking(shown, how), np.array([index]), tokenizer, 512, model.placeholders)
        tokens, prompt = truly.conversation(0)
        assert item.tokens.tolist() == tokens.tolist() and item.prompt == prompt and item.lacking == tuple(how)
        assert not np.array_equal(item.inputs["image"], shown.arrays(index)["image"])  # distorted, or blank
    totals = records.totals(np.arange(3))
    batch = records.collate([records.visit(2, epoch) for epoch in found.values()])
    objective = Objective(model, torch.zeros(0), weight=1.0, end=(), eos_weight=1.0)
    assert objective(*network_input(batch, CPU, 0, 0), Totals(totals.tokens, 3)).total.isfinite()
    # each tower is asked for the targets of the records that show it
    asked = Objective(model, torch.tensor([0.3, 0.6]), weight=1.0, end=(), eos_weight=1.0)
    batch = replace(batch, targets=torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
    inputs, there = network_input(batch, CPU, 0, 0)
    seen = model.see(inputs, there.present)
    each = {name: F.binary_cross_entropy_with_logits(asked.heads[name](seen.features[name]), batch.targets,
                                                     reduction="none").mean(1) for name in ("ecg", "image")}
    lacking = {name: order for order, name in enumerate(found)}
    expected = sum(losses.sum() - losses[lacking[name]] for name, losses in each.items()) / 3
    torch.testing.assert_close(asked(inputs, there, Totals(totals.tokens, 3)).parts["encoder"], expected)
    # where a killed run goes on, it asks for the same visits
    plan = BatchPlan(np.ones(10), 4, 0)
    whole = list(VisitSampler(BatchSampler(plan, 0, 9)))
    assert list(VisitSampler(BatchSampler(BatchPlan(np.ones(10), 4, 0), 5, 9))) == whole[5:]
    assert [batch[0][1] for batch in whole] == [0, 0, 0, 1, 1, 1, 2, 2, 2]


class _Lacking:
    def __init__(self, shown: Inputs, how: dict[str, int | None]) -> None:
        self.shown, self.how = shown, how

    def messages(self, index: int) -> Any:
        return self.shown.messages(index, self.how)

    def placeholders(self, index: int, counts: Any) -> Any:
        return self.shown.placeholders(index, counts, self.how)


def test_the_prompt_is_llavas_with_recording_and_page_at_one_place(shown: Inputs,
                                                                    made: tuple[ReportModel, Any]) -> None:
    model, tokenizer = made
    ids = render_prompt(shown.messages(0), tokenizer, model.placeholders)
    first = next(place for place, token in enumerate(ids) if token < 0)
    assert ids[first:first + 45] == [-1] * 41 + [-2] * 4 and min(ids[first + 45:]) >= 0
    question = shown.messages(0)[0]["content"][-1]["text"]
    assert tokenizer.decode(ids[:first]) == (
        "<s>A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, "
        "detailed, and polite answers to the human's questions. USER: ")
    assert tokenizer.decode(ids[first + 45:]) == f"\n{question} ASSISTANT:"
    assert turn_end(tokenizer).ids == (tokenizer.eos_token_id,)


def test_settings_of_images_are_refused_where_nothing_reads_them() -> None:
    gem = resolve_train_config("gem", backbone="x", encoder_weights="w")
    assert (gem.encoder, gem.projector, gem.freeze_encoder) == ("ecg-coca,clip", "shared-gelu", True)
    for given, message in (
            (dict(encoder="resnet18-tiny", image_mode="pad"), "--image-mode has no effect"),
            (dict(encoder="resnet18-tiny", modality_dropout=0.5), "--modality-dropout has no effect"),
            (dict(encoder="ecg-coca", signal_tokens=8), "--signal-tokens has no effect"),
            (dict(encoder="ecg-coca,clip", encoder_weights="w", freeze_encoder=True), "nothing would ever train its"),
            (dict(encoder="resnet18,emg-alignment", projector="shared-gelu"), "as wide as words already"),
            (dict(encoder="clip", image_mode="anyres", image_dpi=40), "larger than the page"),
            (dict(encoder="clip", image_distortion="nosie"), "did you mean 'noise'")):
        with pytest.raises(MedReportError, match=message):
            resolve_train_config("meit-paper", backbone="x", fusion="splice", **given)
