"""The next command that is printed works, whatever the user has; what a recipe wants and a store lacks is said."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from ptbxl_fixture import build_root, twelve_leads, write_record

from emgecg_cli.commands import next_steps
from emgecg_cli.commands.app import run
from emgecg_cli.core import names
from emgecg_cli.core.datasets import open_dataset
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.store import open_store

SHORT = " --steps 2 --batch-size 4 --max-length 128"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(next_steps.shutil, "which", lambda name: None)
    return tmp_path


def typed(line: str, capsys: pytest.CaptureFixture[str], status: int = 0) -> str:
    assert run(shlex.split(line)) == status, capsys.readouterr().err
    return capsys.readouterr().err


def advised(err: str) -> str:
    """What stands behind "next: medreport"."""
    (line,) = [line for line in err.splitlines() if line.startswith("next: medreport ")]
    return line.removeprefix("next: medreport ")


def write_own(folder: Path, n: int, columns: str = "record,report", cells: str = "r{i},{w} number {i}.") -> str:
    for i in range(n):
        write_record(folder / "set" / f"r{i}", twelve_leads(i, 100), 100)
    rows = [cells.format(i=i, w=("Sinus", "Flutter")[i % 2]) for i in range(n)]
    (folder / "reports.csv").write_text("\n".join([columns, *rows, ""]))
    return "prepare wfdb --root set --reports reports.csv"


def test_a_store_without_codes_goes_from_command_to_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    err = typed(write_own(folder, 14), capsys)
    assert advised(err) == "build-instructions stores/wfdb"
    err = typed(advised(err), capsys)
    assert advised(err) == "train instructions/wfdb --backbone tiny" and "a pretrained one as well" in err
    err = typed(advised(err) + SHORT, capsys)
    assert "no code occurs in 5 of the" in err and "supervised by the words of their reports" in err
    assert json.loads(Path("runs/tiny-wfdb/manifest.json").read_text())["arguments"]["encoder_loss"] == "words"
    assert advised(err) == "generate runs/tiny-wfdb"
    err = typed(advised(err) + " --max-new-tokens 4", capsys)
    assert advised(err) == "score predictions/tiny-wfdb.jsonl"
    typed(advised(err) + " --resamples 0", capsys)
    assert "finished already" in typed("train instructions/wfdb --backbone tiny" + SHORT, capsys)
    err = typed("train instructions/wfdb --backbone tiny --out runs/x --encoder-loss codes" + SHORT, capsys, 2)
    assert "none of the codes occurs" in err  # asked for, it is insisted on


def test_three_records_with_nothing_in_common_train_without_it(folder: Path,
                                                              capsys: pytest.CaptureFixture[str]) -> None:
    typed(write_own(folder, 3, "record,report,split", "r{i},Text {i}.,train"), capsys)
    err = typed("build-instructions --pool-size 4", capsys)
    err = typed(advised(err) + SHORT.replace("4", "2"), capsys)
    assert "and no word of their reports does: the encoder is not supervised directly" in err
    assert advised(err) == "generate runs/tiny-wfdb --split train"


def test_what_cannot_be_trained_or_downloaded_is_not_advised(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    typed(write_own(folder, 1), capsys)
    err = typed("build-instructions --pool-size 4", capsys)
    assert "one record in train is too few to train on" in err and "next:" not in err
    for name, has in (("wfdb", False), ("etm", True), ("ludb", True)):
        assert ("--download" in typed(f"prepare {name}", capsys, 2)) == has


def test_codes_that_are_there_are_used_and_nothing_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    typed("prepare synthetic --records 40", capsys)
    typed("build-instructions --pool-size 4", capsys)
    err = typed("train --backbone tiny" + SHORT, capsys)
    assert "supervised" not in err
    assert json.loads(Path("runs/tiny-synthetic/manifest.json").read_text())["arguments"]["encoder_loss"] == "codes"
    err = typed("perturb --kind gaussian --snr-db 5", capsys)
    assert advised(err) == "generate runs/tiny-synthetic --store stores/synthetic-gaussian-5"
    typed(advised(err) + " --max-new-tokens 4", capsys)


def test_tables_get_their_recipe_and_chinese_its_segmentation(capsys: pytest.CaptureFixture[str]) -> None:
    err = typed("prepare synthetic-emg --records 30 --language zh", capsys)
    err = typed(advised(err), capsys)
    few = "train instructions/synthetic-emg --backbone tiny --recipe emgllm --stage1-steps 0"
    assert advised(err) == few, "nobody of 30 is healthy enough for reference ranges"
    typed(few + " --steps 1 --batch-size 2", capsys)
    typed("prepare synthetic-emg --records 200 --language zh --out stores/more", capsys)
    assert advised(typed("build-instructions stores/more", capsys)) == \
        "train instructions/more --backbone tiny --recipe emgllm"
    rows = [{"record_id": f"r{i}", "prediction": "正常", "reference": "未见异常。"} for i in range(3)]
    Path("p.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    next_steps.after_generate(Path("p.jsonl"))
    err = capsys.readouterr().err
    assert advised(err) == "score p.jsonl --segmentation char"
    typed(advised(err) + " --resamples 0", capsys)


def test_the_backbone_that_was_used_is_used_again_and_what_it_needs_is_added(
        folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    typed(write_own(folder, 4, "record,report,split", "r{i},Sinus {i}.,train"), capsys)
    monkeypatch.setattr(next_steps, "_backbone_at_hand", lambda store: "gpt2-medium")
    err = typed("build-instructions --pool-size 4", capsys)
    assert advised(err) == "train instructions/wfdb --backbone gpt2-medium"
    assert "a pretrained one as well" not in err


def test_a_backbone_in_the_cache_is_named_where_a_gpu_takes_it(folder: Path, monkeypatch: pytest.MonkeyPatch,
                                                              capsys: pytest.CaptureFixture[str]) -> None:
    from emgecg_cli.core.models import capacity, hub

    typed("prepare synthetic --records 20", capsys)
    manifest = open_store(Path("stores/synthetic")).manifest
    monkeypatch.setenv("HF_HUB_CACHE", str(folder / "hub"))
    for name in ("gpt2-medium", "qwen3-0.6b", "qwen3-32b"):
        (folder / "hub" / f"models--{names.BACKBONES[name].hub_id.replace('/', '--')}").mkdir(parents=True)
    monkeypatch.setattr(hub, "cached", lambda place: folder)
    monkeypatch.setattr(capacity, "missing_memory", lambda parameters, use: ["room"] if parameters > 10**9 else [])
    monkeypatch.setattr(next_steps.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    assert next_steps._backbone_at_hand(manifest) == "qwen3-0.6b"


def test_what_was_set_aside_ends_with_its_reasons_and_most_of_all_with_status_1(
        folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = write_own(folder, 5, "record,report,age", "r{i},Sinus {i}.,4{i}")
    csv = Path("reports.csv").read_text()
    Path("reports.csv").write_text(csv.replace("r0,", "r9,").replace("44", "old"))
    err = typed(line, capsys).splitlines()
    assert err[-2] == ("warning: 2 of 5 set aside: 1 bad age, 1 missing file; stores/wfdb/quarantine.jsonl says why "
                       "for each")
    assert err[-1].startswith("next: medreport build-instructions")
    Path("reports.csv").write_text(csv.replace("r0,", "r9,").replace("44", "old").replace("r3,Sinus 3.", "r3,"))
    err = typed(line + " --out stores/b", capsys, 1).splitlines()
    assert "3 of 5 set aside: 1 bad age, 1 missing file, 1 no report" in err[-3] and "--no-reports" in err[-2]
    assert run(shlex.split(line + " --out stores/b --json")) == 1
    assert json.loads(capsys.readouterr().out)["counts"]["records"] == 2
    assert "4 of 5 set aside" not in typed(line + " --out stores/c --no-reports", capsys)


def test_ptb_xl_keeps_originals_where_the_other_file_has_none(folder: Path,
                                                             capsys: pytest.CaptureFixture[str]) -> None:
    build_root(folder / "root", 8, rates=(100,))
    (folder / "en.csv").write_text("ecg_id,report_en\n1,sinus rhythm\n2,\n3,Something wrong with the data\n"
                                   + "".join(f"{i},sinus rhythm {i}\n" for i in range(5, 9)))
    source = open_dataset("ptb-xl", 0, root=folder / "root", reports=folder / "en.csv", keep_original=True)
    rows = {row.record_id: row.details for row in source.listing()}
    assert rows["1"] | {"codes": None} == {
        "report": "sinus rhythm", "language": "en", "report_kind": "translation", "codes": None, "age": 50, "sex": None,
        "report_raw": "sinusrhythmus lagetyp nr 1"}
    for lacking in "234":
        assert rows[lacking]["report"] == f"sinusrhythmus lagetyp nr {lacking}"
        assert (rows[lacking]["language"], rows[lacking]["report_kind"]) == ("de", "physician")
    assert source.arguments["keep_original"] is True
    with pytest.raises(MedReportError, match="--keep-original has no effect without --reports"):
        open_dataset("ptb-xl", 0, root=folder / "root", keep_original=True)
    plain = open_dataset("ptb-xl", 0, root=folder / "root", reports=folder / "en.csv")
    assert sum(getattr(row, "reason", "") in ("no report", "refused translation") for row in plain.listing()) == 2
    err = typed("prepare ptb-xl --root root --reports en.csv", capsys)
    assert "3 of 8 set aside: 1 empty report, 1 no report, 1 refused translation" in err and "--keep-original" in err
    err = typed("prepare ptb-xl --root root --reports en.csv --keep-original --out stores/kept", capsys)
    assert "set aside:" not in err and "--keep-original" not in err
    kinds = open_store(Path("stores/kept")).manifest.details["report_kinds"]
    assert kinds == {"physician": 3, "translation": 5}
