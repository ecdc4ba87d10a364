"""Noise as it was recorded: read from the records of a noise database, at the stated ratio, and kept in the view."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from store_helpers import prepare

from emgecg_cli.commands.app import run
from emgecg_cli.core.artifacts import PERTURBED, PerturbedRow, read_rows
from emgecg_cli.core.datasets import open_dataset
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.perturbations import perturb_store
from emgecg_cli.core.perturbations.recorded import RECORDS, excerpts, read_noise
from emgecg_cli.core.store import open_store
from emgecg_cli.core.verify import verify_artefact

HERTZ = {"bw": 0.5, "em": 4.0, "ma": 30.0}  # what each of the made records holds, and nothing else


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nstdb")
    time = np.arange(360 * 60) / 360
    for record, hertz in HERTZ.items():
        channels = [np.sin(2 * np.pi * hertz * time), np.cos(2 * np.pi * hertz * time)]
        (200 * np.stack(channels, axis=1) + 7).round().astype("<i2").tofile(folder / f"{record}.dat")
        line = f"{record}.dat 16 0 12 0 0 0 0 noise"
        (folder / f"{record}.hea").write_text(f"{record} 2 360 {len(time)}\n{line}1\n{line}2\n".replace(" 0 0 0 ", " "))
    return folder


@pytest.mark.parametrize("kind", RECORDS)
def test_noise_is_that_of_the_record_at_the_stated_ratio(kind: str, root: Path, tmp_path: Path) -> None:
    prepare(open_dataset("synthetic", 0, records=6), tmp_path / "clean")
    made = perturb_store(tmp_path / "clean", None, kind=kind, levels={"snr_db": 5.0}, noise_root=root)
    assert made.path.name == f"clean-{kind}-recorded-5"
    kept = shutil.copytree(root, tmp_path / "root")
    perturb_store(tmp_path / "clean", tmp_path / "copy", kind=kind, levels={"snr_db": 5.0}, noise_root=kept, copy=True)
    shutil.rmtree(kept)  # neither needs the recordings any more
    clean, view, copy = (open_store(path) for path in (tmp_path / "clean", made.path, tmp_path / "copy"))
    assert all(abs(row.snr_db - 5) < 0.1 for row in read_rows(made.path / PERTURBED, PerturbedRow))
    for i in range(6):
        np.testing.assert_array_equal(view.signal(i), copy.signal(i))
        noise = view.signal(i).astype(float) - clean.signal(i)
        assert np.abs(noise[0] + noise[2] - noise[1]).max() <= 2  # Einthoven's law, up to rounding
        power = np.abs(np.fft.rfft(noise - noise.mean(axis=1, keepdims=True), axis=1)) ** 2
        at = round(HERTZ[RECORDS[kind]] * 10)  # bins are 0.1 Hz in ten seconds
        assert power[:, max(1, at - 1):at + 2].sum() > 0.98 * power.sum()
    assert made.manifest.details["perturbation"]["noise"] == f"recorded: {RECORDS[kind]}"
    assert not verify_artefact(made.path).damaged
    modelled = perturb_store(tmp_path / "clean", None, kind=kind, levels={"snr_db": 5.0})
    assert modelled.path != made.path and not (modelled.path / "noise.npy").exists()
    np.save(made.path / "noise.npy", np.load(made.path / "noise.npy")[::-1])
    with pytest.raises(MedReportError, match=r"noise\.npy: was changed"):
        open_store(made.path).signal(0)


def test_what_cannot_be_had_is_said(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(open_dataset("synthetic", 0, records=2), tmp_path / "clean")
    line = ["perturb", str(tmp_path / "clean"), "--snr-db", "5", "--noise-root"]
    assert run([*line, str(root), "--kind", "gaussian"]) == 2
    assert "--noise-root has no effect on gaussian" in capsys.readouterr().err
    assert run([*line, str(tmp_path), "--kind", "muscle"]) == 2
    assert "no recorded noise can be read" in capsys.readouterr().err and not list(tmp_path.glob("clean-*"))


def test_electrodes_take_different_stretches_of_a_noise_that_may_be_shorter() -> None:
    noise = np.random.default_rng(0).integers(-500, 500, (2, 300)).astype(np.int16)
    drawn = excerpts(noise, 700, np.random.default_rng(1))
    assert drawn.shape == (9, 700) and np.abs(drawn.mean(axis=1)).max() < 1e-9
    assert len({row[:50].tobytes() for row in drawn}) == 9
    np.testing.assert_array_equal(drawn, excerpts(noise, 700, np.random.default_rng(1)))


def test_the_real_records_are_read(shared_data: Path) -> None:
    wander, muscle = (read_noise(shared_data / "nstdb", kind, 100) for kind in ("baseline-wander", "muscle"))
    assert wander.shape == muscle.shape == (2, 180556)
    slow = [np.abs(np.fft.rfft(noise[0]))[:int(0.02 * noise.shape[1])].sum() / np.abs(np.fft.rfft(noise[0])).sum()
            for noise in (wander, muscle)]  # below 2 Hz
    assert slow[0] > 2 * slow[1]
