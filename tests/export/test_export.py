"""Exports: the merged model says what the run says, transformers loads it, the card holds the manifest's numbers."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest
import torch
from made_runs import Made, logits, make_folder, make_run
from pipeline import contents
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from emgecg_cli.commands.app import run as medreport
from emgecg_cli.core import export as module
from emgecg_cli.core.artifacts import PredictionRow, read_rows
from emgecg_cli.core.config import GenerateConfig
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.export import export_run
from emgecg_cli.core.generation.run import generate_reports
from emgecg_cli.core.manifest import read_manifest
from emgecg_cli.core.models.run_files import load_run

FOUR_BIT = pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not here")
CPU = torch.device("cpu")
IDS = torch.tensor([[5, 6, 7, 8]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("backbone") / "llama")


@pytest.fixture(scope="module")
def made(folder: Path, inputs: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A LoRA run with tokens of its own, on the small store; not to be written to."""
    where = tmp_path_factory.mktemp("runs") / "lora"
    return make_run(where, folder, "lora", tokens=True, inputs={"store": inputs[0], "instructions": inputs[1]},
                    validation={"report": 3.875}, kept_step=2)


@pytest.mark.parametrize("tuning", ["lora", "full", "frozen"])
def test_the_export_says_what_the_run_says(tuning: str, folder: Path, tmp_path: Path) -> None:
    made = make_run(tmp_path / "run", folder, tuning, tokens=tuning != "frozen")
    assert export_run(made.path, tmp_path / "out").precision == "fp32"
    shutil.rmtree(made.path)  # nothing of it is needed any more
    loaded, tokenizer, manifest = load_run(tmp_path / "out", CPU)
    torch.testing.assert_close(logits(loaded), logits(made.model), atol=1e-4, rtol=1e-4)
    assert tokenizer.get_vocab() == made.tokenizer.get_vocab()
    assert (manifest.command, manifest.details["model"]["tuning"]) == ("export", "merged")
    assert not hasattr(loaded.backbone, "peft_config")


@FOUR_BIT
def test_qlora_is_merged_into_the_weights_it_was_trained_beside(folder: Path, tmp_path: Path) -> None:
    made = make_run(tmp_path / "run", folder, "qlora", tokens=True)
    export_run(made.path, tmp_path / "out")
    loaded, _, _ = load_run(tmp_path / "out", CPU)
    assert all(p.dtype == torch.float32 for p in loaded.parameters())
    expected = logits(made.model)  # where bitsandbytes computes in bf16 on some processors
    assert (logits(loaded) - expected).abs().mean() < 0.05 * expected.std()
    assert "same weights, dequantised" in (tmp_path / "out/README.md").read_text()


@pytest.mark.parametrize("family", ["gpt2", "bart"])
def test_transformers_alone_loads_it(family: str, tmp_path: Path) -> None:
    made = make_run(tmp_path / "run", make_folder(tmp_path / "backbone", family), "lora", tokens=True)
    export_run(made.path, tmp_path / "out")
    auto = AutoModelForSeq2SeqLM if family == "bart" else AutoModelForCausalLM
    assert f"from transformers import {auto.__name__}" in (tmp_path / "out/README.md").read_text()
    model, info = auto.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    made.model.fusion.detach()
    base = made.model.backbone
    with torch.no_grad():
        more = {"decoder_input_ids": IDS} if family == "bart" else {}
        torch.testing.assert_close(model.eval()(input_ids=IDS, **more).logits, base(input_ids=IDS, **more).logits,
                                   atol=1e-4, rtol=1e-4)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert len(tokenizer("<signal>", add_special_tokens=False)["input_ids"]) == 1
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert str(tmp_path) not in (tmp_path / "out/config.json").read_text()


def test_bf16_halves_the_file(made: Made, tmp_path: Path) -> None:
    sizes = [export_run(made.path, tmp_path / precision, precision).size for precision in ("fp32", "bf16")]
    backbones = [(tmp_path / precision / "model.safetensors").stat().st_size for precision in ("fp32", "bf16")]
    assert 1.9 < backbones[0] / backbones[1] < 2.1 and sizes[0] - sizes[1] == pytest.approx(backbones[0] / 2, rel=0.1)
    loaded, _, _ = load_run(tmp_path / "bf16", CPU)
    torch.testing.assert_close(logits(loaded), logits(made.model), atol=0.5, rtol=0.1)
    with pytest.raises(MedReportError, match="no precision 'int8'"):
        export_run(made.path, tmp_path / "int8", "int8")


def test_generate_works_on_an_export_and_writes_the_same_reports(made: Made, tmp_path: Path) -> None:
    export_run(made.path, tmp_path / "out")
    config = GenerateConfig(max_new_tokens=8, batch_size=4, limit=4)
    rows = []
    for run in (made.path, tmp_path / "out"):
        predictions = tmp_path / f"{run.name}.jsonl"
        generate_reports(run, predictions, config)
        rows.append([(row.record_id, row.prediction) for row in read_rows(predictions, PredictionRow)])
    assert rows[0] == rows[1] and len({text for _, text in rows[0]}) > 1


def test_the_card_holds_the_manifests_numbers(made: Made, tmp_path: Path) -> None:
    export_run(made.path, tmp_path / "out")
    card = (tmp_path / "out/README.md").read_text()
    manifest = read_manifest(made.path, "run")
    for fact in ("| train_records | 4321 |", "| truncated | 1 |", "| training, last step: report | 4.25 |",
                 "| validation: report | 3.875 |", "| lora_rank | 4 |", f"| torch | {manifest.versions['torch']} |",
                 "not a medical device", "its licence holds", "| step whose weights these are | 2 |", "synthetic",
                 "resnet18-tiny", f"`{manifest.inputs['store']['hash']}`"):
        assert fact in card, fact
    for row in manifest.details["trains"]:
        assert f"| {row['part']} | {row['tuning']} | {row['parameters']:,} | {row['trainable']:,} |" in card
    assert card.startswith("---\n") and "license: other" in card.split("---")[1]


def test_a_finished_export_is_left_alone_and_a_stranger_is_refused(made: Made, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert not export_run(made.path, out).already_finished
    before = contents(out)
    assert export_run(made.path, out).already_finished and contents(out) == before
    with pytest.raises(MedReportError, match="finished, and made with other precision"):
        export_run(made.path, out, "bf16")
    (out / "signal.safetensors").write_bytes(b"x")
    with pytest.raises(MedReportError, match="was changed after"):
        export_run(made.path, out)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("do not touch")
    with pytest.raises(MedReportError, match="not made by this command"):
        export_run(made.path, tmp_path / "mine")
    with pytest.raises(MedReportError, match="is an export already"):
        export_run(shutil.copytree(tmp_path / "out", tmp_path / "again"), tmp_path / "twice")


def test_an_unfinished_run_or_a_damaged_one_is_not_exported(made: Made, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(made.path, run)
    (run / "manifest.json").unlink()
    with pytest.raises(MedReportError, match="not a finished run"):
        export_run(run, tmp_path / "out")
    shutil.copy(made.path / "manifest.json", run)
    (run / "signal.safetensors").write_bytes(b"x")
    with pytest.raises(MedReportError, match="was changed after"):
        export_run(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_killed_export_goes_on_and_ends_with_the_same_bytes(made: Made, tmp_path: Path,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    export_run(made.path, tmp_path / "whole")
    killed = tmp_path / "killed"
    for step in ("write_card", "write_manifest"):
        with monkeypatch.context() as context, pytest.raises(KeyboardInterrupt):
            context.setattr(module, step, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            export_run(made.path, killed)
        assert not (killed / "manifest.json").exists()
    export_run(made.path, killed)
    assert contents(killed) == contents(tmp_path / "whole")


def test_the_command(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                     capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert medreport(["export", str(made.path), "--precision", "bf16"]) == 0
    printed = capsys.readouterr()
    assert "exports/lora" in printed.out and "next: medreport generate exports/lora" in printed.err
    assert medreport(["export", str(made.path), "--to", "exports/lora", "--precision", "bf16"]) == 0
    assert "finished already" in capsys.readouterr().err
    assert medreport(["export", "nowhere", "--to", "x"]) == 2
    assert "no such run" in capsys.readouterr().err
