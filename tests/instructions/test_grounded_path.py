"""From a store through grounded instructions and a tiny model of signals and pages to interpretations, their evidence
score and a judge's on loopback, offline; each command is killed on its way in one of two places, and both end with the
same bytes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from api_server import KEY, ApiServer
from judge_server import completion, in_form
from pipeline import contents, finish, kill_when, make_store, medreport

STEPS = [
    (["build-instructions", "--kind", "grounded"],
     lambda place: _lines(place / "instructions/synthetic-grounded/.cache/written.jsonl") >= 3),
    (["train", "--backbone", "tiny", "--encoder", "ecg-coca-tiny,clip", "--image-tower", "tiny", "--projector",
      "shared-gelu", "--token-norm", "none", "--fusion", "splice", "--steps", "4", "--batch-size", "4",
      "--checkpoint-every", "2", "--max-length", "1024", "--out", "runs/a"],
     lambda place: (place / "runs/a/checkpoints/step-00000002").is_dir()),
    (["generate", "--split", "train", "--batch-size", "1", "--max-new-tokens", "24", "--limit", "9",
      "--out", "predictions/a.jsonl"],
     lambda place: _lines(place / "predictions/a.jsonl") >= 2),
]


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def _asked(place: Path) -> int:
    return sum(map(_lines, (place / "scores").glob(".judge*.jsonl")))


@pytest.mark.long
def test_the_whole_path_killed_and_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    for place in (tmp_path / "whole", tmp_path / "killed"):
        make_store(place / "stores/synthetic", records=24)
    for command, begun in STEPS:
        kill_when(medreport(command, tmp_path / "killed"), lambda begun=begun: begun(tmp_path / "killed"))
        for place in (tmp_path / "killed", tmp_path / "whole"):
            finish(medreport(command, place))
    with ApiServer(otherwise=lambda prompt: completion(json.dumps(in_form(prompt)))) as server:
        command = ["score", "predictions/a.jsonl", "--suite", "ecg-grounding", "--judge", "m",
                   "--base-url", server.base_url, "--requests-at-once", "1"]
        kill_when(medreport(command, tmp_path / "killed"), lambda: _asked(tmp_path / "killed") >= 2)
        finish(medreport(command, tmp_path / "killed"))
        once = len(server.requests)
        finish(medreport(command, tmp_path / "whole"))
        assert once - 1 <= len(server.requests) - once  # at most the request that the kill cut off was made twice
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    rows = [json.loads(line) for line in (tmp_path / "whole/predictions/a.jsonl").open()]
    assert all(row["reference_from"] == "instructions" and len(row["reference"].split()) > 50 for row in rows)
    scores = (tmp_path / "whole/scores/a.json").read_text()
    assert all(f'"{name}' in scores for name in ("evidence-score", "evidence-reference-score", "ecg-grounding-mean"))
