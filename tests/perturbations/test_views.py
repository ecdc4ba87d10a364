"""A perturbed store as a view: the samples a copy has, no signals of its own, one line where its original is gone."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars
import pytest
from manifests import change_manifest
from store_helpers import prepare

from emgecg_cli.commands.app import run
from emgecg_cli.core.artifacts import PERTURBED
from emgecg_cli.core.datasets import open_dataset
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.leaks import find_leaks
from emgecg_cli.core.perturbations import perturb_store
from emgecg_cli.core.signals.leads import MISSING
from emgecg_cli.core.store import Engine, Store, open_store
from emgecg_cli.core.store.views import CHANGED
from emgecg_cli.core.verify import verify_artefact

HALF = {"records": 0.5, "seed": 3}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A measured store, a view of it, a copy of the same, and a view of the view."""
    folder = tmp_path_factory.mktemp("views")
    prepare(open_dataset("synthetic", 0, records=24), folder / "clean", shard_size=64, measure=True)
    noise = {"kind": "gaussian", "levels": {"snr_db": 10.0}, **HALF}
    perturb_store(folder / "clean", folder / "view", **noise)
    perturb_store(folder / "clean", folder / "copy", copy=True, **noise)
    perturb_store(folder / "view", folder / "both", kind="meit-proportion", levels={"proportion": 0.4}, records=0.5)
    perturb_store(folder / "copy", folder / "both-copy", kind="meit-proportion", levels={"proportion": 0.4},
                  records=0.5, copy=True)
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "stores")


def signals(store: Store) -> np.ndarray:
    return np.stack([store.signal(i) for i in range(len(store))])


def test_samples_are_those_that_were_written_before_there_were_views(made: Path) -> None:
    """The noise of a record by its formula, from seed and id alone, and the very samples that a copy holds."""
    clean, view = open_store(made / "clean"), open_store(made / "view")
    hit = {row.split('"')[3] for row in (made / "view" / PERTURBED).read_text().splitlines()}
    assert len(hit) == 12
    for i in range(len(clean)):
        record_id, before = clean.row(i).record_id, clean.signal(i).astype(np.float64)
        if record_id not in hit:
            assert np.array_equal(view.signal(i), clean.signal(i))
            continue
        entropy = int.from_bytes(hashlib.sha256(f"noise:3:{record_id}".encode()).digest(), "big")
        values = np.where(before == MISSING, np.nan, before)
        sigma = np.nanstd(values, axis=1, keepdims=True) / 10 ** 0.5
        noise = np.random.Generator(np.random.PCG64(entropy)).standard_normal(values.shape)
        expected = np.rint(values + np.nan_to_num(sigma) * noise)
        assert np.nanmax(np.abs(np.where(before == MISSING, np.nan, view.signal(i)) - expected)) <= 1  # of rounding
    for one, other in (("view", "copy"), ("both", "both-copy")):
        assert np.array_equal(signals(open_store(made / one)), signals(open_store(made / other)))


def test_a_view_holds_no_signals_and_says_what_a_copy_says(made: Path) -> None:
    for one, other in (("view", "copy"), ("both", "both-copy")):
        view, copy = open_store(made / one), open_store(made / other)
        assert sorted(path.name for path in (made / one).iterdir()) == ["manifest.json", PERTURBED, CHANGED]
        assert (made / one / PERTURBED).read_bytes() == (made / other / PERTURBED).read_bytes()
        assert view.columns == copy.columns and view.manifest.counts == copy.manifest.counts
        assert [view.row(i) for i in range(len(view))] == [copy.row(i) for i in range(len(copy))]
        own = [name for name in view.columns if name not in ("n_beats", "st_uv") and not name.endswith(
            ("_ms", "_deg", "_bpm", "_quality", "_cv", "regular", "p_present"))]
        assert view.scan().select(own).collect().equals(copy.scan().select(own).collect())
        measured = view.scan().select("record_id", "n_beats").collect()
        hit = polars.read_parquet(made / one / CHANGED)["record_id"].implode()
        assert measured.filter(polars.col("record_id").is_in(hit))["n_beats"].null_count() == 12
    assert "before that gaussian, snr_db 10, in 12 records" in _said_of(made / "both")


def _said_of(path: Path) -> str:
    from emgecg_cli.core.store.perturbed import perturbation_of

    return perturbation_of(open_store(path)) or ""


def test_several_processes_draw_the_same_bytes(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    perturb_store(made / "clean", made / "two", kind="gaussian", levels={"snr_db": 10.0}, engine=Engine("local", 2),
                  **HALF)
    for name in (CHANGED, PERTURBED, "manifest.json"):
        assert (made / "two" / name).read_bytes() == (made / "view" / name).read_bytes()
    shutil.rmtree(made / "two")


def test_stores_that_move_together_stay_one_and_a_view_can_be_verified(place: Path) -> None:
    moved = place.rename(place.with_name("elsewhere"))
    found = verify_artefact(moved / "both")
    assert not found.damaged and not found.other and found.files > 9 and "was read as well" in found.note
    report = find_leaks([moved / "clean", moved / "view"])
    assert report.counts["without_fingerprint"] == 0


def _gone(place: Path) -> None:
    shutil.rmtree(place / "clean")


def _anew(place: Path) -> None:
    shutil.rmtree(place / "clean")
    prepare(open_dataset("synthetic", 1, records=24), place / "clean")


def _sealed(place: Path, change: Callable[[dict], None]) -> None:
    change_manifest(place / "view", change)


@pytest.mark.parametrize(("harm", "says"), [
    (_gone, "a view of the store .*clean, which is not there"),
    (_anew, "a view of the store .*clean, which has been made anew since"),
    (lambda place: (place / "view" / CHANGED).write_bytes(b"PAR1"), "was changed after it was finished"),
    (lambda place: _sealed(place, lambda values: values["details"]["view"].pop("seed")), "view.seed is missing"),
    (lambda place: _sealed(place, lambda values: values["details"]["view"].update(kind="rain")), "rain"),
])
def test_what_a_view_needs_and_lacks_is_one_line(place: Path, harm: Callable[[Path], object], says: str,
                                                  capsys: pytest.CaptureFixture[str]) -> None:
    harm(place)
    with pytest.raises(MedReportError, match=says) as error:
        open_store(place / "view")
    assert error.value.hint
    assert run(["view", str(place / "view"), "--index", "0"]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert verify_artefact(place / "view").damaged


def test_a_signal_that_is_drawn_otherwise_than_it_was_is_refused(place: Path) -> None:
    _sealed(place, lambda values: values["details"]["view"].update(level=9.0))
    store = open_store(place / "view")
    at = int(polars.read_parquet(place / "view" / CHANGED)["at"][0])
    with pytest.raises(MedReportError, match="drawn otherwise than when the view was made"):
        store.signal(at)
    assert len(verify_artefact(place / "view").damaged) == 12


def test_a_flipped_sample_of_the_original_is_seen_through_the_view(place: Path) -> None:
    shard = place / "clean" / "signals-00000.npy"
    data = bytearray(shard.read_bytes())
    at = int(polars.read_parquet(place / "view" / CHANGED)["at"][0])
    data[128 + at * 12 * 1000 * 2 + 1] ^= 1
    shard.write_bytes(data)
    with pytest.raises(MedReportError, match="was changed after it was stored"):
        open_store(place / "view").signal(at)
    assert verify_artefact(place / "view").damaged


def test_the_command_makes_views_unless_a_copy_is_asked_for(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = place / "typed"
    line = ["perturb", str(place / "clean"), "--kind", "gaussian", "--snr-db", "5", "--out", str(out), "--workers", "1"]
    assert run(line) == 0 and not (out / "records.parquet").exists()
    assert run(line) == 0 and "is finished already" in capsys.readouterr().err
    assert run([*line, "--copy"]) == 2 and "a finished view, which holds no signals" in capsys.readouterr().err
    shutil.rmtree(out)
    assert run([*line, "--copy"]) == 0 and (out / "signals-00000.npy").is_file()
    assert run(line) == 0 and "is finished already" in capsys.readouterr().err
    os.rename(place / "clean", place / "away")
    assert len(open_store(out).signal(3)) == 12


def test_a_disk_that_is_full_while_parts_are_put_together_is_no_damaged_part(
        place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: object) -> None:
        raise polars.exceptions.ComputeError("No space left on device (os error 28)")

    monkeypatch.setattr("emgecg_cli.core.perturbations.writing.merge_parts", full)
    with pytest.raises(MedReportError, match=r"cannot be written \(No space left on device\)") as told:
        perturb_store(place / "clean", place / "full", kind="gaussian", levels={"snr_db": 7.0})
    assert "remove the folder" not in str(told.value.hint)
    monkeypatch.undo()
    part = place / "full" / ".partial" / "part-00000.parquet"
    changed = polars.read_parquet(part).with_columns(polars.col("snr_db") + 1)  # readable, and not what was written
    changed.write_parquet(part)
    for name in ("full", "whole"):
        assert perturb_store(place / "clean", place / name, kind="gaussian", levels={"snr_db": 7.0}).path
    assert (place / "full" / CHANGED).read_bytes() == (place / "whole" / CHANGED).read_bytes()
