"""`medreport view`: the right record, on paper or in the terminal, with its report and intervals."""

from __future__ import annotations

import io
import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from pipeline import make_store

from emgecg_cli.commands import view as command
from emgecg_cli.core import view as viewing
from emgecg_cli.core.artifacts import Measurements, RecordRow
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.evidence import Evidence
from emgecg_cli.core.signals.delineation import delineate
from emgecg_cli.core.signals.paper.geometry import LANE, LEFT
from emgecg_cli.core.store import Store, open_store


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    return open_store(make_store(tmp_path_factory.mktemp("view") / "stores/synthetic", 12))


def run(*arguments: object) -> None:
    app = typer.Typer()
    app.command()(command.view)
    app(list(map(str, arguments)), standalone_mode=False)


def test_a_record_is_found_by_its_id_and_by_its_row(store):
    ids = store.column("record_id").to_list()
    by_id = viewing.open_record(store, ids[5])
    assert by_id.row == viewing.open_record(store, None, 5).row == store.row(5)
    assert (by_id.signal == store.signal(5)).all()


def test_padding_is_no_part_of_the_recording(store, monkeypatch):
    monkeypatch.setattr(Store, "row", lambda self, index: replace(ROW, n_padded=400))
    view = viewing.open_record(store, None, 0)
    page = viewing.draw_page(view, "3x4", 0.0)
    assert view.signal.shape == (12, 600) and [text.text for text in page.texts].count(
        "after the end of the recording") == 3


def test_a_mistyped_id_is_answered_with_a_near_one(store):
    name = store.column("record_id")[3]
    with pytest.raises(MedReportError, match=f"did you mean '{name[:-2]}"):
        viewing.open_record(store, name[:-1] + "x")
    with pytest.raises(MedReportError, match="no record 'zzz'") as error:
        viewing.open_record(store, "zzz")
    assert "did you mean" not in error.value.message and name[:4] in error.value.hint
    for wrong in (12, -1):
        with pytest.raises(MedReportError, match=f"no row {wrong}"):
            viewing.open_record(store, None, wrong)
    with pytest.raises(MedReportError, match="no record is named"):
        viewing.open_record(store, None)


def test_a_recording_of_several_windows_asks_which(store):
    columns = {"record_id": ["a#0", "a#1", "b"], "recording_id": ["a", "a", "b"]}
    import polars

    windows = replace(store, _columns={name: polars.Series(name, values) for name, values in columns.items()})
    with pytest.raises(MedReportError, match="2 records") as error:
        viewing.open_record(windows, "a")
    assert "a#0, a#1" in error.value.hint


def viewed(store: Store, measurements: Measurements | None = None, **changes) -> viewing.Viewed:
    row = replace(store.row(0), **changes)
    return viewing.Viewed("synthetic", row, store.signal(0), measurements or Measurements(), False)


def test_what_is_said_below_the_drawing(store):
    measured = Measurements(n_beats=10, heart_rate_bpm=63.4, qrs_ms=92.0, qt_ms=402.0, qtc_bazett_ms=413.6)
    view = viewed(store, measured, report="normal ecg", report_kind="machine", lead_glitch="aVR off by 2600 uV",
                  lead_check="suspect: limb leads disagree", scale_check="not checked: all flat", flat_leads=["V1"])
    assert viewing.notes(view) == [
        "Measured: heart rate 63/min, QRS 92 ms, QT 402 ms, QTc 414 ms (Bazett); undetected: PR, QRS axis",
        "Checks: suspect: limb leads disagree; glitch: aVR off by 2600 uV; V1 flat",
        "Report by the recorder: normal ecg"]
    assert viewing.notes(viewed(store, report="x"))[0] == "Measured: no beat was detected"


def test_measurements_of_the_store_are_shown_and_else_made(store, monkeypatch):
    from emgecg_cli.core.signals import delineation

    found = delineation.delineate(np.zeros((12, 1000), np.int16), 100)
    monkeypatch.setattr(delineation, "delineated",
                        lambda waves, signal, fs: replace(found, measurements=Measurements(n_beats=fs)))
    view = viewing.open_record(store, None, 0)
    assert view.measured_now and view.measurements.n_beats == 100
    stored = Measurements(n_beats=7)
    monkeypatch.setattr(Store, "row", lambda self, index: replace(ROW, measurements=stored))
    view = viewing.open_record(store, None, 0)
    assert not view.measured_now and view.measurements == stored
    monkeypatch.setattr(Store, "row", lambda self, index: replace(ROW, fs=5000))
    assert viewing.open_record(store, None, 0).measurements == Measurements()


ROW = RecordRow("1", "s", "train", 100, 1000, "r", "", "en", [], "", 0, 0)


@pytest.mark.parametrize("layout", ["3x4", "6x2", "12x1"])
def test_png_and_svg_files(store, tmp_path, capsys, layout):
    name = store.column("record_id")[2]
    for suffix in ("png", "svg", "PNG"):
        run(store.path, name, "--layout", layout, "--out", tmp_path / f"page.{suffix}", "--dpi", 60)
    captured = capsys.readouterr()
    assert captured.out == "" and "wrote" in captured.err
    with Image.open(tmp_path / "page.png") as image:
        assert image.width == round(270 / 25.4 * 60) and image.format == "PNG"
    assert (tmp_path / "page.png").read_bytes() == (tmp_path / "page.PNG").read_bytes()
    svg = (tmp_path / "page.svg").read_text()
    assert f">Record {name}</text>" in svg and "Measured: heart rate" in svg and "Report" in svg


def test_a_gain_is_drawn_and_said_and_is_no_option_of_the_terminal(store, tmp_path):
    for gain in ("5", "20"):
        run(store.path, "--index", 1, "--out", tmp_path / "page.svg", "--gain", gain)
        assert f"{gain} mm/mV" in (tmp_path / "page.svg").read_text()
    with pytest.raises(MedReportError, match="--gain") as error:
        run(store.path, "--index", 1, "--gain", "5")
    assert "--out" in error.value.hint


def test_svg_on_the_pipe(store, capsys):
    run(store.path, "--index", 1, "--out", "-")
    assert capsys.readouterr().out.startswith("<svg ")


def test_the_terminal_drawing_is_plain_where_nobody_watches(store, capsys):
    run(store.path, store.column("record_id")[2])
    out = capsys.readouterr().out
    assert "\033" not in out and max(map(len, out.splitlines())) <= 100 and re.search("[\u2801-\u28ff]", out)
    assert "Measured: heart rate" in out and store.row(2).report.split()[0] in out


def test_a_report_cannot_steer_the_terminal(store, capsys, monkeypatch):
    monkeypatch.setattr(Store, "row", lambda self, index: replace(ROW, report="a\x1b[31m\rb", record_id="\x1b[2J"))
    run(store.path, "--index", 0)
    assert "\x1b" not in capsys.readouterr().out


def test_json_is_the_row_with_its_measurements_and_checks(store, capsys):
    run(store.path, "--index", 4, "--json")
    said = json.loads(capsys.readouterr().out)
    row = asdict(store.row(4))
    assert {key: said[key] for key in row if key != "measurements"} == {
        key: value for key, value in row.items() if key != "measurements"}
    assert said["measurements"]["heart_rate_bpm"] > 20 and said["measured_now"] and said["checks"] == []


def test_the_only_store_is_taken_where_just_a_record_is_named(store, capsys, monkeypatch):
    monkeypatch.chdir(store.path.parents[1])
    name = store.column("record_id")[2]
    run(name)
    captured = capsys.readouterr()
    assert f"Record {name}" in captured.out and "using stores/synthetic" in captured.err


@pytest.mark.parametrize(("arguments", "said"), [
    (("--out", "page.jpg"), "is a .png or a .svg"), (("--layout", "4x3"), "no layout '4x3'"),
    (("--start", "10"), "no second 10"), (("--out", "-", "--json"), "both write"),
    (("--layout", "4x3", "--out", "page.png"), "no layout '4x3'")])
def test_what_cannot_be_drawn_is_refused_before_anything_is_written(store, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MedReportError, match=said):
        run(store.path, "--index", "0", *arguments)
    assert not list(Path(tmp_path).iterdir())


def test_pages_of_real_recordings_show_their_words(shared_data):
    from emgecg_cli.core.datasets.formats.wfdb_headers import read_header
    from emgecg_cli.core.datasets.formats.wfdb_records import read_leads
    from emgecg_cli.core.signals.delineation import measure

    signal = read_leads(read_header(shared_data / "ptb-xl", "records500/00000/00162_hr")).signal
    row = replace(ROW, record_id="162", fs=500, sig_len=5000, report="überdrehter Linkstyp")
    view = viewing.Viewed("ptb-xl", row, np.asarray(signal), measure(signal, 500), True)
    image = Image.open(io.BytesIO(viewing.draw_file(view, "3x4", 0.0, ".png", 200)))
    assert image.width == 2126 and 60 <= view.measurements.heart_rate_bpm <= 85
    assert "QRS" in viewing.notes(view)[0]


def test_measured_intervals_are_marked_at_each_beat(store: Store, tmp_path: Path) -> None:
    viewed = viewing.open_record(store, None, 0)
    assert isinstance(viewed, viewing.Viewed)
    lanes, m = viewing.measured_lanes(viewed), viewed.measurements
    assert {name.rstrip("?") for name in lanes} <= {"PR", "QRS", "QT"} and "QRS" in lanes
    found = delineate(viewed.signal, viewed.row.fs)
    assert len(lanes["QRS"]) == len(found.beat_at)
    for name, value in (("PR", m.pr_ms), ("QRS", m.qrs_ms), ("QT", m.qt_ms)):
        for begin, end in lanes.get(name, ()):
            assert value is not None and 1000 * (end - begin) == pytest.approx(value, abs=25)  # the median lead's
    for begin, end in lanes["QRS"]:
        assert (np.abs(found.r_peaks / viewed.row.fs - (begin + end) / 2) < 0.06).any()

    plain, marked = (viewing.draw_page(viewed, "3x4", 0.0, measured=measured) for measured in (False, True))
    assert marked.height - plain.height == LANE * len(lanes)
    brackets = marked.marks[len(plain.marks):]
    assert len(brackets) == sum(len(spans) for spans in lanes.values())
    first = lanes["QRS"][0][0]
    assert any(x[0] == pytest.approx(LEFT + 25 * first) for x, _ in brackets)
    later = viewing.draw_page(viewed, "3x4", 2.0, measured=True)
    inside = [x for x, _ in later.marks if x.min() >= LEFT]
    assert inside and all(x.max() <= LEFT + 250 for x in inside)
    with pytest.raises(MedReportError, match="--measured marks a page"):
        run(store.path, "--index", 0, "--measured")
    for more in ((), ("--measured",)):
        run(store.path, "--index", 0, "--out", tmp_path / f"{len(more)}.svg", *more)
    assert (tmp_path / "1.svg").read_text().count("QRS") > (tmp_path / "0.svg").read_text().count("QRS")


def test_beats_are_printed_as_json_and_as_the_text_of_prompts(store, capsys):
    run(store.path, store.column("record_id")[0], "--beats", "json")
    values = json.loads(capsys.readouterr().out)
    beats = Evidence(store).at(0).beats
    assert beats is not None and values == json.loads(json.dumps(beats.to_json())) and len(values["beats"]) > 5
    run(store.path, "--index", 0, "--beats", "gem")
    assert len(json.loads(capsys.readouterr().out)["V6"]) == 14
    for wrong in (["--beats", "xml"], ["--beats", "gem", "--json"], ["--beats", "gem", "--out", "a.png"]):
        with pytest.raises(MedReportError, match="--beats"):
            run(store.path, "--index", 0, *wrong)
