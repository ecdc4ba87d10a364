"""From a store through grounded instructions and a tiny model of signals and pages to interpretations and their
evidence score, offline; each command is killed on its way in one of two places, and both end with the same bytes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
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


@pytest.mark.long
def test_the_whole_path_killed_and_resumed(tmp_path: Path) -> None:
    for place in (tmp_path / "whole", tmp_path / "killed"):
        make_store(place / "stores/synthetic", records=24)
    for command, begun in STEPS:
        kill_when(medreport(command, tmp_path / "killed"), lambda begun=begun: begun(tmp_path / "killed"))
        for place in (tmp_path / "killed", tmp_path / "whole"):
            finish(medreport(command, place))
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    rows = [json.loads(line) for line in (tmp_path / "whole/predictions/a.jsonl").open()]
    assert all(row["reference_from"] == "instructions" and len(row["reference"].split()) > 50 for row in rows)
    finish(medreport(["score", "predictions/a.jsonl", "--metric", "evidence"], tmp_path / "whole"))
    scores = json.loads((tmp_path / "whole/scores/a.json").read_text())
    assert "evidence-score" in json.dumps(scores) and "evidence-reference-score" in json.dumps(scores)
