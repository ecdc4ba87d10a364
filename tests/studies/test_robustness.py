"""The robustness study: perturb, generate, score and draw in one command that can be killed anywhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pipeline import contents, interrupted_after

from emgecg_cli.commands.app import run as command
from emgecg_cli.core.studies.robustness import CURVES, PAGE


def test_a_killed_study_ends_with_the_same_bytes(short_run: Path, tmp_path: Path,
                                                 capsys: pytest.CaptureFixture[str]) -> None:
    line = ["robustness", str(short_run), "--kind", "gaussian", "--level", "10,0", "--max-new-tokens", "4",
            "--batch-size", "1", "--resamples", "20", "--workers", "1"]
    assert command([*line, "--out", str(tmp_path / "whole")]) == 0
    assert "gaussian by snr_db" in capsys.readouterr().out
    for chunks in (1, 4):
        with interrupted_after(chunks):
            assert command([*line, "--out", str(tmp_path / "killed")]) == 130
    assert command([*line, "--out", str(tmp_path / "killed"), "--json"]) == 0
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    found = json.loads((tmp_path / "whole" / CURVES).read_text())
    assert [point["level"] for point in found["curves"][0]["points"]] == [10, 0]
    assert set(found["no_signal"]) == {"none", "shuffled"} and found["clean"]["predictions"] == "real.jsonl"
    assert (tmp_path / "whole" / PAGE).read_text().count("<svg") >= 3


def test_what_is_asked_for_must_make_sense(short_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in ((["--kind", "gaussian"], "go together"), (["--kind", "gaussian", "--suite", "robustness"],
                        "both given"), (["--suite", "other"], "no suite 'other'")):
        assert command(["robustness", str(short_run), "--out", str(tmp_path / "r"), *words]) == 2
        assert said in capsys.readouterr().err and not (tmp_path / "r").exists()
