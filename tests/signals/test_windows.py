"""Recordings of any length and rate become rows of one length and rate, and what was cut or padded is told."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from ptbxl_fixture import twelve_leads
from store_helpers import prepare

from emgecg_cli.core.artifacts import MachineIntervals, Measurements, QuarantineRow, read_rows
from emgecg_cli.core.config import PrepareConfig
from emgecg_cli.core.datasets import Recording, RecordRef, Source, open_dataset
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.signals.delineation import measure
from emgecg_cli.core.signals.leads import MISSING
from emgecg_cli.core.signals.resampling import resample
from emgecg_cli.core.signals.windows import window_starts
from emgecg_cli.core.store import Store, open_store
from emgecg_cli.core.store.payloads.recordings import OPEN_SHARDS

FS = 100


def long_leads(seconds: float, fs: int = FS, number: int = 1) -> np.ndarray:
    """Twelve leads of any length, each second unlike the others."""
    whole = np.concatenate([twelve_leads(number + i, fs) for i in range(int(seconds // 10) + 1)], axis=1)
    return np.ascontiguousarray(whole[:, : round(seconds * fs)])


def source_of(recordings: Sequence[Recording]) -> Source:
    by_id = {recording.ref.record_id: recording for recording in recordings}

    def read(refs: Sequence[RecordRef]) -> Iterator[Recording]:
        from dataclasses import replace
        for ref in refs:
            yield replace(by_id[ref.record_id], ref=ref)

    return Source("toy", lambda: iter([recording.ref for recording in recordings]), read, {})


def stored(tmp_path: Path, *recordings: Recording, **config: object) -> Store:
    prepare(source_of(recordings), tmp_path / "store", split="100/0/0", **config)
    return open_store(tmp_path / "store")


def recording(seconds: float, fs: int = FS, record_id: str = "a", **fields: object) -> Recording:
    return Recording(RecordRef(record_id, f"p-{record_id}", "file"), long_leads(seconds, fs), fs, "some report", "en",
                     **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("sig_len, policy, expected", [
    (1000, "first", [0]), (1000, "center", [0]), (1000, "all", [0]), (999, "center", [0]), (10, "all", [0]),
    (2501, "first", [0]), (2501, "center", [750]), (2501, "all", [0, 1000, 2000]), (2500, "all", [0, 1000, 2000]),
    (2499, "all", [0, 1000]), (3000, "all", [0, 1000, 2000]), (1499, "all", [0]),
])
def test_starts(sig_len: int, policy: str, expected: list[int]) -> None:
    assert window_starts(sig_len, 1000, policy) == expected


def test_first_and_center_of_a_long_recording(tmp_path: Path) -> None:
    whole = long_leads(25)
    first = stored(tmp_path / "f", recording(25))
    assert np.array_equal(first.signal(0), whole[:, :1000])
    row = first.row(0)
    assert (row.record_id, row.recording_id, row.start_s, row.n_cropped, row.n_padded) == ("a", "a", 0, 1500, 0)
    center = stored(tmp_path / "c", recording(25), window="center")
    assert np.array_equal(center.signal(0), whole[:, 750:1750])
    assert center.row(0).start_s == 7.5 and center.row(0).n_cropped == 1500


def test_all_windows_of_a_recording_stay_in_one_split(tmp_path: Path) -> None:
    many = [recording(10 + 5 * i, record_id=f"r{i}") for i in range(12)]
    result = prepare(source_of(many), tmp_path / "store", window="all", split="50/25/25")
    store = open_store(tmp_path / "store")
    sides: dict[str, set[str]] = {}
    for i in range(len(store)):
        row = store.row(i)
        sides.setdefault(row.recording_id, set()).add(row.split)
        whole = long_leads(10 + 5 * int(row.recording_id[1:]))
        start = round(row.start_s * FS)
        kept = whole[:, start:start + 1000]
        assert np.array_equal(store.signal(i)[:, :kept.shape[1]], kept)
        assert (store.signal(i)[:, kept.shape[1]:] == MISSING).all() and row.n_padded == 1000 - kept.shape[1]
    assert all(len(side) == 1 for side in sides.values()) and len(sides) == 12
    assert result.manifest.counts["recordings"] == 12 < result.manifest.counts["records"] == len(store)
    assert store.column("record_id")[:4].to_list() == ["r0", "r1#0", "r1#1", "r2#0"]


def test_a_short_recording_is_padded_with_missing_samples(tmp_path: Path) -> None:
    store = stored(tmp_path, recording(6.3))
    row, signal = store.row(0), store.signal(0)
    assert row.n_padded == 370 and row.n_missing == 0 and row.n_cropped == 0
    assert np.array_equal(signal[:, :630], long_leads(6.3)) and (signal[:, 630:] == MISSING).all()


@pytest.mark.parametrize("fs, rate", [(400, 100), (400, 500), (257, 100), (500, 100)])
def test_a_window_is_cut_at_its_own_rate_and_then_resampled(tmp_path: Path, fs: int, rate: int) -> None:
    store = stored(tmp_path, recording(23, fs), fs=rate, window="center", seconds=10)
    start = (long_leads(23, fs).shape[1] - 10 * fs) // 2
    expected, _ = resample(np.ascontiguousarray(long_leads(23, fs)[:, start:start + 10 * fs]), fs, rate)
    assert np.array_equal(store.signal(0), expected) and store.signal(0).shape == (12, 10 * rate)
    row = store.row(0)
    assert row.resampled_from == fs and row.fs == rate and abs(row.n_cropped - 13 * rate) <= 1


def test_absent_leads_machine_values_and_trimmed_padding_arrive(tmp_path: Path) -> None:
    signal = long_leads(10, 400)
    signal[4] = MISSING
    signal[0, [5, 6, 7]] = 32767
    machine = MachineIntervals(rr_ms=800.0, p_axis_deg=-12.0)
    given = Recording(RecordRef("a", "p", "f"), signal, 400, "text", None, ["x"], "template", "raw", 71.0, "F", machine,
                      ["aVL"], n_clipped=3, n_trimmed=96)
    row = stored(tmp_path, given).row(0)
    assert (row.absent_leads, row.n_missing, row.n_trimmed, row.n_clipped) == (["aVL"], 0, 24, 3)
    assert (row.machine, row.age, row.sex) == (machine, 71.0, "F")
    assert (row.report_raw, row.report_kind) == ("raw", "template")
    assert row.measurements is None


def test_columns_that_nobody_fills_are_not_there(tmp_path: Path) -> None:
    store = stored(tmp_path, recording(10))
    assert not {"machine_rr_ms", "pr_ms"} & set(store.scan().collect_schema().names())
    assert {*store[0], "offset", "checksum"} == {*store.scan().collect_schema().names(), "signal"}


def test_a_window_without_samples_in_a_lead_is_left_out(tmp_path: Path) -> None:
    signal = long_leads(30)
    signal[5, 1000:2000] = MISSING
    given = Recording(RecordRef("a", "p", "f"), signal, FS, "text", "en")
    store = stored(tmp_path / "all", given, window="all")
    assert [store.row(i).start_s for i in range(len(store))] == [0.0, 20.0]
    (left_out,) = read_rows(tmp_path / "all" / "store" / "quarantine.jsonl", QuarantineRow)
    assert (left_out.record_id, left_out.reason) == ("a#1", "nan lead")
    assert left_out.detail == "no sample in aVF from 10 s on"
    with pytest.raises(MedReportError, match=r"no record could be read \(nan lead: 1"):
        stored(tmp_path / "center", given, window="center")
    assert read_rows(tmp_path / "center" / "store" / "quarantine.jsonl", QuarantineRow)[0].reason == "nan lead"


@pytest.mark.parametrize("config, message", [
    ({"fs": 49}, "outside 50 to 2000"), ({"seconds": 0.5}, "not a whole number"), ({"seconds": 1.005}, "whole number"),
    ({"window": "last"}, "first, center, all"), ({"seconds": float("nan")}, "not a whole number"),
])
def test_wrong_settings_are_refused(config: dict[str, object], message: str) -> None:
    with pytest.raises(MedReportError) as caught:
        PrepareConfig(**config)  # type: ignore[arg-type]
    assert message in f"{caught.value.message} {caught.value.hint}"




def test_measurements_are_made_at_the_files_own_rate(tmp_path: Path) -> None:
    simulated = open_dataset("synthetic", 3, 500, records=6)
    prepare(simulated, tmp_path / "store", measure=True, fs=100)
    store = open_store(tmp_path / "store")
    for i, native in enumerate(simulated.read(list(simulated.listing()))):
        assert isinstance(native, Recording) and native.signal.shape == (12, 5000)
        assert store.row(i).measurements == measure(native.signal, 500) != measure(store.signal(i), 100)
    assert store.column("heart_rate_bpm").null_count() == 0


@pytest.mark.parametrize("fs", [60, 2000])
def test_rates_that_cannot_be_measured_as_they_are(tmp_path: Path, fs: int) -> None:
    row = stored(tmp_path, recording(10, fs), measure=True).row(0)
    assert row.measurements is not None and (fs > 1000 or row.measurements == Measurements())


def test_what_is_of_the_whole_recording_is_counted_once(tmp_path: Path) -> None:
    signal = long_leads(33)
    signal[2, [1500, 1501]] = 32767
    given = Recording(RecordRef("a", "p", "f"), signal, FS, "text", "en", n_clipped=2, n_trimmed=50)
    store = stored(tmp_path, given, window="all")
    assert [store.row(i).n_clipped for i in range(len(store))] == [0, 2, 0]
    assert [store.row(i).n_trimmed for i in range(len(store))] == [0, 0, 50]
    assert [store.row(i).n_cropped for i in range(len(store))] == [0, 0, 300]


def test_missing_samples_are_those_of_present_leads_within_the_recording(tmp_path: Path) -> None:
    signal = long_leads(7)
    signal[4], signal[8, 100:150] = MISSING, MISSING
    row = stored(tmp_path, Recording(RecordRef("a", "p", "f"), signal, FS, "text", "en", absent_leads=["aVL"])).row(0)
    assert (row.n_missing, row.n_padded) == (50, 300)


def test_samples_that_resampling_clips_are_counted(tmp_path: Path) -> None:
    signal = np.zeros((12, 5000), np.int16)
    signal[1, 2500:] = 32767  # the filter overshoots a step
    assert stored(tmp_path, Recording(RecordRef("a", "p", "f"), signal, 500, "text", "en")).row(0).n_clipped > 0


def test_any_number_of_shards_is_read_in_forked_workers_with_few_open_files(tmp_path: Path) -> None:
    recordings = [recording(1, record_id=f"r{i}") for i in range(300)]
    prepare(source_of(recordings), tmp_path / "store", seconds=1, shard_size=1, split="100/0/0")
    store = open_store(tmp_path / "store")
    open_files = len(list(Path("/proc/self/fd").iterdir()))
    assert [store[i]["record_id"] for i in range(300)] == [f"r{i}" for i in range(300)]
    assert len(list(Path("/proc/self/fd").iterdir())) - open_files <= OPEN_SHARDS < 300
    child = os.fork()
    if not child:  # pragma: no cover
        status = int(store.row(299).record_id != "r299" or store[7]["report"] != "some report")
        try:
            store.column("split")
        except RuntimeError:
            os._exit(status)
        os._exit(9)
    assert os.waitpid(child, 0)[1] == 0
