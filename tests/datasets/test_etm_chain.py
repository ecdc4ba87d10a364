"""ETM-17k and ETM-17k-LLM from the published files to scores, in Chinese; killed on the way, the bytes are the same."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from etm_fixture import numbers, write_download
from fuse import Fuse
from pipeline import contents, kill_when, medreport

from emgecg_cli.commands.app import run
from emgecg_cli.core.instructions.build import open_instructions
from emgecg_cli.core.instructions.render import values_of
from emgecg_cli.core.manifest import read_manifest
from emgecg_cli.core.reports.scripts import script_of
from emgecg_cli.core.reports.sections import split_sections
from emgecg_cli.core.store import open_store

SIZES = {"train": (90, 10), "validation": (2, 2), "test": (6, 6)}  # healthy and not; 50 values make a reference
TEST = sum(SIZES["test"])
STAGE1, STEPS = 12, 24
# A folder as downloaded is read in the form with tables; the other form has a folder of its own in it.
PREPARE = {"tables": "prepare etm", "llm": "prepare etm --root data/etm/ETM-17k-LLM"}
BUILD = "build-instructions"
TRAIN = (f"train --recipe emgllm --backbone tiny --stage1-steps {STAGE1} --steps {STEPS} --batch-size 4 "
         "--learning-rate 3e-3 --checkpoint-every 2")
GENERATE = "generate --batch-size 1 --max-new-tokens 40 --repetition-penalty 1.5 --out predictions/tiny-etm.jsonl"
SCORE = "score --segmentation char --resamples 20"


def typed(line: str, folder: Path) -> None:
    """Run a command line in a folder; it must succeed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run(line.split()) == 0


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """As many as the processes that are killed have: sums, and so the last digits, depend on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both published forms of the same examinations."""
    return write_download(tmp_path_factory.mktemp("etm") / "data/etm", SIZES).parent


@pytest.fixture(scope="module", params=["tables", pytest.param("llm", marks=pytest.mark.long)])
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def whole(form: str, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which all commands ran in order and nothing was killed; not to be written to."""
    folder = tmp_path_factory.mktemp(form)
    shutil.copytree(data, folder / "data")
    for line in (PREPARE[form], BUILD, TRAIN, GENERATE, SCORE):
        typed(line, folder)
    return folder


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_number_is_shown_beside_its_limits(form: str, whole: Path) -> None:
    """The numbers of the published table where the healthy of the train split give references, or the matrices."""
    store, rows = open_store(whole / "stores/etm"), open_instructions(whole / "instructions/etm").rows
    counts = {split: int((store.column("split") == split).sum()) for split in ("train", "val", "test")}
    assert counts == {"train": sum(SIZES["train"]), "val": sum(SIZES["validation"]), "test": TEST}
    assert store.column("language").unique().to_list() == ["zh"]
    assert not store.manifest.counts["quarantined"] and "flagged" not in store.manifest.counts
    folder = {"tables": "ETM-17k", "llm": "ETM-17k-LLM"}[form]
    told = lines_of(whole / "data/etm" / folder / "test.jsonl")
    shown = [values_of(rows[f"test-{number}"].messages) for number in range(1, TEST + 1)]
    if form == "llm":
        assert [[(part["item"], np.float32(part["matrix"]).tolist()) for part in parts] for parts in shown] == [
            [(one["item"], np.float32(one["tensor"]).tolist()) for one in record["tensor"]] for record in told]
        return
    references = store.references()
    assert references is not None and store.manifest.details["references"]["pool"]["healthy"] == SIZES["train"][0]
    indices = {record_id: index for index, record_id in enumerate(store.column("record_id"))}
    stored = [numbers(store.case(indices[f"test-{number}"]).case) for number in range(1, TEST + 1)]
    assert [[value for *_, value in found] for found in stored] == [
        [cell for row in record["NCV"][1:] for cell in row[4:] if isinstance(cell, float)] for record in told]
    assert [[(part["item"], part["side"], part["value"]) for part in parts] for parts in shown] == [
        [one for one in found if references.of(one[0])] for found in stored]
    assert sum(map(len, shown)) > 0.8 * sum(map(len, stored))


def test_reports_are_chinese_and_scored_whole_and_by_section(form: str, whole: Path) -> None:
    manifest = read_manifest(whole / "runs/tiny-etm", "run")
    assert (manifest.details["recipe"], manifest.counts["steps"]) == ("emgllm-tiny", STEPS)
    assert len(lines_of(whole / "runs/tiny-etm/stage1/metrics.jsonl")) == STAGE1
    rows, told = lines_of(whole / "predictions/tiny-etm.jsonl"), lines_of(whole / "data/etm/ETM-17k/test.jsonl")
    assert {row["record_id"]: split_sections(row["reference"]) for row in rows} == {
        f"test-{number}": (record["Findings"], record["Impression"]) for number, record in enumerate(told, 1)}
    written = [row["prediction"] for row in rows]
    assert len(written) == TEST and all(re.search("[一-鿿]", text) for text in written)
    assert script_of("".join(written)) == "Han" and "\ufffd" not in "".join(written)
    scores = json.loads((whole / "scores/tiny-etm.json").read_text())
    assert scores["languages"] == ["zh"] and scores["n"] == TEST
    model, *baselines = ({value["name"]: value for value in system["values"]} for system in scores["systems"])
    for metric in ("BLEU-1", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr-D"):
        for section in ("", "findings", "impression"):
            name = f"{metric} ({section})" if section else metric
            signature = model[name]["signature"].split("|")
            assert "tok:char-2(sacrebleu-zh,nfkc)" in signature and "lang:zh" in signature
            assert [one for one in signature if one.startswith("section:")] == [f"section:{section}"] * bool(section)
            assert model[name]["value"] is not None
            *of_train, empty = (baseline[name]["value"] for baseline in baselines)
            assert len(of_train) == 2 and min(of_train) > 0 and empty == 0
    assert model["BLEU-1"]["value"] > 0
    assert ("contradictions" in model) == (form == "tables")  # of a report with its tables


@pytest.mark.long
def test_killed_in_every_command_and_run_again(form: str, data: Path, whole: Path, tmp_path: Path, fuse: Fuse,
                                               capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(data, tmp_path / "data")
    made = tmp_path / "runs/tiny-etm"
    assert killed_over_and_over(PREPARE[form], tmp_path, "stores", fuse) > 3
    assert killed_over_and_over(BUILD, tmp_path, "instructions", fuse) > 1

    kill_when(medreport(TRAIN.split(), tmp_path), (made / "stage1/checkpoints/step-00000002").exists)
    assert not (made / "checkpoints/stage1.safetensors").exists(), "killed after stage 1"
    kill_when(medreport(TRAIN.split(), tmp_path), (made / "checkpoints/step-00000004").exists)
    assert (made / "checkpoints/stage1.safetensors").exists() and not (made / "signal.safetensors").exists()
    typed(TRAIN, tmp_path)
    assert "going on from the newest checkpoint" in capsys.readouterr().err

    predictions = tmp_path / "predictions/tiny-etm.jsonl"
    kill_when(medreport(GENERATE.split(), tmp_path), lambda: held(predictions) >= TEST // 3)
    before = held(predictions)
    assert before < TEST
    typed(f"{GENERATE} --json", tmp_path)
    assert json.loads(capsys.readouterr().out)["written"] == TEST - before
    assert killed_over_and_over(SCORE, tmp_path, "scores", fuse) > 1
    assert contents(tmp_path) == contents(whole)


def held(predictions: Path) -> int:
    """Whole lines of a file that may be being written."""
    return predictions.read_bytes().count(b"\n") if predictions.exists() else 0


def killed_over_and_over(line: str, folder: Path, place: str, fuse: Fuse) -> int:
    """Run a command line that dies, each time some file operations later, until it ends; returns how often it died."""
    left, times = 1, 0
    while fuse.burn(lambda: typed(line, folder), Path(place), left) == left:
        left, times = left + 5, times + 1
    return times
