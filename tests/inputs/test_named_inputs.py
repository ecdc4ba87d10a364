"""Several inputs in one record: a new kind of input, recordings and values together, and records that lack one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from emg_store import pool
from pipeline import make_store, short_config
from safetensors.torch import load_file
from torch import Tensor, nn

from emgecg_cli.core import names
from emgecg_cli.core.config import GenerateConfig, PrepareConfig
from emgecg_cli.core.datasets import open_dataset
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.generation import generate_reports
from emgecg_cli.core.generation.job import joined_signal, parse_signal
from emgecg_cli.core.inputs.batch import stacked
from emgecg_cli.core.inputs.records import Inputs, open_inputs
from emgecg_cli.core.inputs.shuffled import shuffle_between_patients
from emgecg_cli.core.instructions.build import build_instructions, open_instructions
from emgecg_cli.core.instructions.render import render_prompt, text_of
from emgecg_cli.core.models.builders import build_report_model
from emgecg_cli.core.models.preprocessing import Preprocessing
from emgecg_cli.core.models.projector import mlp_projector
from emgecg_cli.core.models.report_model import ReportModel, pad_prompts
from emgecg_cli.core.models.run_files import load_run
from emgecg_cli.core.models.towers import Tower
from emgecg_cli.core.store import open_store, prepare_store
from emgecg_cli.core.store.payloads import healthy
from emgecg_cli.core.training.run import train

CPU = torch.device("cpu")
BOTH = "resnet18-tiny,emg-alignment"
FEW = dict(max_new_tokens=3, batch_size=8)


@pytest.fixture
def image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(names.ENCODERS, "toy-image", names.Encoder("toy_image:ToyImage", reads="image"))


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Tensor]]]:
    """What each batch of a generation shows, by name; empty where it shows nothing."""
    shown: list[dict[str, Tensor]] = []
    original = ReportModel.read_prompts

    def spy(self: ReportModel, inputs: Any, ids: Tensor, mask: Tensor, present: Any = None) -> Any:
        masks = {f"has {name}": one for name, one in (present or {}).items()}
        shown.append({**(inputs or {}), **masks, "ids": ids})
        return original(self, inputs, ids, mask, present)

    monkeypatch.setattr(ReportModel, "read_prompts", spy)
    yield shown


def write(run: Path, out: Path, **changes: Any) -> list[dict[str, Any]]:
    generate_reports(run, out, GenerateConfig(**FEW | changes))
    return [json.loads(line) for line in out.read_text().splitlines()]


# --------------------------------------------------------------------------------------------- a new kind of input
@pytest.mark.parametrize("fusion", ["splice", "prefix-kv"])
def test_a_new_kind_of_input_takes_a_file_and_a_line(inputs: tuple[Path, Path], tmp_path: Path, image: None,
                                                     seen: list[dict[str, Tensor]], fusion: str) -> None:
    config = short_config(encoder="resnet18-tiny,toy-image", fusion=fusion, steps=2, signal_tokens=2, image_dpi=50)
    result = train(inputs[1], tmp_path / "run", config)
    assert [row.part for row in result.trains][:4] == ["ecg encoder", "ecg projector", "image encoder",
                                                       "image projector"]
    model, _, _ = load_run(tmp_path / "run", CPU)
    new = build_report_model(model.backbone, encoder="toy-image", projector="linear", fusion="splice", signal_tokens=2,
                             token_norm="rms", seed=config.seed)
    key = "towers.image.encoder.patches.weight"
    moved = (load_file(tmp_path / "run/signal.safetensors")[key] - new.state_dict()[key]).abs().max()
    assert 1e-5 < moved < 0.1  # it began where its seed put it, and learned

    store = open_store(inputs[0])
    rows = {how: write(tmp_path / "run", tmp_path / f"{len(how)}.jsonl", limit=4, signal=how)
            for how in ("real", "image=shuffled")}
    real, shuffled = seen
    assert real["image"].shape[1:] == (3, 336, 336)
    assert torch.equal(real["ecg"], shuffled["ecg"]) and not torch.equal(real["image"], shuffled["image"])
    subjects = dict(zip(store.column("record_id"), store.column("subject_id"), strict=True))
    for one, other in zip(rows["real"], rows["image=shuffled"], strict=True):
        assert other["signal"] == "ecg=real,image=shuffled" and one["signal_from"] == one["record_id"]
        assert subjects[other["signal_from"]] != one["subject_id"]
    order = [row["record_id"] for row in rows["real"]]
    for page, row in zip(shuffled["image"], rows["image=shuffled"], strict=True):
        assert torch.equal(page, real["image"][order.index(row["signal_from"])])
    placeholders = {-1: 2, -2: 2} if fusion == "splice" else {}
    assert {code: int((real["ids"] == code).sum(1).max()) for code in placeholders} == placeholders


# -------------------------------------------------------------------------------------- recordings and values together
@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A store of recordings, and instructions that put behind the prompts of two of three records their tables."""
    folder = tmp_path_factory.mktemp("both")
    store = make_store(folder / "stores/ecg", 24, split="50/25/25")
    people = open_store(store)
    source = open_dataset("synthetic-emg", 3, records=24)
    as_drawn = {people.row(number).record_id: ref for number, ref in enumerate(source.listing()) if number % 3}
    rows = {people.row(number).record_id: people.row(number) for number in range(24)}
    refs = [replace(ref, record_id=name, subject_id=rows[name].subject_id, split=rows[name].split)
            for name, ref in as_drawn.items()]

    def read(asked: list[Any]) -> Iterator[Any]:
        for ref, one in zip(asked, source.read([as_drawn[ref.record_id] for ref in asked]), strict=True):
            yield replace(one, ref=ref)

    with mock.patch.object(healthy, "fit_references", lambda *_, **__: pool()):
        prepare_store(replace(source, listing=lambda: iter(refs), read=read), folder / "stores/emg",
                      PrepareConfig(clean="none"))
    build_instructions(store, folder / "instructions/ecg", pool_size=4, tables=folder / "stores/emg")
    return store, folder / "instructions/ecg"


def opened(both: tuple[Path, Path], encoder: str = BOTH) -> Inputs:
    return open_inputs(open_store(both[0]), open_instructions(both[1]), encoder=encoder, hints={})


def test_instructions_hold_both_and_say_so(both: tuple[Path, Path], tmp_path: Path) -> None:
    store, instructions = open_store(both[0]), open_instructions(both[1])
    counted = 0
    for number in range(len(store)):
        row = instructions.rows[store.row(number).record_id]
        first, second, *parts = row.messages[0]["content"]
        values = [part for part in parts if part["type"] == "value"]
        counted += len(values)
        assert first == {"type": "ecg"} and second["text"] == instructions.prompts[row.prompt_id]
        assert bool(parts) == bool(number % 3) and row.messages[1]["content"] == store.row(number).report
        assert not parts or "NCV" in text_of(parts)
    assert counted == instructions.manifest.counts["values"] > 50
    assert instructions.references().entries == pool()[0].entries
    again = build_instructions(both[0], both[1], pool_size=4, tables=both[0].parent / "emg")
    assert again.already_finished
    with pytest.raises(MedReportError, match="finished instructions, made with language"):
        build_instructions(both[0], both[1], pool_size=4)
    with pytest.raises(MedReportError, match="where --tables takes one of tables"):
        build_instructions(both[0], tmp_path / "x", pool_size=4, tables=both[0])
    with pytest.raises(MedReportError, match="a store of tables takes no --tables"):
        build_instructions(both[0].parent / "emg", tmp_path / "x", tables=both[0].parent / "emg")


@pytest.mark.parametrize("fusion", ["splice", "prefix-kv", "cross-attention"])
def test_recordings_and_values_are_trained_generated_and_shuffled_each_alone(
        both: tuple[Path, Path], tmp_path: Path, seen: list[dict[str, Tensor]], fusion: str) -> None:
    stage1 = dict(stage1_steps=1) if fusion == "splice" else {}
    train(both[1], tmp_path / "run", short_config(encoder=BOTH, fusion=fusion, steps=2, batch_size=4, max_length=2048,
                                                  augment="none", **stage1))
    model, _, manifest = load_run(tmp_path / "run", CPU)
    assert list(model.towers) == ["ecg", "values"] and manifest.details["tables"]["references"]
    assert (model.towers["values"].projector is None) == (fusion != "prefix-kv")
    kinds = ("real", "ecg=shuffled", "values=shuffled", "shuffled", "ecg=none,values=zeros")
    rows = {how: write(tmp_path / "run", tmp_path / f"{number}.jsonl", signal=how)
            for number, how in enumerate(kinds)}
    real, ecg, values, shuffled, other = seen
    assert torch.equal(real["values"].nan_to_num(), ecg["values"].nan_to_num())
    assert torch.equal(real["ecg"], values["ecg"])
    assert not torch.equal(real["values"].nan_to_num(), values["values"].nan_to_num())
    assert torch.equal(ecg["ecg"], shuffled["ecg"]) and not torch.equal(real["ecg"], ecg["ecg"])
    assert torch.equal(values["values"].nan_to_num(), shuffled["values"].nan_to_num())
    assert not other["has ecg"].any() and not other["values"].nan_to_num().any()
    lacking = [row["record_id"] for row, has in zip(rows["real"], real["has values"].tolist(), strict=True) if not has]
    numbers = {name: number for number, name in enumerate(open_store(both[0]).column("record_id"))}
    assert lacking and all(numbers[name] % 3 == 0 for name in lacking)
    own = {row["record_id"] for row in rows["values=shuffled"] if row["signal_from"] == row["record_id"]}
    assert own == set(lacking)  # where there is nothing to shuffle


@pytest.mark.parametrize("fusion", ["splice", "prefix-kv", "cross-attention"])
def test_a_batch_of_records_that_lack_inputs_equals_its_rows_one_by_one(both: tuple[Path, Path], tmp_path: Path,
                                                                        fusion: str) -> None:
    from made_runs import make_folder

    from emgecg_cli.core.models.backbones import load_backbone

    backbone, tokenizer = load_backbone(str(make_folder(tmp_path / "llama")), torch.float32)
    model = build_report_model(backbone, encoder=BOTH, projector="mlp", fusion=fusion, signal_tokens=2,
                               token_norm="rms", seed=0, value_identity="item").eval()
    with torch.no_grad():
        for name, parameter in model.fusion.named_parameters() if isinstance(model.fusion, nn.Module) else ():
            parameter.add_(0.5 if "gate" in name else 0)
    shown = opened(both).naming_items(tokenizer)
    cases: list[tuple[int, dict[str, int | None]]] = [(0, {}), (1, {}), (2, {"ecg": None}), (4, {"values": None}),
                                                     (3, {"ecg": None})]

    def logits(chosen: list[tuple[int, dict[str, int | None]]], renamed: bool = False) -> Tensor:
        prompts = [render_prompt(shown.messages(i, how), tokenizer, shown.placeholders(i, model.placeholders, how))
                   for i, how in chosen]
        arrays, present = stacked([shown.arrays(*one) for one in chosen], [shown.lacking(*one) for one in chosen])
        arrays["items"] = arrays["items"].flip(1) if renamed else arrays["items"]
        ids, mask = pad_prompts(prompts, tokenizer.pad_token_id, "left")
        made = {name: prepare(arrays[name]) for name, prepare in model.preprocessing.items()}
        with torch.no_grad():
            return model(made, ids, mask, present=present)[0][:, -1]

    together = logits(cases)
    for row, one in zip(together, cases, strict=True):
        torch.testing.assert_close(row, logits([one])[0], atol=1e-4, rtol=1e-4)
    assert (logits([(1, {})]) - logits([(1, {"ecg": 5})])).abs().max() > 1e-3
    assert (logits([(1, {})]) - logits([(1, {"ecg": None})])).abs().max() > 1e-3
    assert (logits([(1, {})]) - logits([(1, {})], renamed=True)).abs().max() > 1e-4  # the same numbers by other names


def test_records_without_an_input_leave_no_trace_in_its_statistics() -> None:
    torch.manual_seed(0)
    tower = Tower(names.resolve("encoder", "resnet18-tiny")(), mlp_projector(256, 2, 8, "unit")).train()
    signal, present = torch.randn(4, 12, 200), torch.tensor([True, False, True, False])
    other = torch.where(present[:, None, None], signal, 100.0)
    state = {name: tensor.clone() for name, tensor in tower.state_dict().items()}
    first = tower(signal, present)
    after = {name: tensor.clone() for name, tensor in tower.state_dict().items()}
    tower.load_state_dict(state)
    torch.testing.assert_close(tower(other, present).tokens, first.tokens)
    tower.load_state_dict(state)
    torch.testing.assert_close(tower(signal[present]).tokens, first.tokens[present])
    assert all(torch.equal(tensor, after[name]) for name, tensor in tower.state_dict().items())
    assert first.valid is not None and first.valid.tolist() == [[one] * 2 for one in present.tolist()]
    for few in ([True, False, False, False], [False] * 4):  # no statistics of their own, and a gradient all the same
        tower.zero_grad()
        tower(signal, torch.tensor(few)).tokens.sum().backward()
        assert all(parameter.grad is not None for parameter in tower.parameters())
        assert tower.projector.layers[1].training


def test_an_encoder_takes_recordings_at_its_own_rate_and_scale(both: tuple[Path, Path],
                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(names.ENCODERS, "slow", names.Encoder("toy", fs=50, scale=1000.0))
    shown, store = opened(both, "slow"), open_store(both[0])
    array = shown.arrays(1)["ecg"]
    assert array.shape == (12, 500) and array.dtype == np.int16
    millivolts = Preprocessing("ecg", 50, 1000.0)(torch.from_numpy(array))
    torch.testing.assert_close(millivolts[:, 5:-5], torch.from_numpy(store.signal(1)[:, 10:-10:2] / 1000).float(),
                               atol=0.1, rtol=0)
    assert shown.arrays(1, {"ecg": None})["ecg"].shape == (12, 500)


def test_what_is_asked_of_each_input_is_read_and_said_in_the_shortest_words() -> None:
    two = ("ecg", "values")
    for asked, short in (("shuffled", "shuffled"), ("ecg=none,values=none", "none"), ("values=real", "real"),
                         ("values=zeros", "ecg=real,values=zeros")):
        assert joined_signal(parse_signal(asked, two)) == short
    for wrong, message in (("ecg=loud", "no signal 'ecg=loud'"), ("loud", "no signal 'loud'"),
                           ("ecg=real,ecg=none", "no signal 'ecg=none'"), ("image=none", "reads no input 'image'")):
        with pytest.raises(MedReportError, match=message):
            parse_signal(wrong, two)
    with pytest.raises(MedReportError, match="both read the input 'ecg'"):
        names.encoders_of("resnet18,vit1d")


def test_nobody_can_be_shuffled_with_nobody() -> None:
    assert shuffle_between_patients([], ["a", "b"], 0) == {}
