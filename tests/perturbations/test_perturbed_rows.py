"""What a perturbed store says of its signals is of the signals as they are now."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pytest
from manifests import change_manifest, make_old

from emgecg_cli.commands import app
from emgecg_cli.core.artifacts import PERTURBED, MachineIntervals, PerturbedRow, RecordRow, read_rows
from emgecg_cli.core.config import PrepareConfig
from emgecg_cli.core.datasets import open_dataset
from emgecg_cli.core.manifest import file_hashes
from emgecg_cli.core.perturbations import perturb_store
from emgecg_cli.core.signals.delineation import measure
from emgecg_cli.core.signals.fingerprint import fingerprint, signal_hash
from emgecg_cli.core.signals.leads import LARGEST_UV
from emgecg_cli.core.signals.quality import check_signal
from emgecg_cli.core.store import open_store, prepare_store
from emgecg_cli.core.store.perturbed import perturbation_of

# what does not depend on the samples
KEPT = ("record_id", "subject_id", "split", "fs", "sig_len", "report", "report_raw", "language", "codes", "source",
        "report_kind", "recording_id", "start_s", "age", "sex", "n_missing", "n_trimmed", "n_cropped", "n_padded",
        "absent_leads", "resampled_from", "sections", "reading", "shard", "row")


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A measured store, and the same under noise of -10 dB in half of its records."""
    folder = tmp_path_factory.mktemp("perturbed")
    source = open_dataset("synthetic", 0, 250, records=12)
    with_machine = replace(source, read=lambda refs: (replace(one, machine=MachineIntervals(qrs_axis_deg=30.0))
                                                      for one in source.read(refs)))
    prepare_store(with_machine, folder / "clean", PrepareConfig(fs=250, measure=True))
    perturb_store(folder / "clean", folder / "noisy", kind="gaussian", levels={"snr_db": -10.0}, records=0.5)
    perturb_store(folder / "clean", folder / "copy", kind="gaussian", levels={"snr_db": -10.0}, records=0.5, copy=True)
    return folder / "clean", folder / "noisy"


def hit_rows(stores: tuple[Path, Path]) -> list[tuple[int, RecordRow, RecordRow]]:
    clean, noisy = open_store(stores[0]), open_store(stores[1])
    ids = {row.record_id for row in read_rows(stores[1] / PERTURBED, PerturbedRow)}
    assert len(ids) == 6
    return [(i, clean.row(i), noisy.row(i)) for i in range(len(clean)) if clean.row(i).record_id in ids]


def test_every_field_of_a_row_is_kept_or_of_the_new_signal(stores: tuple[Path, Path]) -> None:
    noisy = open_store(stores[1])
    for i, before, after in hit_rows(stores):
        signal = noisy.signal(i)
        of_signal = vars(check_signal(signal, 250)) | {
            "signal_hash": signal_hash(signal), "fingerprint": fingerprint(signal, 250), "machine": None,
            "measurements": measure(signal, 250),
            "n_clipped": int((np.abs(signal.astype(np.int32)) == LARGEST_UV).sum())}
        assert {field.name for field in fields(RecordRow)} == {*KEPT, *of_signal}
        for name, value in of_signal.items():
            assert getattr(after, name) == value, name
        assert all(getattr(after, name) == getattr(before, name) for name in KEPT)
        assert after.signal_hash != before.signal_hash and after.measurements != before.measurements


def test_records_that_were_not_hit_keep_all_they_had(stores: tuple[Path, Path]) -> None:
    clean, noisy = open_store(stores[0]), open_store(stores[1])
    hit = {i for i, _, _ in hit_rows(stores)}
    untouched = [i for i in range(len(clean)) if i not in hit]
    assert len(untouched) == 6 and all(clean.row(i) == noisy.row(i) for i in untouched)


def test_the_manifest_counts_the_new_flags_and_says_nothing_of_the_old_ones(stores: tuple[Path, Path]) -> None:
    noisy = open_store(stores[1])
    suspect = noisy.column("lead_check").str.starts_with("suspect").sum()
    assert noisy.manifest.counts["lead_suspect"] == suspect > open_store(stores[0]).manifest.counts["lead_suspect"]
    assert noisy.manifest.counts["records"] == 12 and "honesty" not in noisy.manifest.details


def test_view_measures_what_it_draws(stores: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    i, before, after = hit_rows(stores)[0]
    assert app.run(["view", str(stores[1]), "--index", str(i)]) == 0
    said = capsys.readouterr().out
    assert "Perturbed: gaussian, snr_db -10: -10." in said and before.measurements and after.measurements
    assert f"heart rate {before.measurements.heart_rate_bpm:.0f}/min" not in said
    assert app.run(["view", str(stores[1]), "--index", str(i), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["measurements"] == asdict(after.measurements)
    other = next(j for j in range(12) if j not in {k for k, _, _ in hit_rows(stores)})
    assert app.run(["view", str(stores[1]), "--index", str(other)]) == 0
    assert "Perturbed" not in capsys.readouterr().out


def test_a_store_that_is_perturbed_twice_says_both(
        stores: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    twice = perturb_store(stores[1], tmp_path / "twice", kind="meit-proportion", levels={"proportion": 0.1},
                          records=0.5, seed=1).path
    store, earlier = open_store(twice), "; before that gaussian, snr_db -10, in 6 records"
    assert perturbation_of(store) == f"meit-proportion, proportion 0.1{earlier}"
    ids = {row.record_id for row in read_rows(twice / PERTURBED, PerturbedRow)}
    for i in range(len(store)):
        assert app.run(["view", str(twice), "--index", str(i)]) == 0
        said = " ".join(capsys.readouterr().out.split())
        hit = store.row(i).record_id in ids
        assert f"Perturbed: {'meit-proportion, proportion 0.1' if hit else 'not hit'}{earlier}" in said
    assert perturbation_of(open_store(stores[0])) is None


def test_an_older_perturbed_store_is_described_and_measured_when_it_is_viewed(
        stores: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One that has the hashes, checks and measurements of the clean recordings."""
    import shutil

    i, before, after = hit_rows(stores)[0]
    old = shutil.copytree(stores[1].with_name("copy"), tmp_path / "old")
    for name in ("records.parquet", "rows-00000.jsonl"):
        shutil.copy(stores[0] / name, old / name)
    table = polars.read_parquet(old / "records.parquet").drop("checksum")
    table.write_parquet(old / "records.parquet")
    make_old(old)

    def change(values: dict[str, Any]) -> None:
        values["details"]["files"].update(file_hashes(old, ["records.parquet"]))

    change_manifest(old, change, seal=False)
    assert open_store(old).row(i).measurements == before.measurements
    assert app.run(["view", str(old), "--index", str(i), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["measurements"] == asdict(after.measurements) and shown["measured_now"]
    assert shown["signal_hash"] == after.signal_hash and shown["machine"] is None
