"""Training and generation on tables: what is shown, what trains, stage 1, kills, baselines, and what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from emg_store import make_tables, short, shown
from manifests import change_manifest
from pipeline import contents, finish, kill_when, medreport
from safetensors.torch import load_file

from emgecg_cli.core.config import GenerateConfig
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.export import export_run
from emgecg_cli.core.generation import Places, generate_reports
from emgecg_cli.core.inputs.batch import stacked
from emgecg_cli.core.inputs.drawn.values import draw_value
from emgecg_cli.core.inputs.records import Inputs
from emgecg_cli.core.inputs.values import Values
from emgecg_cli.core.instructions.render import PLACEHOLDER, render_prompt
from emgecg_cli.core.instructions.table_prompts import PROMPTS
from emgecg_cli.core.manifest import read_manifest
from emgecg_cli.core.models.report_model import ReportModel, pad_prompts
from emgecg_cli.core.models.run_files import load_run
from emgecg_cli.core.recipes import resolve_train_config
from emgecg_cli.core.references import CLASSES, abnormality, read_references, write_references
from emgecg_cli.core.training.run import train

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def run(tables: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "emg"
    train(tables[1], out, short())
    return out


def batch(model: ReportModel, tokenizer: Any, inputs: Inputs, which: list[int]) -> tuple[Any, Any, Any]:
    prompts = [render_prompt(inputs.messages(i), tokenizer, model.placeholders) for i in which]
    ids, mask = pad_prompts(prompts, tokenizer.pad_token_id, "left")
    return stacked([inputs.arrays(i) for i in which], [()] * len(which))[0], ids, mask


# ----------------------------------------------------------------------------------------------------------- the model
def test_a_batch_equals_its_rows_one_by_one(run: Path, tables: tuple[Path, Path]) -> None:
    model, tokenizer, _ = load_run(run, CPU)
    inputs = shown(tables)
    which = [0, 1, 4, 7]
    assert len({len(inputs.arrays(i)["values"]) for i in which}) > 1
    with torch.no_grad():
        together = model(*batch(model, tokenizer, inputs, which))[0][:, -1]
        for row, index in zip(together, which, strict=True):
            alone = model(*batch(model, tokenizer, inputs, [index]))[0][0, -1]
            torch.testing.assert_close(row, alone, atol=1e-4, rtol=1e-4)


def test_the_encoders_embeddings_stand_where_the_numbers_stood(run: Path, tables: tuple[Path, Path]) -> None:
    model, tokenizer, _ = load_run(run, CPU)
    seen: list[torch.Tensor] = []
    model.backbone.register_forward_pre_hook(  # type: ignore[operator]
        lambda module, args, kwargs: seen.append(kwargs["inputs_embeds"]), with_kwargs=True)
    signal, ids, mask = batch(model, tokenizer, shown(tables), [1, 4])
    with torch.no_grad():
        model(signal, ids, mask)
        for row in range(2):
            real = signal["values"][row][~signal["values"][row].isnan().flatten(1).all(1)]
            embedded = model.towers["values"].encoder(real).flatten(0, 1)
            torch.testing.assert_close(seen[0][row][ids[row] == PLACEHOLDER], embedded)


def test_a_frozen_embedding_gets_no_gradient_and_every_part_of_the_encoder_does(
        run: Path, tables: tuple[Path, Path], tmp_path: Path) -> None:
    from emgecg_cli.core.models.builders import build_report_model, input_embeddings
    from emgecg_cli.core.models.tuning import tune_backbone

    whole, tokenizer, _ = load_run(run, CPU)
    backbone = tune_backbone(whole.backbone, "lora", rank=2, alpha=4, dropout=0.0)
    model = build_report_model(backbone, encoder="emg-alignment", projector="mlp", fusion="splice", signal_tokens=1,
                               token_norm="unit", seed=1)
    model(*batch(model, tokenizer, shown(tables), [1, 4]))[0][:, -1].square().sum().backward()
    assert input_embeddings(backbone).grad is None and not input_embeddings(backbone).requires_grad
    for name, parameter in model.towers["values"].encoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    assert not any("embed" in name for name in model.own_weights())


# ---------------------------------------------------------------------------------------------------------------- runs
def test_what_differs_in_its_values_alone_is_told_apart(tables: tuple[Path, Path], tmp_path: Path) -> None:
    """16 prompts of the same words, whose answers depend on the number: they are learned, by the encoder alone."""
    shutil.copytree(tables[0].parents[1], tmp_path / "copy")
    store, instructions = tmp_path / "copy/stores/emg", tmp_path / "copy/instructions/emg"
    reference = read_references(store / "references.json").of("median|motor|wrist|apb|lat")
    assert reference is not None
    rows = [json.loads(line) for line in (instructions / "instructions.jsonl").read_text().splitlines()]
    rng = np.random.default_rng(0)
    for number, row in enumerate(rows):
        value = draw_value(reference, CLASSES[number % 7], read_references(store / "references.json").percentiles, rng)
        part = {"type": "value", "item": reference.item_key, "side": "left", "value": value}
        start = {"type": "text", "text": f"{PROMPTS[row['prompt_id']]}\nMedian: "}
        row["messages"] = [{"role": "user", "content": [start, part]},
                           {"role": "assistant", "content": abnormality(reference, value)}]
    _rewrite(instructions, rows)
    config = short(steps=120, stage1_steps=0, batch_size=16, learning_rate=5e-3, checkpoint_every=1000)
    train(instructions, tmp_path / "run", config)
    generate_reports(tmp_path / "run", tmp_path / "p.jsonl", GenerateConfig(split="train", max_new_tokens=12))
    written = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    answers = {row["record_id"]: row["messages"][1]["content"] for row in rows}
    assert len(written) == 16 and sum(row["prediction"] == answers[row["record_id"]] for row in written) >= 13


def test_sixteen_cases_are_learned_by_heart(tmp_path: Path) -> None:
    _, instructions = make_tables(tmp_path, 16, "en", shortest_of=200)
    config = short(steps=120, stage1_steps=0, batch_size=8, checkpoint_every=1000)
    train(instructions, tmp_path / "run", config)
    rows = generate(tmp_path / "run", tmp_path / "p.jsonl", split="train", max_new_tokens=200, batch_size=16)
    assert len(rows) == 16 and sum(row["prediction"] == row["reference"] for row in rows) >= 14


def _rewrite(instructions: Path, rows: list[dict[str, Any]]) -> None:
    """Put other conversations, of one value each, into finished instructions."""
    from emgecg_cli.core.manifest import file_hashes

    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (instructions / "instructions.jsonl").write_text(text)

    def change(manifest: dict[str, Any]) -> None:
        manifest["counts"]["values"] = len(rows)
        manifest["details"]["files"] |= file_hashes(instructions, ["instructions.jsonl"])

    change_manifest(instructions, change)


@pytest.mark.long
def test_a_killed_run_ends_with_the_same_bytes(tables: tuple[Path, Path], tmp_path: Path) -> None:
    """Killed in stage 1, between the stages, in stage 2 and at the end."""
    arguments = ["train", "--backbone", "tiny", "--recipe", "emgllm", "--steps", "3", "--stage1-steps", "3",
                 "--batch-size", "4", "--checkpoint-every", "1", "--out", "runs/a"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for place in (whole, killed):
        shutil.copytree(tables[0].parents[1], place)
    finish(medreport(arguments, whole))
    run = killed / "runs/a"
    for moment in (lambda: (run / "stage1/checkpoints/step-00000001").exists(),
                   lambda: (run / "checkpoints/stage1.safetensors").exists(),
                   lambda: (run / "checkpoints/step-00000001").exists(),
                   lambda: (run / "signal.safetensors").exists()):
        kill_when(medreport(arguments, killed), moment)
    assert "going on from the newest checkpoint" in finish(medreport(arguments, killed))
    assert contents(run) == contents(whole / "runs/a")
    assert not (run / "checkpoints").exists() and not (run / "stage1/checkpoints").exists()
    assert len((run / "stage1/metrics.jsonl").read_text().splitlines()) == 3


def test_a_frozen_encoder_outlives_a_kill(tables: tuple[Path, Path], tmp_path: Path) -> None:
    """It is in no checkpoint of stage 2: it comes from the end of stage 1."""
    class Killed(Exception):
        pass

    def stop(done: int, total: int, **more: Any) -> None:
        if total == 12 and done > 8:
            raise Killed

    config = short(freeze_encoder=True, steps=12, checkpoint_every=4)
    train(tables[1], tmp_path / "a/run", config)
    with pytest.raises(Killed):
        train(tables[1], tmp_path / "b/run", config, progress=stop)
    assert (tmp_path / "b/run/checkpoints/step-00000008").exists()
    train(tables[1], tmp_path / "b/run", config)
    assert contents(tmp_path / "a/run") == contents(tmp_path / "b/run")


def test_a_run_of_tables_says_what_it_is(run: Path, tables: tuple[Path, Path]) -> None:
    manifest = read_manifest(run, "run")
    assert manifest.details["recipe"] == "emgllm-tiny" and len(manifest.details["tables"]["references"]) == 64
    assert [(row["part"], row["tuning"]) for row in manifest.details["trains"]] == \
        [("encoder", "full"), ("backbone", "full"), ("total", "")]
    assert all(name.startswith("towers.values.encoder.") for name in load_file(run / "signal.safetensors"))


def test_a_frozen_encoder_is_that_of_stage_1(tables: tuple[Path, Path], tmp_path: Path) -> None:
    frozen, stage1 = tmp_path / "frozen", tmp_path / "stage1"
    train(tables[1], frozen, short(freeze_encoder=True))
    train(tables[1], stage1, short(freeze_encoder=True, steps=1))
    one, other = (load_file(run / "signal.safetensors") for run in (frozen, stage1))
    assert set(one) == set(other) and all(torch.equal(one[name], other[name]) for name in one)
    assert read_manifest(frozen, "run").details["trains"][0]["tuning"] == "stage 1"
    load_run(frozen, CPU)


def test_a_pretrained_backbone_is_frozen_in_stage_1(run: Path, tables: tuple[Path, Path], tmp_path: Path,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    """LoRA on a local backbone, batches of one: only the encoder moves in stage 1, and both in stage 2."""
    from emgecg_cli.core.training import run as module

    shutil.copytree(run / "backbone", tmp_path / "llama")
    shutil.copytree(run / "tokenizer", tmp_path / "llama", dirs_exist_ok=True)
    moved: list[dict[str, bool]] = []
    original = module.run_stage1

    def spy(parallel: Any, model: ReportModel, *rest: Any) -> None:
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        original(parallel, model, *rest)
        moved.append({name: not torch.equal(p, before[name]) for name, p in model.named_parameters()})

    monkeypatch.setattr(module, "run_stage1", spy)
    config = resolve_train_config(backbone=str(tmp_path / "llama"), recipe="emgllm", steps=2, stage1_steps=2,
                                  gradient_accumulation=2, lora_rank=2, select="last", learning_rate=1e-3)
    result = train(tables[1], tmp_path / "lora", config)
    assert config.batch_size == 1 and result.counts["steps"] == 2
    assert all(changed == name.startswith("towers.values.encoder.") for name, changed in moved[0].items())
    adapter = load_file(tmp_path / "lora/adapter/adapter_model.safetensors")
    assert any(tensor.abs().max() > 0 for name, tensor in adapter.items() if "lora_B" in name)
    rows = generate(tmp_path / "lora", tmp_path / "p.jsonl", max_new_tokens=3)
    assert len(rows) == 4


@pytest.mark.parametrize("how", [{"values": "text"}, {"values": "rules"}, {"random_references": True},
                                 {"stage1_steps": 0}, {"emg_reshape": "clean"}])
def test_each_baseline_is_one_flag(how: dict[str, Any], tables: tuple[Path, Path], tmp_path: Path) -> None:
    train(tables[1], tmp_path / "run", short(**how))
    model, _, manifest = load_run(tmp_path / "run", CPU)
    assert ("values" in how) == ("values" not in model.towers) and (tmp_path / "run/stage1").exists() == (
        how != {"stage1_steps": 0})
    assert manifest.details["tables"]["random_seed"] == (0 if "random_references" in how else None)
    assert len(generate(tmp_path / "run", tmp_path / "p.jsonl", max_new_tokens=3)) == 4


def test_values_that_know_their_item_are_trained_generated_and_exported(
        run: Path, tables: tuple[Path, Path], tmp_path: Path) -> None:
    train(tables[1], tmp_path / "run", short(value_identity="item"))
    assert read_manifest(tmp_path / "run", "run").details["model"]["value_identity"] == "item"
    said = read_manifest(run, "run")
    assert "value_identity" not in said.arguments and "value_identity" not in said.details["model"]
    rows = {how: generate(tmp_path / "run", tmp_path / f"{how}.jsonl", signal=how, max_new_tokens=20)
            for how in ("real", "shuffled", "zeros", "none")}
    export_run(tmp_path / "run", tmp_path / "export")
    exported = generate(tmp_path / "export", tmp_path / "exported.jsonl", max_new_tokens=20)
    assert [row["prediction"] for row in exported] == [row["prediction"] for row in rows["real"]]

    model, tokenizer, _ = load_run(tmp_path / "run", CPU)
    inputs = shown(tables).naming_items(tokenizer)
    which = [0, 1, 4]
    with torch.no_grad():
        together = model(*batch(model, tokenizer, inputs, which))[0][:, -1]
        for row, index in zip(together, which, strict=True):
            signal, ids, mask = batch(model, tokenizer, inputs, [index])
            torch.testing.assert_close(row, model(signal, ids, mask)[0][0, -1], atol=1e-4, rtol=1e-4)
            elsewhere = signal | {"items": signal["items"].flip(1)}  # each number with the name of another item
            assert (row - model(elsewhere, ids, mask)[0][0, -1]).abs().max() > 1e-3


def test_dropout_reaches_the_encoder_and_the_run(tables: tuple[Path, Path], tmp_path: Path) -> None:
    assert short().emg_dropout == 0 and resolve_train_config("emgllm", backbone="x").emg_dropout == 0.1
    train(tables[1], tmp_path / "run", short(emg_dropout=0.3))
    model, _, _ = load_run(tmp_path / "run", CPU)
    assert model.towers["values"].encoder.dropout == 0.3
    assert model.backbone.config.num_attention_heads == 8  # more than for reports of recordings


def generate(run: Path, out: Path, references: Path | None = None, **changes: Any) -> list[dict[str, Any]]:
    config = GenerateConfig(**{"max_new_tokens": 6, "batch_size": 3} | changes)
    generate_reports(run, out, config, places=Places(references=references))
    return [json.loads(line) for line in out.read_text().splitlines()]


# ---------------------------------------------------------------------------------------------------------- generation
def test_generation_shows_real_shuffled_zero_and_no_values(run: Path, tables: tuple[Path, Path], tmp_path: Path,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[torch.Tensor | None, torch.Tensor]] = []
    original = ReportModel.read_prompts

    def spy(self: ReportModel, inputs: Any, input_ids: torch.Tensor, *rest: Any, **more: Any) -> Any:
        seen.append((inputs and inputs["values"], input_ids))
        return original(self, inputs, input_ids, *rest, **more)

    monkeypatch.setattr(ReportModel, "read_prompts", spy)
    rows = {how: generate(run, tmp_path / f"{how}.jsonl", signal=how, batch_size=8)
            for how in ("real", "shuffled", "zeros", "none")}
    real, shuffled, zeros, none = seen
    assert torch.equal(real[1], shuffled[1]) and torch.equal(real[1], zeros[1])
    assert not torch.equal(real[0].nan_to_num(), shuffled[0].nan_to_num())
    assert torch.equal(real[0].isnan(), zeros[0].isnan()) and not zeros[0].nan_to_num().any()
    assert none[0] is None and not (none[1] == PLACEHOLDER).any()
    subjects = {row["record_id"]: row["subject_id"] for row in rows["real"]}
    assert all(row["signal_from"] == row["record_id"] for row in rows["real"])
    assert all(subjects[row["signal_from"]] != row["subject_id"] for row in rows["shuffled"])


def test_reports_do_not_depend_on_their_batch(run: Path, tables: tuple[Path, Path], tmp_path: Path) -> None:
    alone, together = ({row["record_id"]: row["prediction"] for row in generate(
        run, tmp_path / f"{size}.jsonl", batch_size=size)} for size in (1, 8))
    assert alone == together and len(alone) == 4


def test_another_hospitals_references_are_used_without_training_again(run: Path, tables: tuple[Path, Path],
                                                                      tmp_path: Path) -> None:
    own = read_references(tables[0] / "references.json")
    larger = {key: replace(entry, lower=tuple(1.5 * x for x in entry.lower), upper=tuple(1.5 * x for x in entry.upper),
                           median=1.5 * entry.median) for key, entry in own.entries.items()}
    write_references(tmp_path / "theirs.json", replace(own, entries=larger))
    generate(run, tmp_path / "p.jsonl", tmp_path / "theirs.json")
    named = read_manifest(tmp_path / "p.jsonl", "predictions").inputs["references"]
    assert named["path"] == "theirs.json"
    item = next(iter(larger))
    assert Values(replace(own, entries=larger)).limits({"item": item}, "").upper == larger[item].upper
    config = short(references=str(tmp_path / "theirs.json"))
    train(tables[1], tmp_path / "run", config)
    before = read_manifest(run, "run").details["tables"]["references"]
    assert read_manifest(tmp_path / "run", "run").details["tables"]["references"] != before
    generate(tmp_path / "run", tmp_path / "q.jsonl")  # those it was trained with
    assert read_manifest(tmp_path / "q.jsonl", "predictions").inputs["references"]["hash"] == named["hash"]
    write_references(tmp_path / "theirs.json", own)
    with pytest.raises(MedReportError, match=r"not the references that .* was trained with"):
        generate(tmp_path / "run", tmp_path / "r.jsonl")


# ---------------------------------------------------------------------------------------------------- what is refused
@pytest.mark.parametrize(("given", "message"), [
    ({"fusion": "prefix-kv"}, "--fusion prefix-kv with encoder emg-alignment"),
    ({"parallel": "fsdp"}, "--parallel fsdp with encoder emg-alignment"),
    ({"values": "numbers"}, "--values is 'numbers'"), ({"emg_reshape": "odd"}, "--emg-reshape is 'odd'"),
    ({"stage1_steps": -1}, "--stage1-steps is -1"), ({"signal_tokens": 4}, "--signal-tokens has no effect"),
    ({"encoder_loss": "codes"}, "--encoder-loss has no effect"), ({"augment": "roll"}, "--augment has no effect"),
    ({"stage1_tasks": ""}, "--stage1-tasks is ''"),
    ({"stage1_tasks": "class,class"}, "--stage1-tasks is 'class,class'"),
    ({"stage1_tasks": "Table"}, "--stage1-tasks is 'Table'"), ({"emg_dropout": 1.0}, "--emg-dropout is 1.0"),
    ({"stage1_tasks": "class", "stage1_steps": 0}, "--stage1-tasks has no effect beside --stage1-steps 0"),
    ({"values": "text", "emg_dropout": 0.2}, "--emg-dropout has no effect beside --values text"),
    ({"values": "rules", "value_identity": "item"}, "--value-identity has no effect beside --values rules"),
    ({"value_identity": "place"}, "--value-identity is 'place'"),
    ({"values": "text", "freeze_encoder": True}, "--freeze-encoder has no effect beside --values text"),
    ({"freeze_encoder": True, "stage1_steps": 0}, "--freeze-encoder with --stage1-steps 0"),
    ({"values": "text", "random_references": True}, "--random-references has no effect"),
    ({"encoder": "resnet18", "recipe": "tiny-from-scratch", "values": "text"}, "--values has no effect beside"),
    ({"encoder": "resnet18", "recipe": "tiny-from-scratch", "references": "x"}, "--references has no effect beside")])
def test_settings_that_do_not_go_together_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(MedReportError, match=message):
        resolve_train_config(**{"backbone": "tiny", "recipe": "emgllm"} | given)


def test_tables_and_signals_are_not_mistaken_for_each_other(
        run: Path, short_run: Path, tables: tuple[Path, Path], inputs: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(MedReportError, match="holds tables, and encoder resnet18-tiny reads signals") as error:
        train(tables[1], tmp_path / "a", resolve_train_config(backbone="tiny"))
    assert "--recipe emgllm" in error.value.hint
    with pytest.raises(MedReportError, match="holds signals, and encoder emg-alignment reads tables"):
        train(inputs[1], tmp_path / "b", short())
    for one, other in ((run, inputs), (short_run, tables)):
        with pytest.raises(MedReportError, match=r"holds \w+, and encoder"):
            generate_reports(one, tmp_path / "p.jsonl", GenerateConfig(),
                             places=Places(store=other[0], instructions=other[1]))
    with pytest.raises(MedReportError, match="holds signals"):
        generate(short_run, tmp_path / "p.jsonl", tables[0] / "references.json")
    assert not list(tmp_path.iterdir())


def test_references_that_lack_an_item_or_are_not_there_are_refused(run: Path, tables: tuple[Path, Path],
                                                                  tmp_path: Path) -> None:
    own = read_references(tables[0] / "references.json")
    fewer = dict(list(own.entries.items())[:3])
    write_references(tmp_path / "few.json", replace(own, entries=fewer))
    for file, message in ((tmp_path / "few.json", r"few.json: no reference for .* more items, which record emg-"),
                          (tmp_path / "gone.json", r"gone.json: not a file of references \(No such file")):
        with pytest.raises(MedReportError, match=message):
            generate(run, tmp_path / "p.jsonl", file)
        with pytest.raises(MedReportError, match=message):
            train(tables[1], tmp_path / "run", short(references=str(file)))
    with pytest.raises(MedReportError, match="reads values as text"):
        train(tables[1], tmp_path / "text", short(values="text"))
        generate(tmp_path / "text", tmp_path / "p.jsonl", signal="zeros")
