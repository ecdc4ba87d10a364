"""The Python front door: its page in docs is run as it stands, what notebooks show, and what is refused."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pytest

import emgecg_cli as mr
from emgecg_cli.core.config import TrainConfig
from emgecg_cli.core.config.train import usual_run_name
from emgecg_cli.core.store import open_store

PAGE = Path(__file__).resolve().parents[1] / "docs/python.md"
_BLOCK = re.compile(r"```python\n(.*?)```\n```text\n(.*?)```", re.DOTALL)


def test_the_page_in_docs_prints_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With MEDREPORT_WRITE_DOCS=1 what was printed is written into the page."""
    monkeypatch.chdir(tmp_path)
    text, names = PAGE.read_text(encoding="utf-8"), dict[str, Any]()

    def run(block: re.Match[str]) -> str:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(block[1], str(PAGE), "exec"), names)  # our own page
        return f"```python\n{block[1]}```\n```text\n{out.getvalue()}```"

    made = _BLOCK.sub(run, text)
    if os.environ.get("MEDREPORT_WRITE_DOCS"):
        PAGE.write_text(made, encoding="utf-8")
    assert made == text and text.count("```python") == len(_BLOCK.findall(text)) > 5


def test_the_import_is_light_and_names_what_there_is() -> None:
    code = ("import sys, emgecg_cli as mr; print(sorted({'torch', 'numpy', 'polars', 'typer'} & sys.modules.keys())); "
            "print(set(mr.__all__) <= set(dir(mr))); mr.nothing")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split("\n")[:2] == ["[]", "True"] and "no attribute 'nothing'" in done.stderr
    assert all(callable(getattr(mr, name)) and getattr(mr, name).__doc__ for name in mr.__all__)


def test_notebooks_show_stores_records_and_scores(inputs: tuple[Path, Path]) -> None:
    store = open_store(inputs[0])
    shown = store._repr_html_()
    assert f"{len(store)} records of synthetic" in shown and store.row(0).record_id in shown
    assert mr.view(inputs[0], 1)._repr_html_().count("<svg") == 1
    rows = [{"record_id": "<b>", "prediction": "<script>x</script>", "reference": "sinus rhythm"}] * 1 + [
        {"record_id": "2", "prediction": "sinus rhythm", "reference": "sinus rhythm"}]
    page = mr.score({"a": rows, "b": rows}, metrics=["bleu"], resamples=20, randomisations=100)._repr_html_()
    assert "<th>a</th><th>b</th>" in page and "<script" not in page


@pytest.mark.parametrize("kind", ["polars", "rows", "file"])
def test_predictions_of_any_form_score_alike(tmp_path: Path, kind: str) -> None:
    rows = [{"record_id": str(i), "prediction": f"sinus rhythm {i % 3}", "reference": "sinus rhythm 1"}
            for i in range(6)]
    given: Any = {"polars": polars.DataFrame(rows), "rows": rows}.get(kind)
    if kind == "file":
        given = tmp_path / "p.jsonl"
        polars.DataFrame(rows).write_ndjson(given)
        assert mr.read_predictions(given, prediction="reference")["prediction"].unique().to_list() == ["sinus rhythm 1"]
    scores = mr.score(given, metrics=["bleu"], resamples=0)
    assert scores.value("BLEU-1").value == pytest.approx(0.7777777778)
    assert scores.frame().filter(system="model", score="BLEU-1")["value"].item() == scores.value("BLEU-1").value


@pytest.mark.parametrize(("call", "says"), [
    (lambda: mr.measure(np.zeros((8, 1000)), 100), r"a signal of shape \(8, 1000\)"),
    (lambda: mr.prepare("synthetic", records=5, colour=1), "takes no --colour"),
    (lambda: mr.generate("run", signals="real"), "no setting of generate 'signals'; did you mean 'signal'"),
    (lambda: mr.perturb("s", "gausian", 1), "did you mean 'gaussian'"),
    (lambda: mr.score([{"record_id": "1"}]), "predictions, line 1")])
def test_what_is_wrong_is_one_line(call: Any, says: str) -> None:
    with pytest.raises(mr.MedReportError, match=says):
        call()


def test_millivolts_with_gaps_are_measured_as_microvolts(inputs: tuple[Path, Path]) -> None:
    store = open_store(inputs[0])
    signal = store.signal(0).copy()
    signal[3, 10:20] = -32768
    volts = np.where(signal == -32768, np.nan, signal / 1000.0)
    assert mr.measure(volts, store.fs) == mr.measure(signal, store.fs)


def test_a_run_has_the_same_name_from_python_and_from_the_command_line() -> None:
    """A rewarded run never the name of the one it starts from."""
    plain = TrainConfig(backbone="org/model@v1")
    assert usual_run_name(plain, Path("instructions/ptb-xl")) == "model-ptb-xl"
    assert usual_run_name(replace(plain, objective="grpo", from_run="runs/a"), Path("instructions/ptb-xl")) == "a-grpo"
