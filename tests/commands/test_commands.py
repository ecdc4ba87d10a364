"""The six commands in order, as typed: on a small PTB-XL root, on real PTB-XL where it is there, and through pipes."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from pipeline import contents
from ptbxl_fixture import build_root

from emgecg_cli.commands.app import run
from emgecg_cli.core.store import open_store

Typed = Callable[[str], tuple[str, str]]
TRAIN = "train --backbone tiny --steps 3 --batch-size 4"


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    """Run a command line that must succeed, in a folder of its own; returns stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run_typed(line: str) -> tuple[str, str]:
        status = run(line.split())
        out, err = capsys.readouterr()
        assert status == 0, err
        return out, err

    return run_typed


def refused(line: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Run a command line that must be refused; returns the lines of stderr."""
    assert run(line.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert lines[-1].startswith("hint: ") and lines[-2].startswith("error: ") and "Traceback" not in err
    return lines


def test_the_six_commands_in_order_find_each_others_artefacts(typed: Typed, tmp_path: Path) -> None:
    build_root(tmp_path / "data", n_records=20)
    out, _ = typed("prepare ptb-xl --root data")
    assert out.split()[-7:-6] == ["stores/ptb-xl"]
    _, err = typed("build-instructions --pool-size 64")
    assert "using stores/ptb-xl" in err
    out, err = typed(f"{TRAIN} --encoder-loss none")
    assert "using instructions/ptb-xl" in err and "tiny-from-scratch" in out
    parts = [line.split()[0] for line in err.splitlines() if line.endswith("%")]
    assert parts == ["encoder", "projector", "backbone", "total"]
    out, err = typed("generate --max-new-tokens 8")
    assert "using runs/tiny-ptb-xl" in err and "predictions/tiny-ptb-xl.jsonl" in out
    typed("perturb --kind gaussian --snr-db 5")
    out, err = typed("score --resamples 50")
    assert "using predictions/tiny-ptb-xl.jsonl" in err
    for word in ("BLEU-4", "METEOR", "ROUGE-L", "CIDEr-D", "most frequent train report", "random train report"):
        assert word in out
    assert json.loads((tmp_path / "scores/tiny-ptb-xl.json").read_text())["n"] == len(
        (tmp_path / "predictions/tiny-ptb-xl.jsonl").read_text().splitlines())
    noisy = typed("generate --store stores/ptb-xl-gaussian-5 --max-new-tokens 8 --json")[0]
    assert json.loads(noisy)["path"] == "predictions/tiny-ptb-xl-ptb-xl-gaussian-5.jsonl"


def test_generate_pipes_into_score(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    typed("prepare synthetic --records 60")
    typed("build-instructions --pool-size 32")
    typed(TRAIN)
    piped, err = typed("generate --out - --signal shuffled --max-new-tokens 8")
    assert all(json.loads(line)["signal"] == "shuffled" for line in piped.splitlines())
    monkeypatch.setattr("sys.stdin", io.StringIO(piped))
    out, err = typed("score - --json --resamples 20")
    scores = json.loads(out)
    assert "using stores/synthetic" in err and scores["systems"][0]["name"] == "model"
    foreign = piped.replace('"dataset": "synthetic"', '"dataset": "elsewhere"')
    monkeypatch.setattr("sys.stdin", io.StringIO(foreign))
    alone = json.loads(typed("score - --json --resamples 0 --metric bleu")[0])["systems"]
    assert not [one["name"] for one in alone if "train" in one["name"]]
    assert {"findings-F1", "BLEU-4"} <= {value["name"] for value in scores["systems"][0]["values"]}
    (findings,) = (table for table in scores["tables"] if table["name"] == "findings")
    assert set(findings["rows"][0]["values"]) == {"precision", "recall", "F1"}


def test_a_page_is_written_and_json_is_all_there_is_on_stdout(typed: Typed, tmp_path: Path) -> None:
    typed("prepare synthetic --records 60")
    typed("build-instructions --pool-size 32")
    assert json.loads(typed(f"{TRAIN} --json")[0])["config"]["recipe"] == "tiny-from-scratch"
    typed("generate --max-new-tokens 8")
    json.loads(typed("score --json --resamples 0 --page page.html --examples 2 --metric bleu --metric rouge")[0])
    assert (tmp_path / "page.html").read_text().count('aria-label="12-lead') == 2
    before = contents(tmp_path)
    for line in ("prepare synthetic --records 60", "build-instructions --pool-size 32", TRAIN,
                 "generate --max-new-tokens 8"):
        assert "finished already" in typed(line)[1]
    assert contents(tmp_path) == before


def test_the_demo_ends_with_a_table_and_a_page(typed: Typed, tmp_path: Path) -> None:
    out, err = typed("demo --records 60 --steps 2")
    for system in ("real signal", "another patient's signal", "zero signal", "most frequent", "random train report"):
        assert system in out
    assert "demo/report.html" in err and "next: medreport report demo/runs/tiny FILE" in err
    page = (tmp_path / "demo/report.html").read_text()
    assert page.count("<figure") == 8  # of each record its own ECG, and the one that was shown in its place
    assert "<th scope=row>run</th><td>tiny</td>" in page and "was shown the ECG of record" in page


@pytest.mark.parametrize(("line", "says"), [
    ("prepare ptb-xk", "did you mean 'ptb-xl'"),
    ("prepare ptb-xl", "needs --root, and there is no data/ptb-xl"),
    ("prepare ptb-xl --root .", "ptbxl_database.csv"),
    ("prepare ptb-xl --root . --records 5", "takes no --records"),
    ("prepare synthetic --records 1", "records"),
    ("prepare synthetic --records 30 --clean lowercase", "lowercase"),
    ("prepare synthetic --records 30 --split 70/30", "70/30"),
    ("build-instructions", "no store under stores/"),
    ("build-instructions nowhere", "nowhere"),
    ("train --backbone tiny", "no instructions under instructions/"),
    ("train", "--backbone"),
    ("train --backbone tiny --recipe paper", "no recipe 'paper'"),
    ("train --backbone tiny --steps -1", "--steps is -1"),
    ("generate", "no run under runs/"),
    ("generate runs/none", "runs/none"),
    ("perturb --kind gausian --snr-db 5", "did you mean 'gaussian'"),
    ("score nowhere.jsonl", "nowhere.jsonl: no such file"),
    ("score", "no predictions file under predictions/"),
    ("scroe", "Did you mean 'score'"),
    ("score --frobnicate", "frobnicate"),
])
def test_what_is_wrong_is_said_in_one_line(line: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                           capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert says in "\n".join(refused(line, capsys)[-2:])
    assert not contents(tmp_path)


def test_400_real_records_from_the_disk_to_a_score_table(typed: Typed, shared_data: Path) -> None:
    typed(f"prepare ptb-xl --root {shared_data / 'ptb-xl'} --reports {shared_data / 'ptb-xl/reports_en.csv'}")
    store = open_store(Path("stores/ptb-xl"))
    assert len(store) == 337 and set(store.column("language")) == {"en"}
    typed("build-instructions")
    typed("train --backbone tiny --steps 120 --batch-size 16")
    typed("generate --max-new-tokens 24")
    lines = Path("predictions/tiny-ptb-xl.jsonl").read_text().splitlines()
    reports = [json.loads(line)["prediction"] for line in lines]
    assert len(reports) == len(store.indices("test")) and len(set(reports)) > 1
    scores = json.loads(typed("score --resamples 20 --json")[0])
    assert [system["name"] for system in scores["systems"]] == [
        "model", "baseline: most frequent train report", "baseline: random train report", "baseline: empty report",
        "upper reference: true labels by template"]


@pytest.fixture
def scored(typed: Typed, tmp_path: Path) -> Path:
    """Finished predictions of a simulated cohort, in a folder of their own."""
    typed("prepare synthetic --records 60")
    typed("build-instructions --pool-size 32")
    typed(TRAIN)
    typed("generate --max-new-tokens 4")
    return tmp_path


def test_score_writes_over_nothing_but_scores(scored: Path, typed: Typed, capsys: pytest.CaptureFixture[str]) -> None:
    predictions = "predictions/tiny-synthetic.jsonl"
    typed(f"score {predictions} --out predictions/tiny-synthetic.json --resamples 0")  # beside, and of the same stem
    typed(f"score {predictions} --out predictions/tiny-synthetic.json --resamples 10")
    before = contents(scored)
    for options in ("--out stores/synthetic/manifest.json", f"--page {predictions}", "--out scores.txt",
                    "--out predictions/tiny-synthetic.jsonl.manifest.json", "--examples 3", "--bertscore-layers 3"):
        refused(f"score {predictions} {options}", capsys)
    assert contents(scored) == before
    typed(f"score {predictions} --resamples 0")


@pytest.mark.parametrize(("victim", "command"), [
    ("predictions/tiny-synthetic.jsonl", "score"),
    ("instructions/synthetic/instructions.jsonl", "train --backbone tiny"),
    ("stores/synthetic/records.parquet", "generate --split val")])
def test_a_file_changed_after_it_was_finished_is_noticed(scored: Path, victim: str, command: str,
                                                         capsys: pytest.CaptureFixture[str]) -> None:
    path = scored / victim
    old = path.read_bytes()
    path.write_bytes(old.replace(b"rhythm", b"rhythn") if b"rhythm" in old else old + b"x")
    assert victim.split("/")[-1] in refused(command, capsys)[-2]


def test_deleted_predictions_are_made_again(scored: Path, typed: Typed) -> None:
    path = scored / "predictions/tiny-synthetic.jsonl"
    before = path.read_bytes()
    path.unlink()
    typed("generate --max-new-tokens 4")
    assert path.read_bytes() == before


def test_the_whole_folder_may_move(scored: Path, typed: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("stores", "instructions", "runs")
    (tmp_path / "else[w]here").mkdir()
    for name in names:
        (scored / name).rename(tmp_path / "else[w]here" / name)
    monkeypatch.chdir(tmp_path / "else[w]here")
    typed("generate --max-new-tokens 4")
    typed("train --backbone tiny --steps 3 --batch-size 4")


@pytest.mark.parametrize(("line", "says"), [
    ("train --backbone tiny --out foreign", "not a plan"),
    ("train --backbone tiny --out runs/a.json", "writes a folder"),
    ("prepare synthetic --records 30 --out a.jsonl", "writes a folder"),
    ("build-instructions stores/synthetic --out a.json", "writes a folder"),
    ("generate --out .", ".jsonl"),
    ("score --out .", ".json"),
    ("score --page .", ".html"),
    ("score --page notes.html", "no page of medreport"),
])
def test_odd_places_are_refused_and_left_alone(scored: Path, line: str, says: str,
                                               capsys: pytest.CaptureFixture[str]) -> None:
    (scored / "foreign").mkdir()
    (scored / "foreign/plan.json").write_text("[]")
    (scored / "notes.html").write_text("<p>mine</p>")
    before = contents(scored)
    assert says in "\n".join(refused(line, capsys)[-2:])
    assert contents(scored) == before


def test_a_store_may_be_perturbed_from_inside(scored: Path, typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(scored / "stores/synthetic")
    typed("perturb . --kind gaussian --snr-db 10 --records 0.1")
    assert (scored / "stores/synthetic-gaussian-10/manifest.json").exists()
