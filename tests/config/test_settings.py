"""Settings described once: their options, their checks, and a YAML file of them that can be given back."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest
import typer
from pipeline import contents, short_config
from typer.testing import CliRunner

from emgecg_cli.commands.app import run
from emgecg_cli.commands.pretrain import pretrain
from emgecg_cli.commands.settings import takes_settings
from emgecg_cli.commands.train import train
from emgecg_cli.core.config import PretrainConfig, TrainConfig
from emgecg_cli.core.config.files import CONFIG_FILE, read_config, write_config
from emgecg_cli.core.config.settings import described, refuse_wrong, setting
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.manifest import read_manifest
from emgecg_cli.core.recipes import RECIPES, resolve_pretrain_config, resolve_train_config, to_write
from emgecg_cli.core.training.run import train as train_run


def written(folder: Path, text: str) -> Path:
    path = folder / "base.yaml"
    path.write_text(text)
    return path


# ----------------------------------------------------------------------------------------------------------- one place
@pytest.mark.parametrize(("command", "kind"), [(train, TrainConfig), (pretrain, PretrainConfig)])
def test_every_setting_is_described_and_is_an_option(command: Any, kind: type) -> None:
    names = {one.name for one in fields(kind)}
    assert set(described(kind)) == names <= set(inspect.signature(command).parameters)
    assert all(one.help.endswith((".", ")")) for one in described(kind).values())
    named = {beside for one in described(kind).values() for beside in (idle.beside for idle in one.idle)}
    assert named <= names
    assert all(set(recipe) <= set(described(TrainConfig)) for recipe in RECIPES.values())


def test_a_new_field_is_one_place(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Toy:
        patience: int | None = setting(None, "Stopping", "Steps to wait.", least=1)
        stop_early: bool = setting(False, "Stopping", "Stop when nothing improves.")

    seen: dict[str, Any] = {}
    app = typer.Typer()

    @app.command()
    @takes_settings(Toy)
    def toy(out: str = "x", **given: Any) -> None:
        seen.update(given, out=out)

    assert not CliRunner().invoke(app, ["--patience", "0", "--no-stop-early", "--out", "y"]).exception
    assert seen == {"patience": 0, "stop_early": False, "out": "y"}
    assert "Steps to wait." in CliRunner().invoke(app, ["--help"]).output
    assert read_config(written(tmp_path, "patience: 3"), Toy, "toy") == {"patience": 3}
    with pytest.raises(MedReportError, match="--patience is 0") as error:
        refuse_wrong(Toy(patience=0), lambda name: f"--{name}", lambda name: "")
    assert error.value.hint == "give 1 or more"


# ----------------------------------------------------------------------------------------------------- given back
@pytest.mark.parametrize("given", [
    dict(backbone="x"), dict(backbone="x", fusion="cross-attention"), dict(backbone="tiny"),
    dict(backbone="tiny", steps=3, learning_rate=1e-5, seed=7),
    dict(backbone="x", recipe="meit-code", tuning="full"), dict(backbone="x", recipe="emgllm", values="text"),
    dict(backbone="x", recipe="emgllm", values="rules", emg_dropout=0.0, freeze_encoder=False),
    dict(backbone="tiny", recipe="emgllm", stage1_tasks="class"), dict(backbone="x", fusion="splice", compile=True),
    dict(backbone="x", system="no: # \"ä\"\nline", template_options={"a": False, "b": "1e-3", "c": None, "d": 1.5}),
    dict(backbone="x", fusion="prefix-kv", fusion_layers="0", lora_targets="null", new_tokens="<a>,<b>",
         encoder_learning_rate=1e-7),
    dict(backbone="x", select="last", val_limit=9, track="tensorboard", workers=3)])
def test_what_a_run_writes_resolves_to_its_settings_again(given: dict[str, Any], tmp_path: Path) -> None:
    config = resolve_train_config(**given)
    write_config(tmp_path / CONFIG_FILE, to_write(config), "train", "run")
    read = resolve_train_config(file=tmp_path / CONFIG_FILE)
    free = {name: getattr(config, name) for name, one in described(TrainConfig).items() if one.free}
    assert vars(read) | free == vars(config)
    says = set(read_config(tmp_path / CONFIG_FILE, TrainConfig, "train"))
    assert not says & set(free) and ("lora_rank" in says) == (config.tuning == "lora")
    masked = resolve_pretrain_config(objective="masked", encoder="vit1d", steps=3)
    write_config(tmp_path / CONFIG_FILE, to_write(masked), "pretrain", "encoder")
    assert resolve_pretrain_config(file=tmp_path / CONFIG_FILE) == masked


def test_a_run_writes_its_settings_and_trains_to_the_same_bytes_by_them(
        inputs: tuple[Path, Path], short_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert CONFIG_FILE in read_manifest(short_run, "run").details["files"]
    again = resolve_train_config(file=short_run / CONFIG_FILE)
    assert again == short_config() and again.encoder_loss == "auto"
    out = short_run.with_name("again")  # beside it, since a manifest says where its inputs lie from there
    train_run(inputs[1], out, again)
    assert contents(out) == contents(short_run)
    assert run(["train", str(inputs[1]), "--config", str(out / CONFIG_FILE), "--out", str(out)]) == 0
    assert "is finished already" in capsys.readouterr().err
    other = resolve_train_config(file=short_run / CONFIG_FILE, seed=1)
    with pytest.raises(MedReportError, match="seed: 0"):
        train_run(inputs[1], out, other)


# ---------------------------------------------------------------------------------------------------------- precedence
def test_options_come_before_the_file_the_file_before_the_recipe_the_recipe_before_defaults(tmp_path: Path) -> None:
    file = written(tmp_path, "backbone: x\nrecipe: meit-code\nlora_rank: 8\nlearning_rate: 1e-5\ncompile: true\n")
    read = resolve_train_config(file=file, lora_rank=4, compile=False)
    assert (read.lora_rank, read.learning_rate, read.lora_alpha, read.lora_dropout) == (4, 1e-5, 128, 0.1)
    assert read.recipe == "meit-code" and not read.compile
    assert resolve_train_config(file=file, backbone="y").backbone == "y"
    # an option may leave a setting of the file without effect, as it may one of the recipe
    assert resolve_train_config(file=file, tuning="full").lora_rank == 64
    assert resolve_train_config(file=written(tmp_path, "epochs: 2"), backbone="x", steps=3).epochs == 3
    tiny = resolve_train_config(file=written(tmp_path, "backbone: tiny\nrecipe: emgllm\nsteps: null"))
    assert (tiny.recipe, tiny.steps) == ("emgllm-tiny", None)


# ---------------------------------------------------------------------------------------------------------- refusals
@pytest.mark.parametrize(("text", "given", "message"), [
    ("batchsize: 3", {}, "FILE: no setting 'batchsize'; did you mean 'batch_size'?"),
    ("batch-size: 3", {}, "FILE: no setting 'batch-size'; did you mean 'batch_size'?"),
    ("zzz: 3", {}, "FILE: no setting 'zzz'"), ("3: 3", {}, "FILE: no setting '3'"),
    ("batch_size: many", {}, 'FILE: batch_size is "many"'), ("batch_size: 3.5", {}, "FILE: batch_size is 3.5"),
    ("batch_size: true", {}, "FILE: batch_size is true"), ("batch_size: null", {}, "FILE: batch_size is null"),
    ("compile: 1", {}, "FILE: compile is 1"), ("system: no", {}, "FILE: system is false"),
    ("fusion_layers: [0, 2]", {}, "FILE: fusion_layers is [0, 2]"), ("learning_rate: fast", {}, "learning_rate is"),
    ("template_options: {a: [1]}", {}, "FILE: template_options is"), ("template_options: 3", {}, "template_options is"),
    ("batch_size: 0", {}, "FILE: batch_size is 0"), ("learning_rate: .nan", {}, "FILE: learning_rate is nan"),
    ("lora_dropout: 1", {}, "FILE: lora_dropout is 1.0"), ("schedule: step", {}, "FILE: schedule is 'step'"),
    ("seed: 4294967296", {}, "FILE: seed is"), ("system: ' '", {}, "FILE: system is empty"),
    ("encoder: resnet5", {}, "FILE: no encoder 'resnet5'; did you mean 'resnet50'?"),
    ("tuning: lora2", {}, "FILE: no tuning 'lora2'; did you mean 'lora'?"),
    ("augment: roll,gian", {}, "FILE: no augmentation 'gian'; did you mean 'gain'?"),
    ("recipe: meit", {}, "FILE: no recipe 'meit'"),
    ("tuning: full\nlora_rank: 8", {}, "FILE: lora_rank has no effect beside tuning: full"),
    ("steps: 5", {"epochs": 2.0}, "--epochs has no effect beside steps: 5 in FILE"),
    ("lora_rank: 8", {"backbone": "tiny"}, "FILE: lora_rank has no effect beside --tuning full"),
    ("recipe: meit-code", {"recipe": "meit-paper"}, "--recipe meit-paper beside FILE, which says recipe: meit-code"),
    ("tuning: qlora\nparallel: fsdp", {}, "FILE: --tuning qlora with --parallel fsdp"),
    ("seed: 1\nseed: 2", {}, "FILE: seed is there twice"), ("seed: [1", {}, "FILE: not YAML (line 1"),
    ("- seed", {}, "FILE: not a list of settings"), ("", {}, "FILE: not a list of settings"),
    ("system: &a x\nbackbone: *a", {}, "FILE: not a list of settings"),
    ("seed: !!python/name:os.system", {}, "FILE: not YAML"),
    ("a: " + "[" * 3000, {}, "FILE: not YAML")])
def test_what_is_wrong_in_a_file_is_one_line_with_its_key(text: str, given: dict[str, Any], message: str,
                                                        tmp_path: Path) -> None:
    file = written(tmp_path, text)
    with pytest.raises(MedReportError) as error:
        resolve_train_config(file=file, **{"backbone": "x"} | given)
    assert message in error.value.message.replace(str(file), "FILE") and "\n" not in error.value.message
    assert error.value.hint


@pytest.mark.parametrize(("line", "message"), [
    ("train", "Missing option '--backbone'."), ("train --backbone= ", "--backbone is empty"),
    ("train --backbone x --batch-size 0", "--batch-size is 0"), ("train --backbone x --tuning lor", "no tuning 'lor'"),
    ("train --backbone x --recipe meit", "no recipe 'meit'"), ("train --backbone x --augment rol", "no augmentation"),
    ("train --backbone x --config none.yaml", "none.yaml: cannot be read"),
    ("train --backbone tiny --lora-rank 8", "--lora-rank has no effect beside --tuning full"),
    ("pretrain --mask-ratio 0.5", "--mask-ratio has no effect beside --objective supervised"),
    ("pretrain --encoder emg-alignment", "encoder emg-alignment reads tables, which pretrain does not")])
def test_bad_options_are_one_line(line: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(line.split(" ")) == 2
    error, hint = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ") and message in error and hint.startswith("hint: ")


@pytest.mark.parametrize(("given", "expected"), [
    (dict(encoder="emg-alignment", recipe="pretrained"), dict(word_steps=0, word_loss=0.0, token_norm="unit")),
    (dict(encoder=" emg-alignment"), dict(recipe="emgllm")),
    (dict(fusion="prefix-kv"), dict(word_steps=0, word_loss=0.0, token_norm="matched")),
    (dict(encoder="resnet18,emg-alignment", values="text", freeze_encoder=True, encoder_weights="w"),
     dict(freeze_encoder=True, word_steps=1000))])
def test_what_a_recipe_sets_and_cannot_be_taken_is_given_up(given: dict[str, Any], expected: dict[str, Any]) -> None:
    config = resolve_train_config(backbone="x", **given)
    assert {name: getattr(config, name) for name in expected} == expected


def test_a_refusal_says_that_the_recipe_set_it() -> None:
    with pytest.raises(MedReportError, match="which the recipe pretrained sets"):
        resolve_train_config(backbone="x", parallel="zero2")
