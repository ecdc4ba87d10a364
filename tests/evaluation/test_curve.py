"""Scores against the level of a perturbation: points, areas, the lines without a signal, and the page."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from pipeline import make_store

from emgecg_cli.commands.app import run
from emgecg_cli.core.artifacts import PredictionRow, write_rows
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.evaluation.curve import curves_of, mean_over
from emgecg_cli.core.evaluation.curve_files import read_curves
from emgecg_cli.core.manifest import Manifest, file_hashes, input_of, read_manifest, write_manifest
from emgecg_cli.core.perturbations import perturb_store
from emgecg_cli.core.store import Store, open_store
from emgecg_cli.core.verify import verify_artefact

FAST = {"metrics": ["rouge", "findings"], "resamples": 100}


def predicted(path: Path, store: Store, right: float, signal: str = "real") -> Path:
    """Predictions of the test split, of which a share is right, as `generate` finishes them."""
    rows = [store.row(int(i)) for i in store.indices("test")]
    write_rows(path, [PredictionRow(row.record_id, str(row.report) if i < right * len(rows) else "sinus rhythm.",
                                    row.report, 0, row.subject_id, store.dataset, row.language, row.codes, signal)
                      for i, row in enumerate(rows)])
    write_manifest(path, Manifest("predictions", "generate", {}, 0, {"records": len(rows)},
                                  {"store": input_of(store.path, path)},
                                  {"files": file_hashes(path.parent, [path.name]), "run": "a", "machine": {}}))
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("curve")
    clean = open_store(make_store(folder / "stores/clean", 60, split="40/20/40"))
    noisy = {level: open_store(perturb_store(clean.path, None, kind="gaussian", levels={"snr_db": level},
                                             split="test").path) for level in (20.0, 10.0, 0.0)}
    (folder / "predictions").mkdir()
    found = {"real": predicted(folder / "predictions/real.jsonl", clean, 1.0),
             "none": predicted(folder / "predictions/none.jsonl", clean, 0.1, "none")}
    for level, right in ((20.0, 0.9), (10.0, 0.7), (0.0, 0.2)):
        found[f"{level:g}"] = predicted(folder / f"predictions/{level:g}.jsonl", noisy[level], right)
    return found


def test_levels_areas_and_lines(files: dict[str, Path]) -> None:
    found = curves_of([files[name] for name in ("0", "none", "20", "real", "10")], **FAST)
    curve, = found.curves
    assert (curve.kind, curve.level_name) == ("gaussian", "snr_db")
    assert [point.level for point in curve.points] == [20, 10, 0]  # from mild to severe
    assert all(point.reached_db == pytest.approx(point.level, abs=0.5) for point in curve.points)
    scores = [point.values["ROUGE-L"].value for point in curve.points]
    assert scores == sorted(scores, reverse=True) and found.clean.values["ROUGE-L"].value == 1 > scores[0]
    area = curve.areas["ROUGE-L"]
    assert area.value == pytest.approx((scores[0] + 2 * scores[1] + scores[2]) / 4)
    assert area.ci_low < area.value < area.ci_high
    line = found.no_signal["none"].values["ROUGE-L"].value
    above = curve.above["none"]["ROUGE-L"]
    assert above.value == pytest.approx(area.value - line) and above.ci_low > 0
    # the same patients are drawn for both: the difference is known better than the two apart
    apart = np.hypot(area.ci_high - area.ci_low, found.no_signal["none"].values["ROUGE-L"].ci_high
                     - found.no_signal["none"].values["ROUGE-L"].ci_low)
    assert above.ci_high - above.ci_low < apart
    assert "findings-F1" in found.headline and "findings-unread" in found.lower_is_better
    assert curves_of([files["0"], files["real"]], **FAST).curves[0].areas == {}


def test_the_mean_over_uneven_levels() -> None:
    assert mean_over(np.array([20.0, 10, 5, 0]), np.array([1.0, 1, 0, 0])) == pytest.approx((10 + 2.5) / 20)


def test_files_that_make_no_curve_are_refused(files: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(MedReportError, match="no predictions on a perturbed store"):
        curves_of([files["real"], files["none"]], **FAST)
    with pytest.raises(MedReportError, match="same perturbation and level"):
        curves_of([files["0"], files["0"]], **FAST)
    other = open_store(make_store(tmp_path / "other", 60, split="40/20/40"))
    stranger = predicted(tmp_path / "stranger.jsonl", other, 1.0)
    with pytest.raises(MedReportError, match="its recordings are those of"):
        curves_of([files["0"], stranger], **FAST)


def test_the_command_writes_values_and_a_page(files: dict[str, Path], tmp_path: Path,
                                              capsys: pytest.CaptureFixture[str]) -> None:
    out, page = tmp_path / "c.json", tmp_path / "c.html"
    line = ["score", "--curve", *(str(path) for path in files.values()), "--metric", "rouge", "--resamples", "50",
            "--out", str(out), "--page", str(page)]
    assert run(line) == 0
    shown = capsys.readouterr().out
    assert "gaussian by snr_db" in shown and "above none" in shown
    first = out.read_bytes(), page.read_bytes()
    assert run(line) == 0 and (out.read_bytes(), page.read_bytes()) == first
    curve = json.loads(out.read_text())["curves"][0]
    assert [point["level"] for point in curve["points"]] == [20, 10, 0]
    text = page.read_text()
    chart = re.search(r'<svg class="chart".*?</svg>', text, re.S)[0]  # type: ignore[index]
    spots = [(float(x), float(y)) for x, y in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', chart)]
    assert len(spots) == 3 and spots == sorted(spots)  # to the right, and down
    assert "polygon" in chart and chart.count("stroke-dasharray") == 4  # two lines, and what each is
    assert "no signal (none): 0." in chart and "<script" not in text
    manifest = read_manifest(out, "curves")
    assert len(manifest.inputs) == len(files) and not verify_artefact(out).damaged
    capsys.readouterr()
    for idle in (["--common"], ["--section", "all"], ["--judge", "a"], ["--idf", "refs"]):
        assert run([*line, *idle]) == 2 and f"{idle[0]} has no effect on --curve" in capsys.readouterr().err
    assert run([*line, "--format", "latex"]) == 2 and "--curve is not written as latex" in capsys.readouterr().err
    assert run(["score", "--curve", str(files["0"]), "--out", str(files["real"])]) == 2


def test_the_page_of_scores_draws_the_curves_that_the_predictions_are_a_point_of(files: dict[str, Path],
                                                                                 tmp_path: Path) -> None:
    page, fast = tmp_path / "s.html", ["--metric", "rouge", "--resamples", "50"]
    score = ["score", str(files["real"]), *fast, "--out", str(tmp_path / "s.json"), "--page", str(page),
             "--examples", "1"]
    assert run(score) == 0 and "Robustness" not in page.read_text()
    for name, own in (("part", list(files)[:4]), ("all", list(files))):  # the first has no point that the second lacks
        assert run(["score", "--curve", *(str(files[one]) for one in own), *fast, "--out",
                    str(tmp_path / f"{name}.json"), "--page", str(tmp_path / "c.html")]) == 0
    assert run(score) == 0
    text = page.read_text()
    drawn = re.findall(r"<h2>Robustness: gaussian</h2>.*?</section>", text, re.S)
    assert len(drawn) == 1 and drawn[0] in (tmp_path / "c.html").read_text().replace("</p>", f" From {tmp_path.name}"
                                                                                             "/all.json.</p>")
    assert "polygon" in drawn[0] and ", area 0." in drawn[0] and "no signal (none)" in drawn[0]
    values = json.loads((tmp_path / "all.json").read_text())
    assert asdict(read_curves(tmp_path / "all.json")) == values
    again = predicted(tmp_path / "real.jsonl", open_store(files["real"].parents[1] / "stores/clean"), 0.5)
    assert run(["score", str(again), *score[2:]]) == 0 and "Robustness" not in page.read_text()
    (tmp_path / "all.json").write_text(json.dumps(values | {"n": 1}))
    assert run(score) == 2
