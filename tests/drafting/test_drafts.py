"""Drafts: the same from every format, written once, held against the recording, and shown as pages."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from emg_store import short
from etm_fixture import write_download
from hospital_files import WRITERS
from pipeline import interrupted_after

from emgecg_cli.commands.app import run as command
from emgecg_cli.core.datasets import open_dataset
from emgecg_cli.core.datasets.formats.recording_files import Stated
from emgecg_cli.core.drafting import NOT_A_DIAGNOSIS, Asked, Draft, Drafted, draft_reports
from emgecg_cli.core.drafting.asked import Refused, Target, recordings_asked
from emgecg_cli.core.drafting.draft import draft_of_file, paragraphs
from emgecg_cli.core.drafting.page import drafts_page
from emgecg_cli.core.drafting.pdf import drafts_pdf
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.generation.reports import Reporter
from emgecg_cli.core.signals.leads import LEADS
from emgecg_cli.core.view_file import view_file

FS = 500
STATED = Stated(FS, "uV", LEADS)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One simulated recording in every format, and a file that is none."""
    folder = tmp_path_factory.mktemp("files")
    source = open_dataset("synthetic", 5, records=2, fs=FS)
    signal = next(iter(source.read(list(source.listing())))).signal
    for write in WRITERS.values():
        write(folder, np.asarray(signal), FS)
    (folder / "bad.xml").write_text("<RestingECG><Waveform></RestingECG>")
    return folder


@pytest.fixture(scope="module")
def drafted(short_run: Path, files: Path) -> Drafted:
    return draft_reports(short_run, Asked([files], STATED, max_new_tokens=12))


def test_every_format_gives_the_draft_and_the_measurements_of_the_wfdb_original(drafted: Drafted) -> None:
    by_file = {Path(one.file).name: one for one in drafted.drafts}
    assert len(by_file) == len(WRITERS)
    original = by_file["wfdb.hea"]
    assert original.measurements is not None and original.measurements.heart_rate_bpm and original.text
    for name, one in by_file.items():
        if name == "muse.xml":  # whose derived leads are rounded anew
            assert one.measurements is not None and "computed from other limb leads" in one.checks[0]
            for what in ("heart_rate_bpm", "pr_ms", "qrs_ms", "qt_ms", "qrs_axis_deg"):
                mine, theirs = getattr(one.measurements, what), getattr(original.measurements, what)
                assert mine == pytest.approx(theirs, abs=1.0), what
        else:
            assert (one.measurements, one.text, one.facts) == (original.measurements, original.text, original.facts)
        samples = one.samples()
        assert samples is not None and samples.shape == (12, 10 * FS) and samples.dtype == np.int16


def test_what_cannot_be_read_is_a_line_and_the_others_go_on(drafted: Drafted, files: Path) -> None:
    assert [Path(one.file).name for one in drafted.refused] == ["bad.xml"]
    assert "malformed XML" in drafted.refused[0].why and "\n" not in drafted.refused[0].why


def test_drafts_that_are_kept_are_not_written_again(short_run: Path, files: Path, tmp_path: Path,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked([files / "csv.csv", files / "scp.scp", files / "edf.edf"], max_new_tokens=12)
    with pytest.raises(KeyboardInterrupt), interrupted_after(2):
        draft_reports(short_run, asked, tmp_path / "kept")
    cut = (tmp_path / "kept").read_bytes()
    assert cut.count(b"\n") == 2
    (tmp_path / "kept").write_bytes(cut + b'{"key": "torn')
    again = draft_reports(short_run, asked, tmp_path / "kept")
    whole = draft_reports(short_run, asked, tmp_path / "whole")
    assert (again.written, whole.written) == (1, 3)
    assert (tmp_path / "kept").read_bytes() == (tmp_path / "whole").read_bytes()
    assert drafts_page(again) == drafts_page(whole) and drafts_pdf(again) == drafts_pdf(whole)
    with monkeypatch.context() as patch:
        patch.setattr(Reporter, "rows", None)
        kept = draft_reports(short_run, asked, tmp_path / "kept")
        assert kept.written == 0 and drafts_page(kept) == drafts_page(whole)
        moved = tmp_path / "moved.scp"
        moved.write_bytes((files / "scp.scp").read_bytes())
        assert draft_reports(short_run, replace(asked, files=[moved]), tmp_path / "kept").drafts[0].file == str(moved)
    changed = tmp_path / "csv.csv"
    changed.write_text((files / "csv.csv").read_text().replace("\n0.0020,", "\n0.0020,1", 1))
    assert draft_reports(short_run, replace(asked, files=[changed]), tmp_path / "kept").written == 1
    longer = replace(asked, files=asked.files[:1], max_new_tokens=13)
    assert draft_reports(short_run, longer, tmp_path / "kept").written == 1


def test_a_draft_that_the_waveform_contradicts_says_so_everywhere(files: Path) -> None:
    view = view_file(files / "edf.edf")
    rate = round(view.measurements.heart_rate_bpm or 0)
    draft = draft_of_file("edf.edf", view, f"Sinus rhythm. Ventricular rate {rate + 60} bpm. <b>", False, "a")
    assert [one.claim for one in draft.contradicted] == [f"rate {rate + 60} /min"]
    assert f"Contradicted by the recording: rate {rate + 60} /min (measured: rate {rate} /min)" in paragraphs(draft)
    page = drafts_page(Drafted("a", [draft], [], 1)).decode()
    assert f"{NOT_A_DIAGNOSIS}." in page and "<li class=contradicted>" in page and "&lt;b&gt;" in page
    assert draft.told()["notice"] == NOT_A_DIAGNOSIS and paragraphs(draft)[0].startswith(NOT_A_DIAGNOSIS)
    right = draft_of_file("edf.edf", view, f"Ventricular rate {rate} bpm.", False, "a")
    assert not right.contradicted


def test_a_pdf_has_a_page_for_each_draft_and_more_where_the_words_need_it(drafted: Drafted) -> None:
    one = replace(drafted, drafts=drafted.drafts[:1], refused=[])
    assert drafts_pdf(one) == drafts_pdf(one) and pages(one) == 1
    long = replace(one.drafts[0], text="st depression in lateral leads. " * 300)
    assert pages(replace(one, drafts=[long])) >= 3
    assert pages(replace(one, refused=drafted.refused)) == 2


def pages(drafted: Drafted) -> int:
    content = drafts_pdf(drafted)
    assert content.startswith(b"%PDF")
    return content.count(b"/Type /Page ")


def test_the_command_prints_writes_and_tells_with_its_status(short_run: Path, files: Path, tmp_path: Path,
                                                             capsys: pytest.CaptureFixture[str],
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["report", str(short_run), str(files / "wfdb"), "--max-new-tokens", "12"]
    assert command(words) == 0
    out = capsys.readouterr().out
    assert NOT_A_DIAGNOSIS in out and "Measured: heart rate" in out and "10 s" in out and "25 mm/s" not in out
    page = tmp_path / "drafts.html"
    assert command([*words, str(files / "bad.xml"), "--out", str(page), "--json"]) == 1
    said = capsys.readouterr()
    told = json.loads(said.out)
    assert [one["notice"] for one in told["reports"]] == [NOT_A_DIAGNOSIS] and len(told["refused"]) == 1
    assert told["reports"][0]["measurements"]["heart_rate_bpm"] and "not read" in said.err
    assert NOT_A_DIAGNOSIS in page.read_text() and "<svg" in page.read_text()
    assert command([*words, "--out", str(tmp_path / "a.txt")]) == 2
    assert command(["report", str(tmp_path / "none"), str(files / "wfdb")]) == 2
    monkeypatch.chdir(tmp_path)
    assert command(["report", str(files / "edf.edf"), "gone.csv", "--json"]) == 2
    assert "no run under runs/" in capsys.readouterr().err
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/mine").symlink_to(short_run)
    assert command(["report", str(files / "edf.edf"), "gone.csv", "--json", "--max-new-tokens", "2"]) == 1
    said = capsys.readouterr()
    assert "using runs/mine" in said.err and "gone.csv: no such file" in said.err
    assert [one["file"] for one in json.loads(said.out)["reports"]] == [str(files / "edf.edf")]


def test_view_draws_a_file_and_tells_what_is_measured_on_it(files: Path, tmp_path: Path, drafted: Drafted,
                                                           capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "a.png"
    assert command(["view", str(files / "dicom.dcm"), "--out", str(page), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    same = next(one for one in drafted.drafts if one.file.endswith("dicom.dcm")).measurements
    assert same is not None and told["measurements"]["qt_ms"] == same.qt_ms and page.read_bytes()[:4] == b"\x89PNG"
    assert command(["view", str(files / "dicom.dcm"), "--start", "4"]) == 0
    said = capsys.readouterr().out
    assert "from 4 s of recording" in said and "split" not in said
    assert command(["view", str(files / "bad.xml")]) == 2
    assert command(["view", str(files / "wfdb"), "--start", "99"]) == 2


@pytest.fixture(scope="module")
def tables_run(tables: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a few steps on tables."""
    from emgecg_cli.core.training.run import train

    path = tmp_path_factory.mktemp("runs") / "tables"
    train(tables[1], path, short(steps=1, stage1_steps=1))
    return path


def test_tables_are_drafted_beside_the_ranges_the_run_was_trained_with(tables_run: Path, tmp_path: Path) -> None:
    root = write_download(tmp_path / "etm", {"train": (1, 0), "validation": (1, 0), "test": (1, 1)})
    file = next(path for path in sorted(root.rglob("*")) if path.is_file() and "test" in path.name)
    asked = Asked([file, tmp_path / "nowhere.csv"], max_new_tokens=8)
    found = draft_reports(tables_run, asked, tmp_path / "kept")
    assert len(found.drafts) == 2 and [one.why for one in found.refused] == ["no such file"]
    draft: Draft = found.drafts[0]
    assert draft.tables is not None and draft.tables.tables and draft.measurements is None and draft.samples() is None
    assert draft_reports(tables_run, asked, tmp_path / "kept").written == 0
    page = drafts_page(found)
    assert page == drafts_page(draft_reports(tables_run, asked, tmp_path / "kept")) and b"<table class=values>" in page
    with pytest.raises(MedReportError):
        draft_reports(tables_run, replace(asked, references=tmp_path / "none.json"))


def test_a_link_that_is_named_is_read_and_one_that_leads_out_of_a_folder_is_not(files: Path,
                                                                              tmp_path: Path) -> None:
    (tmp_path / "inbox").mkdir()
    link = tmp_path / "inbox" / "a.csv"
    link.symlink_to(files / "csv.csv")
    assert view_file(link).dataset == "CSV"
    found = list(recordings_asked([link, tmp_path / "inbox"], STATED))
    assert isinstance(found[0], Target) and len(found) == 1  # the same name, asked for twice
    (refused,) = recordings_asked([tmp_path / "inbox"], STATED)
    assert isinstance(refused, Refused) and refused.why.startswith("path outside root")
