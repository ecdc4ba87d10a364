"""Chat backbones from folder to reports: reports end where the model's turns end, whatever its tokenizer's EOS."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from chat_backbone import CHATML, GEMMA, REPORT, WORDS, make_chat_model, make_tokenizer
from made_runs import make_folder
from manifests import make_old
from transformers import AutoTokenizer, GenerationConfig

from emgecg_cli.commands import app
from emgecg_cli.core.artifacts import PredictionRow, read_rows
from emgecg_cli.core.config import GenerateConfig
from emgecg_cli.core.config.settings import settings_of
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.export import export_run
from emgecg_cli.core.generation import generate_reports
from emgecg_cli.core.instructions.build import open_instructions
from emgecg_cli.core.manifest import read_manifest
from emgecg_cli.core.models.backbones import load_backbone
from emgecg_cli.core.models.run_files import load_tokenizer
from emgecg_cli.core.recipes import resolve_train_config
from emgecg_cli.core.training.run import train

LONG = 40  # tokens: the report, and what a model that does not end goes on with


def settings(backbone: Path, **changes: Any) -> Any:
    """A training that leaves the model's habits as they are."""
    return resolve_train_config(**dict(backbone=str(backbone), recipe="meit-paper", encoder="resnet18-tiny", steps=1,
                                       batch_size=4, gradient_accumulation=1, learning_rate=1e-6, lora_rank=2,
                                       select="last", max_length=400) | changes)


def prompts(instructions: Path) -> tuple[str, ...]:
    rows = open_instructions(instructions).rows.values()
    return tuple(dict.fromkeys(row.messages[0]["content"][1]["text"] for row in rows))


@pytest.fixture(scope="module")
def folders(inputs: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Backbones by the template they have learnt."""
    where = tmp_path_factory.mktemp("backbones")
    learnt = {"gemma": GEMMA, "words": WORDS}
    return {name: make_chat_model(where / name, template, prompts(inputs[1]), 120) for name, template in learnt.items()}


@pytest.fixture(scope="module")
def runs(folders: dict[str, Path], inputs: tuple[Path, Path],
         tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    where = tmp_path_factory.mktemp("runs")
    for name, folder in folders.items():
        train(inputs[1], where / name, settings(folder))
    return {name: where / name for name in folders}


def reports(run: Path, out: Path, **changes: Any) -> list[tuple[str, bool | None]]:
    generate_reports(run, out, GenerateConfig(**dict(max_new_tokens=LONG, limit=6) | changes))
    return [(row.prediction, row.truncated) for row in read_rows(out, PredictionRow)]


@pytest.mark.parametrize("name", ["gemma", "words"])
@pytest.mark.parametrize("how", [dict(batch_size=4), dict(batch_size=1), dict(num_beams=3), dict(temperature=0.05)],
                         ids=str)
def test_reports_end_with_the_models_turn(runs: dict[str, Path], tmp_path: Path, name: str,
                                          how: dict[str, Any]) -> None:
    assert reports(runs[name], tmp_path / "p.jsonl", **how) == [(REPORT, False)] * 6
    counts = read_manifest(tmp_path / "p.jsonl", "predictions").counts
    assert counts == {"records": 6, "empty": 0, "truncated": 0}


def test_reports_that_do_not_reach_their_end_are_cut(runs: dict[str, Path], tmp_path: Path) -> None:
    for name, run in runs.items():
        tokens = len(load_tokenizer(run)(REPORT, add_special_tokens=False)["input_ids"])
        rows = reports(run, tmp_path / f"{name}.jsonl", max_new_tokens=tokens)
        assert all(truncated for _, truncated in rows), name
        rows = reports(run, tmp_path / f"{name}-whole.jsonl", max_new_tokens=tokens + (1 if name == "gemma" else 4))
        assert rows == [(REPORT, False)] * 6


def test_rows_of_a_batch_may_end_by_different_tokens(runs: dict[str, Path], tmp_path: Path,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    from emgecg_cli.core.models.report_model import ReportModel

    tokenizer = load_tokenizer(runs["gemma"])
    said = tokenizer("normal ecg.", add_special_tokens=False)["input_ids"]
    turn, eos, pad = (tokenizer.convert_tokens_to_ids(t) for t in ("<end_of_turn>", "</s>", "<pad>"))
    rows = [[*said, turn, 7, 7], [*said, eos, pad, pad], [*said, 7, 7, 7], [*said, pad, pad, turn]]
    asked: list[Any] = []

    def generate(self: object, signal: object, ids: torch.Tensor, *rest: Any, **given: Any) -> torch.Tensor:
        asked.append(given["generation_config"].eos_token_id)
        return torch.tensor(rows[:len(ids)])

    monkeypatch.setattr(ReportModel, "generate", generate)
    monkeypatch.setattr("emgecg_cli.core.generation.reports.why_not_refilled", lambda backbone: "it is stood in for")
    got = reports(runs["gemma"], tmp_path / "p.jsonl", limit=4)
    more = tokenizer.decode([7, 7, 7])
    assert got == [("normal ecg.", False), ("normal ecg.", False), (f"normal ecg.{more}".strip(), True),
                   ("normal ecg.", False)]
    assert asked == [sorted({turn, eos})]


def test_a_run_says_its_end_and_one_of_before_ends_all_the_same(runs: dict[str, Path], folders: dict[str, Path],
                                                                inputs: tuple[Path, Path], tmp_path: Path) -> None:
    manifest = json.loads((runs["gemma"] / "manifest.json").read_text())
    tokenizer = load_tokenizer(runs["gemma"])
    end, eos = tokenizer.convert_tokens_to_ids("<end_of_turn>"), tokenizer.eos_token_id
    assert manifest["details"].pop("turn") == {"end": [end], "stop": sorted({end, eos}), "text": None}
    assert not {"system", "template_options", "val_limit"} & set(manifest["arguments"])
    old = tmp_path / "old"
    shutil.copytree(runs["gemma"], old)
    for role, named in manifest["inputs"].items():
        named["path"] = str((runs["gemma"] / named["path"]).resolve())
        assert role in ("store", "instructions", "backbone")
    (old / "manifest.json").write_text(json.dumps(manifest))
    make_old(old)
    assert reports(old, tmp_path / "p.jsonl") == [(REPORT, False)] * 6
    export_run(old, tmp_path / "export")
    assert train(inputs[1], old, settings(folders["gemma"])).loop is None  # finished, and the same settings


def test_the_ends_a_checkpoint_names_are_kept_and_exported(folders: dict[str, Path], inputs: tuple[Path, Path],
                                                           tmp_path: Path) -> None:
    folder = shutil.copytree(folders["gemma"], tmp_path / "gemma")
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    end, other, eos = (tokenizer.convert_tokens_to_ids(t) for t in ("<end_of_turn>", "<|end|>", "</s>"))
    word = tokenizer("normal", add_special_tokens=False)["input_ids"][-1]  # would cut every report
    GenerationConfig(eos_token_id=[other, end, 4_000, word]).save_pretrained(folder)
    train(inputs[1], tmp_path / "run", settings(folder))
    stop = sorted({end, other, eos})
    assert read_manifest(tmp_path / "run", "run").details["turn"]["stop"] == stop
    export_run(tmp_path / "run", tmp_path / "export")
    assert json.loads((tmp_path / "export/generation_config.json").read_text())["eos_token_id"] == stop
    for run in ("run", "export"):
        assert reports(tmp_path / run, tmp_path / f"{run}.jsonl") == [(REPORT, False)] * 6


def test_a_tokenizer_without_eos_gets_its_templates(folders: dict[str, Path], inputs: tuple[Path, Path],
                                                    tmp_path: Path) -> None:
    folder = shutil.copytree(folders["gemma"], tmp_path / "gemma")
    tokenizer = make_tokenizer(GEMMA)
    tokenizer.eos_token = tokenizer.pad_token = None
    tokenizer.save_pretrained(folder)
    GenerationConfig().save_pretrained(folder)
    train(inputs[1], tmp_path / "run", settings(folder))
    assert reports(tmp_path / "run", tmp_path / "p.jsonl") == [(REPORT, False)] * 6
    assert load_tokenizer(tmp_path / "run").eos_token == "<end_of_turn>"
    tokenizer.chat_template = None
    bare = make_folder(tmp_path / "bare")
    tokenizer.save_pretrained(bare)
    (bare / "chat_template.jinja").unlink(missing_ok=True)
    config = json.loads((bare / "config.json").read_text()) | {"eos_token_id": None}
    (bare / "config.json").write_text(json.dumps(config))
    GenerationConfig().save_pretrained(bare)
    with pytest.raises(MedReportError, match="has no EOS token"):
        load_backbone(str(bare), torch.float32)


def test_what_is_set_in_a_template_reaches_reports_and_export(inputs: tuple[Path, Path], tmp_path: Path,
                                                              capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_chat_model(tmp_path / "chatml", CHATML, steps=1)
    line = ["train", "--backbone", str(folder), str(inputs[1]), "--out", str(tmp_path / "run"), "--steps", "1",
            "--recipe", "meit-paper",
            "--encoder", "resnet18-tiny", "--batch-size", "4", "--lora-rank", "2", "--gradient-accumulation", "1",
            "--select", "last", "--max-length", "400", "--system", "Be brief."]
    assert app.run([*line, "--template-option", "thinking=false"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and "--template-option thinking" in said[0] and "enable_thinking" in said[1]
    assert app.run([*line, "--template-option", "enable_thinking=false"]) == 0, capsys.readouterr().err
    arguments = read_manifest(tmp_path / "run", "run").arguments
    assert (arguments["system"], arguments["template_options"]) == ("Be brief.", {"enable_thinking": False})
    export_run(tmp_path / "run", tmp_path / "export")
    for place in (tmp_path / "run/tokenizer", tmp_path / "export"):
        tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=False)
        text = tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False,
                                             add_generation_prompt=True)
        assert text == ("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nx<|im_end|>\n"
                        "<|im_start|>assistant\n<think>\n\n</think>\n\n")
    card = (tmp_path / "export/README.md").read_text()
    assert "| system | Be brief. |" in card and "enable_thinking" in card


def test_settings_that_were_not_there_before_stay_unsaid() -> None:
    plain = settings_of(resolve_train_config(backbone="tiny"))
    assert not {"system", "template_options", "val_limit", "checkpoint_minutes"} & set(plain)
    assert settings_of(resolve_train_config(backbone="tiny", system="none"))["system"] == "none"


@pytest.mark.parametrize(("template", "said"), [
    ("{{ raise_exception('Only one turn') }}", "Only one turn"), ("{% for %}", "line 1"),
    ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "does not end"),
    (GEMMA.replace("model\n{% endif %}", "model\n<think>{% endif %}"), "<think>")], ids=lambda text: text[:12])
def test_a_template_that_cannot_be_used_is_one_line(inputs: tuple[Path, Path], folders: dict[str, Path],
                                                    tmp_path: Path, template: str, said: str,
                                                    capsys: pytest.CaptureFixture[str],
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    from emgecg_cli.core.instructions import templates

    monkeypatch.setattr(templates, "PATIENCE", 2.0)
    folder = shutil.copytree(folders["gemma"], tmp_path / "bad")
    (folder / "chat_template.jinja").write_text(template)
    status = app.run(["train", "--backbone", str(folder), str(inputs[1]), "--out", str(tmp_path / "run"),
                      "--encoder", "resnet18-tiny"])
    lines = capsys.readouterr().err.splitlines()
    assert status == 2 and len(lines) == 2 and said in lines[0] and lines[1].startswith("hint: ")
    assert not (tmp_path / "run").exists()
