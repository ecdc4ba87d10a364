"""Damage is seen: every flipped bit of every file of an artefact, where it is read and by `verify`."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pytest
from manifests import change_manifest, make_old
from pipeline import contents, make_inputs, short_config

from emgecg_cli.commands import app
from emgecg_cli.core.artifacts import InstructionRow, read_rows
from emgecg_cli.core.config import GenerateConfig, PrepareConfig
from emgecg_cli.core.datasets import open_dataset
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.generation import generate_reports
from emgecg_cli.core.instructions.build import open_instructions
from emgecg_cli.core.manifest import file_hashes, manifest_path, read_manifest
from emgecg_cli.core.models.run_files import load_run
from emgecg_cli.core.store import open_store, prepare_store
from emgecg_cli.core.training.run import train
from emgecg_cli.core.verify import verify_artefact


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store, instructions, a run, predictions, and a store of tables."""
    folder = tmp_path_factory.mktemp("made")
    store, instructions = make_inputs(folder, 40)
    train(instructions, folder / "runs/a", short_config(steps=2), store_path=store)
    (folder / "predictions").mkdir()
    generate_reports(folder / "runs/a", folder / "predictions/p.jsonl", GenerateConfig(limit=4, max_new_tokens=6))
    prepare_store(open_dataset("synthetic-emg", 0, records=30), folder / "stores/tables", PrepareConfig())
    return folder


def use_store(path: Path) -> None:
    """Read all there is in a store."""
    store = open_store(path)
    for index in range(len(store)):
        store.row(index), store[index]


def use_run(path: Path) -> None:
    import torch

    load_run(path, torch.device("cpu"))


USE: dict[str, Callable[[Path], object]] = {
    "stores/synthetic": use_store, "stores/tables": use_store, "instructions/synthetic": open_instructions,
    "runs/a": use_run, "predictions/p.jsonl": lambda path: app.run(["score", str(path), "--metric", "bleu"]),
}


def files_of(artefact: Path) -> list[Path]:
    if artefact.is_file():
        return [artefact, manifest_path(artefact)]
    return sorted(path for path in artefact.rglob("*") if path.is_file() and path.stat().st_size)


def flip(path: Path, rng: np.random.Generator) -> bytes:
    """Flip one bit of a file; returns what it held."""
    before = path.read_bytes()
    data = bytearray(before)
    data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    path.write_bytes(bytes(data))
    return before


def refused(use: Callable[[Path], object], artefact: Path) -> bool:
    try:
        return use(artefact) == 2
    except MedReportError as error:
        assert error.hint or error.message
        return True


@pytest.mark.parametrize("name", USE)
def test_a_flipped_bit_in_any_file_is_refused_and_verify_names_it(made: Path, name: str, monkeypatch: Any) -> None:
    monkeypatch.chdir(made)
    rng = np.random.default_rng(len(name))
    assert not verify_artefact(Path(name)).damaged and not refused(USE[name], Path(name))
    for path in files_of(Path(name)):
        for _ in range(2 if path.suffix in (".npy", ".jsonl", ".safetensors") else 1):
            before = flip(path, rng)
            assert refused(USE[name], Path(name)), path
            assert [damage.file for damage in verify_artefact(Path(name)).damaged] == [path.as_posix()]
            path.write_bytes(before)


def test_verify_reads_what_it_is_given_and_ends_with_1_where_something_was_changed(
        made: Path, monkeypatch: Any, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(made)
    assert app.run(["verify"]) == 0
    said = capsys.readouterr()
    assert said.out.count("as written") == len(said.out.splitlines()) - 1 >= 5 and not said.err
    before = flip(Path("stores/synthetic/signals-00000.npy"), np.random.default_rng(0))
    assert app.run(["verify", "stores/synthetic/manifest.json", "predictions/p.jsonl.manifest.json", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [one["kind"] for one in found] == ["store", "predictions"]
    assert [damage["file"] for damage in found[0]["damaged"]] == ["stores/synthetic/signals-00000.npy"]
    Path("stores/synthetic/signals-00000.npy").write_bytes(before)
    assert app.run(["verify", "stores/none"]) == 2 and "no such artefact" in capsys.readouterr().err
    Path("stores/synthetic/notes.txt").write_text("mine")
    assert app.run(["verify", "stores/synthetic"]) == 0
    assert "no hash covers notes.txt" in capsys.readouterr().err
    Path("stores/synthetic/notes.txt").unlink()


def test_prepare_verifies_what_it_made_and_what_was_there(tmp_path: Path, monkeypatch: Any,
                                                          capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    typed = ["prepare", "synthetic", "--records", "20", "--verify"]
    assert app.run(typed) == 0 and "as written" in capsys.readouterr().out
    path = Path("stores/synthetic/signals-00000.npy")
    flip(path, np.random.default_rng(1))
    assert app.run([*typed, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["verified"]["damaged"][0]["file"] == path.as_posix()


def test_a_file_of_zeros_is_no_store_of_signals(made: Path, tmp_path: Path) -> None:
    store = shutil.copytree(made / "stores/synthetic", tmp_path / "s")
    path = store / "signals-00000.npy"
    signals = np.load(path)
    np.save(path, np.zeros_like(signals))
    with pytest.raises(MedReportError, match="row 3 was changed after it was stored"):
        open_store(store).signal(3)


def test_a_recording_that_never_changes_has_a_checksum_as_well(tmp_path: Path) -> None:
    from toy_store import make_store

    path = make_store(tmp_path / "s", ["a", "b"]) / "signals-00000.npy"
    assert open_store(tmp_path / "s").column("signal_hash").to_list() == ["", ""]
    np.save(path, np.full_like(np.load(path), 7))
    with pytest.raises(MedReportError, match=r"signals-00000.npy: the signal of row 1 was changed"):
        open_store(tmp_path / "s").signal(1)


def test_an_edited_report_in_the_rows_is_refused(made: Path, tmp_path: Path) -> None:
    store = shutil.copytree(made / "stores/synthetic", tmp_path / "s")
    path = store / "rows-00000.jsonl"
    path.write_bytes(path.read_bytes().replace(b"rhythm", b"rhythn", 1))
    with pytest.raises(MedReportError, match=r"rows-00000.jsonl: was changed"):
        open_store(store).row(0)


def test_older_artefacts_still_open_and_verify_says_how_they_were_checked(made: Path, tmp_path: Path) -> None:
    store = shutil.copytree(made / "stores/synthetic", tmp_path / "s")
    make_old(store)
    table = polars.read_parquet(store / "records.parquet").drop("checksum")
    table.write_parquet(store / "records.parquet")
    change_manifest(store, lambda values: values["details"]["files"].update(
        file_hashes(store, ["records.parquet"])), seal=False)
    use_store(store)
    found = verify_artefact(store)
    assert not found.damaged and "before the files of shards were hashed" in found.note
    rows = store / "rows-00000.jsonl"
    before = rows.read_bytes()
    rows.write_bytes(before.replace(b"rhythm", b"rhythn", 1))
    assert [(one.file, one.what) for one in verify_artefact(store).damaged] == [
        (rows.as_posix(), "row 0 is not the one in records.parquet")]
    rows.write_bytes(before)
    flip(store / "signals-00000.npy", np.random.default_rng(2))
    assert len(verify_artefact(store).damaged) == 1
    instructions = shutil.copytree(made / "instructions/synthetic", tmp_path / "i")
    make_old(instructions)
    assert open_instructions(instructions).rows and verify_artefact(instructions).note


@pytest.mark.parametrize("change", [
    lambda values: values["details"].update(fs=500), lambda values: values.update(seed=7),
    lambda values: values["counts"].update(records=41), lambda values: values["details"].pop("shards"),
    lambda values: values.pop("content_hash"), lambda values: values["arguments"].update(extra=1)])
def test_a_changed_manifest_is_refused(made: Path, tmp_path: Path, change: Any) -> None:
    store = shutil.copytree(made / "stores/synthetic", tmp_path / "s")
    change_manifest(store, change, seal=False)
    with pytest.raises(MedReportError, match=r"manifest.json: was changed after it was written"):
        open_store(store)


WRONG = [("details", "fs", "100"), ("details", "fs", float("inf")), ("details", "fs", 0), ("details", "fs", None),
         ("details", "fs", -1), ("details", "fs", True), ("details", "sig_len", 1e300), ("details", "files", []),
         ("details", "files", {"card.md": 3}), ("details", "shards", "no"), ("details", "dataset", 5),
         ("counts", "records", "40"), ("inputs", "store", "x"), ("inputs", "store", {"path": 1, "hash": "x"})]


@pytest.mark.parametrize(("section", "name", "value"), WRONG)
def test_fields_of_another_type_are_one_line(made: Path, tmp_path: Path, section: str, name: str, value: Any,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    store = shutil.copytree(made / "stores/synthetic", tmp_path / "s")
    change_manifest(store, lambda values: values[section].__setitem__(name, value))
    assert app.run(["view", str(store), "--index", "0"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and "manifest.json" in said[0] and "bug" not in said[0]


@pytest.mark.parametrize("name", ["kind", "command", "arguments", "seed", "counts", "inputs", "details", "versions",
                                  "format_version", "content_hash"])
@pytest.mark.parametrize("value", [17.5, ["x"], "text", None, {"a": 1}])
@pytest.mark.parametrize("artefact", ["stores/synthetic", "runs/a"])
def test_any_field_of_any_type_is_read_or_refused(made: Path, tmp_path: Path, artefact: str, name: str,
                                                  value: Any) -> None:
    path = tmp_path / "x"
    path.mkdir()
    shutil.copy(made / artefact / "manifest.json", path)
    change_manifest(path, lambda values: values.__setitem__(name, value))
    try:
        manifest = read_manifest(path, artefact.partition("s/")[0])
    except MedReportError as error:
        assert len(error.message.splitlines()) == 1
    else:
        assert isinstance(manifest.details, dict) and isinstance(manifest.counts, dict)


@pytest.mark.parametrize("field", ["model", "fs", "sig_len", "dataset", "machine", "turn", "trains", "files"])
@pytest.mark.parametrize("value", ["text", [], 3.5, None, {"encoder": 5}])
def test_a_run_with_odd_fields_is_one_line(made: Path, tmp_path: Path, field: str, value: Any,
                                           capsys: pytest.CaptureFixture[str]) -> None:
    run = shutil.copytree(made / "runs/a", tmp_path / "runs/a")
    shutil.copytree(made / "instructions", tmp_path / "instructions")
    (tmp_path / "stores").symlink_to(made / "stores")
    if (field, value) in (("dataset", "text"), ("turn", None), ("trains", None), ("trains", [])):
        return  # may be so
    change_manifest(run, lambda values: values["details"].__setitem__(field, value))
    assert app.run(["generate", str(run), "--out", str(tmp_path / "p.jsonl"), "--limit", "1"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert "bug" not in said[0] and len(said) <= 2


# A folder that somebody sent

@pytest.mark.parametrize("named", ["/dev/zero", "../../secret", "/etc/hostname", "..", "", "a/../../b", "nul\0"])
def test_files_outside_of_an_artefact_are_not_read(made: Path, tmp_path: Path, named: str) -> None:
    store = shutil.copytree(made / "stores/synthetic", tmp_path / "s")
    (tmp_path.parent / "secret").write_text("x")
    change_manifest(store, lambda values: values["details"]["files"].__setitem__(named, "0" * 64))
    with pytest.raises(MedReportError, match="lies outside of it"):
        open_store(store)
    assert "lies outside" in verify_artefact(store).damaged[0].what


@pytest.mark.parametrize("artefact", ["stores/synthetic", "stores/tables", "instructions/synthetic", "runs/a"])
@pytest.mark.parametrize("kind", ["fifo", "device", "link out", "link round"])
def test_what_is_no_plain_file_is_refused_in_place_of_any_file(made: Path, tmp_path: Path, artefact: str,
                                                               kind: str) -> None:
    (tmp_path / "secret").write_text("x")
    for number, file in enumerate(files_of(made / artefact)):
        path = tmp_path / str(number)
        shutil.copytree(made / artefact, path)
        at = path / file.relative_to(made / artefact)
        if at.name == "manifest.json":
            continue
        at.unlink()
        if kind == "fifo":
            os.mkfifo(at)
        else:
            at.symlink_to({"device": "/dev/zero", "link out": tmp_path / "secret", "link round": at}[kind])
        with pytest.raises(MedReportError, match=r"neither a plain file|leads out|cannot be read"):
            USE[artefact](path)
        shutil.rmtree(path)


def test_a_link_inside_an_artefact_and_one_to_it_are_followed(made: Path, tmp_path: Path) -> None:
    store = shutil.copytree(made / "stores/synthetic", tmp_path / "s")
    (store / "kept").mkdir()
    (store / "signals-00000.npy").rename(store / "kept/x.npy")
    (store / "signals-00000.npy").symlink_to("kept/x.npy")
    (tmp_path / "link").symlink_to(store)
    use_store(tmp_path / "link")


def test_an_unfinished_store_with_a_flipped_bit_is_mended_when_it_is_gone_on_with(tmp_path: Path, fuse: Any) -> None:
    source, config = open_dataset("synthetic", 0, records=20), PrepareConfig(shard_size=5)
    prepare_store(source, tmp_path / "whole", config)
    n = fuse.burn(lambda: prepare_store(source, tmp_path / "half", config), tmp_path / "half", -1)
    shutil.rmtree(tmp_path / "half")
    rng = np.random.default_rng(5)
    fuse.burn(lambda: prepare_store(source, tmp_path / "half", config), tmp_path / "half", n // 2)
    found = [path for path in files_of(tmp_path / "half") if path.name != "plan.json" and path.stat().st_size]
    assert len(found) >= 8
    for path in found:
        copy = shutil.copytree(tmp_path / "half", tmp_path / "copy")
        flip(copy / path.relative_to(tmp_path / "half"), rng)
        prepare_store(source, copy, config)
        assert contents(copy) == contents(tmp_path / "whole"), path
        shutil.rmtree(copy)


def test_odd_columns_of_a_table_are_one_line(made: Path, tmp_path: Path) -> None:
    store = shutil.copytree(made / "stores/synthetic", tmp_path / "s")
    make_old(store)
    change_manifest(store, lambda values: values["details"].__setitem__("files", {}), seal=False)
    table = polars.read_parquet(store / "records.parquet")
    for column, value in (("shard", "x"), ("split", 3), ("offset", None), ("checksum", "x"), ("report", 1.5)):
        table.with_columns(polars.lit(value).alias(column)).write_parquet(store / "records.parquet")
        with pytest.raises(MedReportError, match=column if value else "where every row lies"):
            open_store(store)
    assert read_rows(made / "instructions/synthetic/instructions.jsonl", InstructionRow)
