"""`medreport leaks`: patients and recordings that train shares with val or test."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from ptbxl_fixture import twelve_leads

from emgecg_cli.commands.leaks import leaks as leaks_command
from emgecg_cli.core.artifacts import RecordRow
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.leaks import EQUAL, NEAR, PATIENT, TEXT, find_leaks
from emgecg_cli.core.manifest import Manifest
from emgecg_cli.core.signals.fingerprint import fingerprint, signal_hash
from emgecg_cli.core.signals.leads import MISSING, to_int16_uv
from emgecg_cli.core.signals.resampling import resample
from emgecg_cli.core.store import make_shard, write_store, writer

LONG = "sinus rhythm with first degree block and a long text that nobody writes twice by chance"


@dataclass(frozen=True)
class Entry:
    """One record of a store: its patient, its split, its signal and text."""

    subject: str
    split: str
    signal: np.ndarray
    report: str = "sinus rhythm"
    record_id: str = ""
    kind: str = "physician"


def make(out: Path, entries: Sequence[Entry], dataset: str = "toy", fs: int = 100) -> Path:
    rows = [(RecordRow(entry.record_id or f"r{i}", entry.subject, entry.split, fs, entry.signal.shape[1], entry.report,
                       "", "en", [], "", 0, i, report_kind=entry.kind, recording_id=entry.record_id or f"r{i}",
                       signal_hash=signal_hash(entry.signal), fingerprint=fingerprint(entry.signal, fs)), entry.signal)
            for i, entry in enumerate(entries)]
    details = {"dataset": dataset, "fs": fs, "sig_len": entries[0].signal.shape[1]}
    write_store(out, identity={}, sizes=[len(rows)], job=lambda number: None,
                build=lambda number, _: make_shard(number, rows, [], {}),
                make_manifest=lambda written: Manifest("store", f"prepare {dataset}", {}, 0, {"records": len(rows)},
                                                       details=details))
    return out


def ecg(seed: int, fs: int = 100) -> np.ndarray:
    return twelve_leads(seed, fs)


def found(*paths: Path) -> list[tuple[str, str, str]]:
    return [(leak.kind, f"{Path(leak.store_a).name}/{leak.record_a}", f"{Path(leak.store_b).name}/{leak.record_b}")
            for leak in find_leaks(paths).leaks]


def test_a_clean_store_has_none(tmp_path: Path) -> None:
    store = make(tmp_path / "a", [Entry(f"p{i}", split, ecg(i))
                                  for i, split in enumerate(("train", "train", "val", "test"))])
    report = find_leaks([store])
    assert report.leaks == report.notes == []
    assert report.counts == {"train": 2, "val": 1, "test": 1, "without_fingerprint": 0, "compared_signals": 0,
                             PATIENT: 0, EQUAL: 0, NEAR: 0, TEXT: 0}


def test_recordings_shared_between_the_splits_of_one_store(tmp_path: Path) -> None:
    noisy = to_int16_uv(ecg(1) * 1.4 + np.random.default_rng(0).normal(0, 12, (12, 1000)))[0]
    store = make(tmp_path / "a", [
        Entry("p0", "train", ecg(0)), Entry("p1", "train", ecg(1)), Entry("p2", "train", ecg(0)),
        Entry("p3", "val", ecg(3)), Entry("p4", "test", ecg(0)), Entry("p5", "test", noisy),
        Entry("p6", "test", ecg(3)), Entry("p7", "test", noisy), Entry("p8", "train", ecg(8))])
    assert found(store) == [(EQUAL, "a/r0", "a/r4"), (EQUAL, "a/r3", "a/r6"),
                            (NEAR, "a/r1", "a/r5"), (NEAR, "a/r1", "a/r7")]
    near = find_leaks([store]).leaks[2]
    assert (near.split_a, near.split_b) == ("train", "test") and near.evidence.startswith("correlation ")


def test_across_stores_train_counts_against_val_and_test_only(tmp_path: Path) -> None:
    a = make(tmp_path / "a", [Entry("p0", "train", ecg(0, 500)), Entry("p1", "test", ecg(1, 500)),
                              Entry("p2", "train", ecg(2, 500)), Entry("p3", "test", ecg(3, 500))], fs=500)
    low = [resample(ecg(seed, 500), 500, 100)[0] for seed in range(4)]
    b = make(tmp_path / "b", [Entry("q0", "test", low[0]), Entry("q1", "train", low[1]), Entry("q2", "train", low[2]),
                              Entry("q3", "val", low[3])], "other")
    assert found(a) == found(b) == []
    assert found(a, b) == [(NEAR, "b/r1", "a/r1"), (NEAR, "a/r0", "b/r0")]
    assert sorted(found(b, a)) == sorted(found(a, b))


def test_patients_count_between_stores_of_the_same_dataset(tmp_path: Path) -> None:
    a = make(tmp_path / "a", [Entry("7", "train", ecg(0)), Entry("7", "train", ecg(1)), Entry("8", "test", ecg(2))])
    b = make(tmp_path / "b", [Entry("7", "test", ecg(3)), Entry("9", "train", ecg(4))])
    other = make(tmp_path / "c", [Entry("7", "test", ecg(5)), Entry("8", "train", ecg(6))], "other")
    assert found(a, other) == []
    assert found(a, b, other) == [(PATIENT, "a/r0", "b/r0")]
    assert find_leaks([a, b]).leaks[0].evidence == "patient 7: 2 records and 1 record"


def test_a_patient_in_two_splits_of_one_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "check_table", lambda records: None)  # `prepare` itself refuses to write it
    store = make(tmp_path / "a", [Entry("7", "train", ecg(0)), Entry("7", "val", ecg(1)), Entry("8", "val", ecg(2)),
                                  Entry("8", "test", ecg(3)), Entry("9", "train", ecg(4))])
    assert found(store) == [(PATIENT, "a/r0", "a/r1"), (PATIENT, "a/r2", "a/r3")]


def test_a_perturbed_copy_of_a_store_is_no_leak(tmp_path: Path) -> None:
    entries = [Entry(f"p{i}", split, ecg(i)) for i, split in enumerate(("train", "train", "val", "test"))]
    rng = np.random.default_rng(0)
    noisy = [Entry(one.subject, one.split, to_int16_uv(one.signal + rng.normal(0, 15, one.signal.shape))[0])
             for one in entries]
    assert found(make(tmp_path / "a", entries), make(tmp_path / "b", noisy)) == []


def test_near_fingerprints_of_other_recordings_raise_no_alarm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "fingerprint", lambda signal, fs: "0123456789abcdef" * 2)
    store = make(tmp_path / "a", [Entry(f"p{i}", "train" if i else "test", ecg(i)) for i in range(5)])
    report = find_leaks([store])
    assert report.leaks == [] and report.counts["compared_signals"] == 1


def test_flat_recordings_are_equal_to_nothing_and_counted(tmp_path: Path) -> None:
    empty = [np.zeros((12, 1000), np.int16), np.full((12, 1000), MISSING)]
    store = make(tmp_path / "a", [Entry(f"p{i}", split, empty[i % 2])
                                  for i, split in enumerate(("train", "train", "test", "test"))])
    report = find_leaks([store])
    assert report.leaks == [] and report.counts["without_fingerprint"] == 4


def test_equal_long_texts_are_a_note_where_they_are_unique(tmp_path: Path) -> None:
    common, template = LONG + " but for many", LONG + " of a template"
    store = make(tmp_path / "a", [
        Entry("p0", "train", ecg(0), LONG), Entry("p1", "test", ecg(1), LONG), Entry("p2", "train", ecg(2)),
        Entry("p3", "test", ecg(3)), Entry("p4", "train", ecg(4), common), Entry("p5", "test", ecg(5), common),
        Entry("p6", "test", ecg(6), common), Entry("p7", "train", ecg(7), template, kind="template"),
        Entry("p8", "test", ecg(8), template, kind="template")])
    report = find_leaks([store])
    assert report.leaks == [] and report.counts[TEXT] == 1
    assert [(note.kind, note.record_a, note.record_b) for note in report.notes] == [(TEXT, "r0", "r1")]


def test_what_is_no_store_or_given_twice_is_refused(tmp_path: Path) -> None:
    store = make(tmp_path / "a", [Entry("p0", "train", ecg(0))])
    for paths, message in (([tmp_path / "none"], "no such store"), ([store, tmp_path / "." / "a"], "given twice")):
        with pytest.raises(MedReportError, match=message):
            find_leaks(paths)


# The command

def call(*arguments: object) -> int:
    app = typer.Typer()
    app.command()(leaks_command)
    return app([str(argument) for argument in arguments], standalone_mode=False) or 0


def leaky(tmp_path: Path, n: int) -> Path:
    one = ecg(0)
    return make(tmp_path / "a", [Entry("p0", "train", one), *(Entry(f"q{i}", "test", one) for i in range(n))])


def test_the_command_shows_the_first_leaks_and_exits_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(leaky(tmp_path, 23)) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 20 + 1 and lines[-1].split("  ")[:2] == [EQUAL, "… and 3 more"]
    assert "a:r0" in lines[1] and "a:r1" in lines[1] and lines[1].endswith("all samples are the same")


def test_the_command_says_that_there_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(make(tmp_path / "a", [Entry("p0", "train", ecg(0)), Entry("p1", "test", ecg(1))])) == 0
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("no leaks: 1 train records share no patient and no recording with 1 val")


def test_the_command_says_that_there_was_nothing_to_compare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(make(tmp_path / "a", [Entry("p0", "test", ecg(0))])) == 0
    assert capsys.readouterr().err.startswith("warning: nothing to compare: 0 train records, 1 val and test records")


def test_the_command_prints_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(leaky(tmp_path, 1), "--json") == 1
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert report["counts"][EQUAL] == 1 and report["leaks"][0]["record_b"] == "r1" and report["notes"] == []


def test_the_only_store_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    leaky(tmp_path, 1)
    Path("stores").mkdir()
    shutil.move("a", "stores/a")
    assert call() == 1
