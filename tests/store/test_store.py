"""Stores: what is written is what is read; damage and misuse are refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pytest
from manifests import change_manifest
from ptbxl_fixture import build_root, twelve_leads, write_record
from store_helpers import CLEAN, damaged_root, hashes, prepare

from emgecg_cli.core.artifacts import (
    MachineIntervals,
    Measurements,
    QuarantineRow,
    Reading,
    RecordRow,
    Sections,
    read_rows,
)
from emgecg_cli.core.datasets import Recording, RecordRef, Source
from emgecg_cli.core.datasets.ptb_xl import open_source
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.signals.leads import MISSING
from emgecg_cli.core.store import open_store, split_hash
from emgecg_cli.core.store.table import FULL_SCHEMA, GROUPS


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    source = open_source(damaged_root(tmp_path / "root"))
    ticks: list[tuple[int, int]] = []
    result = prepare(source, tmp_path / "store", progress=lambda done, total: ticks.append((done, total)))
    store = open_store(result.path)
    kept = [i for i in range(1, 21) if i not in (3, 9, 10, 11, 12, 15)]
    assert store.column("record_id").to_list() == [str(i) for i in kept] and len(store) == len(kept)
    assert (store.dataset, store.fs, store.sig_len) == ("ptb-xl", 100, 1000)
    for index, ecg_id in enumerate(kept):
        assert np.array_equal(store.signal(index), twelve_leads(ecg_id, 100))
        row = store.row(index)
        assert row.record_id == str(ecg_id) and row.codes == ["NORM", "SR"] and row.lead_check == "ok"
    assert store.row(kept.index(17)).report == "normales ecg"
    assert store.row(kept.index(17)).report_raw == "*** Normales EKG ***"
    assert ticks[-1] == (20, 20) and [done for done, _ in ticks] == sorted(done for done, _ in ticks)
    assert sorted(path.name for path in result.path.iterdir()) == [
        "card.html", "card.md", "manifest.json", "quarantine.jsonl", "records.parquet",
        *(f"rows-0000{i}.jsonl" for i in (0, 1, 3, 4)), *(f"signals-0000{i}.npy" for i in (0, 1, 3, 4))]


def test_the_manifest_counts_everything(tmp_path: Path) -> None:
    source = open_source(damaged_root(tmp_path / "root"))
    manifest = prepare(source, tmp_path / "store").manifest
    store = open_store(tmp_path / "store")
    counts = manifest.counts
    assert counts["records"] == 14 and counts["train"] + counts["val"] + counts["test"] == 14
    assert counts["quarantined"] == {"empty report": 1, "missing file": 1, "unreadable header": 4}
    assert counts["cleaning"] == {"nan": 0, "numeric": 0, "ekg": 1, "stars": 1, "lower": 1}
    assert counts["subjects"] == store.column("subject_id").n_unique() and counts["lead_suspect"] == 0
    quarantine = read_rows(tmp_path / "store" / "quarantine.jsonl", QuarantineRow)
    assert [row.record_id for row in quarantine] == ["3", "9", "10", "11", "12", "15"]
    assert manifest.kind == "store" and manifest.command == "prepare ptb-xl" and manifest.seed == 0
    assert manifest.arguments == {"root": "root", "fs": 100, "reports": None, "seconds": 10.0, "window": "first",
                                  "clean": CLEAN, "min_words": 0, "split": "official", "shard_size": 4, "seed": 0,
                                  "measure": False}
    assert manifest.details["split_hash"] == split_hash(store.scan())
    assert str(tmp_path) not in (tmp_path / "store" / "manifest.json").read_text()


def test_splits_and_views(tmp_path: Path) -> None:
    prepare(open_source(build_root(tmp_path / "root", 20, rates=(100,))), tmp_path / "store")
    store = open_store(tmp_path / "store")
    assert store.indices("val").tolist() == [16, 17] and store.indices("test").tolist() == [18, 19]
    assert store.indices(None).tolist() == list(range(20)) and len(store.indices("train")) == 16
    with pytest.raises(MedReportError, match="no split 'dev'"):
        store.indices("dev")
    with pytest.raises(ValueError, match="read-only"):
        store.signal(0)[0, 0] = 1
    shares = prepare(open_source(tmp_path / "root"), tmp_path / "other", split="50/0/50", seed=3)
    assert shares.manifest.counts["train"] == 10 and shares.manifest.arguments["split"] == "50/0/50"


def test_the_table_has_the_fields_of_a_row() -> None:
    flat = [field.name for field in fields(RecordRow) if field.name not in GROUPS]
    nested = ["machine_" + field.name for field in fields(MachineIntervals)]
    assert list(FULL_SCHEMA) == [*flat, "offset", "checksum", *nested,
                                 *(field.name for kind in (Measurements, Sections, Reading) for field in fields(kind))]


def test_short_reports_and_missing_samples(tmp_path: Path) -> None:
    root = build_root(tmp_path / "root", 4, rates=(100,), changed={1: {"report": "one two nan three"}})
    signal = twelve_leads(2, 100)
    signal[7, 100:200] = MISSING
    signal[[3, 4]] = signal[[4, 3]]
    write_record(root / "records100" / "00000" / "00002_lr", signal[:11], 100, ("I", "II", "III", "AVR", "AVL", "AVF",
                                                                               "V1", "V2", "V3", "V4", "V5"))
    manifest = prepare(open_source(root), tmp_path / "store", min_words=4).manifest
    assert manifest.counts["quarantined"] == {"short report": 1} and manifest.counts["lead_suspect"] == 1
    assert manifest.counts["with_missing_samples"] == manifest.counts["with_absent_leads"] == 1
    row = open_store(tmp_path / "store").row(0)
    assert (row.record_id, row.n_missing, row.absent_leads) == ("2", 100, ["V6"])
    assert row.lead_check.endswith("aVR and aVL look swapped")


def test_other_folders_are_left_alone(tmp_path: Path) -> None:
    source = open_source(build_root(tmp_path / "root", 2, rates=(100,)))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("precious")
    with pytest.raises(MedReportError, match="not empty, and not made by"):
        prepare(source, tmp_path / "full")
    with pytest.raises(MedReportError, match="a file that this command did not make"):
        prepare(source, tmp_path / "full" / "mine.txt")
    assert hashes(tmp_path / "full").keys() == {"mine.txt"}


def test_a_run_that_keeps_nothing_says_so_and_leaves_the_reasons(tmp_path: Path) -> None:
    root = build_root(tmp_path / "root", 3, rates=(100,))
    for path in root.glob("records100/*/*.dat"):
        path.unlink()
    out = tmp_path / "store"
    for _ in range(2):
        with pytest.raises(MedReportError, match=r"no record could be read \(missing file: 3\)"):
            prepare(open_source(root), out)
        assert hashes(out).keys() == {"quarantine.jsonl"}
    assert len(read_rows(out / "quarantine.jsonl", QuarantineRow)) == 3
    with pytest.raises(MedReportError, match="not a finished store"):
        open_store(out)
    # Mended, the same folder serves.
    prepare(open_source(build_root(root, 3, rates=(100,))), out)
    assert len(open_store(out)) == 3


@pytest.mark.parametrize("options, message", [
    ({"clean": "nann"}, "did you mean 'nan'"), ({"min_words": -1}, "too small"), ({"shard_size": 0}, "too small"),
    ({"split": "70/30"}, "not three shares"),
])
def test_wrong_options_are_refused_before_anything_is_written(tmp_path: Path, options: dict[str, Any],
                                                              message: str) -> None:
    source = open_source(build_root(tmp_path / "root", 2, rates=(100,)))
    with pytest.raises(MedReportError, match=message):
        prepare(source, tmp_path / "store", **options)
    assert not (tmp_path / "store").exists()


def damage_truncate(store: Path) -> None:
    path = store / "signals-00000.npy"
    path.write_bytes(path.read_bytes()[:-100])


def damage_shape(store: Path) -> None:
    np.save(store / "signals-00000.npy", np.zeros((3, 12, 1000), np.int16))


def damage_dtype(store: Path) -> None:
    np.save(store / "signals-00000.npy", np.zeros((4, 12, 1000), np.float32))


def damage_pickle(store: Path) -> None:
    np.save(store / "signals-00000.npy", np.array([{}], dtype=object), allow_pickle=True)


def damage_remove(store: Path) -> None:
    (store / "signals-00000.npy").unlink()


def damage_garbage(store: Path) -> None:
    (store / "signals-00000.npy").write_bytes(b"garbage")


def damage_records(store: Path) -> None:
    (store / "records.parquet").write_bytes(b"garbage")


def damage_row(store: Path) -> None:
    polars.read_parquet(store / "records.parquet")[1:].write_parquet(store / "records.parquet")


def damage_column(store: Path) -> None:
    polars.read_parquet(store / "records.parquet").drop("codes").write_parquet(store / "records.parquet")


def damage_manifest(store: Path) -> None:
    change_manifest(store, lambda values: values["details"].pop("fs"))


@pytest.mark.parametrize("damage, message", [
    (damage_truncate, "signals-00000.npy: not a readable shard"), (damage_shape, "holds int16"),
    (damage_dtype, "holds float32"), (damage_pickle, "signals-00000.npy"), (damage_remove, "4 records are missing"),
    (damage_garbage, "not a readable shard"), (damage_records, "records.parquet: was changed"),
    (damage_row, "records.parquet: was changed"), (damage_column, "records.parquet: was changed"),
    (damage_manifest, "details.fs is missing"),
])
def test_a_damaged_store_is_refused_on_opening(tmp_path: Path, damage: Any, message: str) -> None:
    prepare(open_source(build_root(tmp_path / "root", 8, rates=(100,))), tmp_path / "store")
    damage(tmp_path / "store")
    with pytest.raises(MedReportError, match=message) as caught:
        open_store(tmp_path / "store")
    assert "\n" not in caught.value.message and caught.value.hint


@pytest.mark.parametrize("damage, message", [
    (damage_records, "records.parquet: not readable"), (damage_row, "7 records, the manifest says 8"),
    (damage_column, "lacks the column codes"),
])
def test_a_table_whose_hash_is_not_known_is_checked_all_the_same(tmp_path: Path, damage: Any, message: str) -> None:
    prepare(open_source(build_root(tmp_path / "root", 8, rates=(100,))), tmp_path / "store")
    damage(tmp_path / "store")
    change_manifest(tmp_path / "store", lambda values: values["details"]["files"].pop("records.parquet"))
    with pytest.raises(MedReportError, match=message):
        open_store(tmp_path / "store")


def test_a_source_that_breaks_its_promise_is_a_bug(tmp_path: Path) -> None:
    ref = RecordRef("1", "p", "s", "train")

    def read(refs: Sequence[RecordRef]) -> Iterator[Recording | QuarantineRow]:
        yield Recording(ref, np.zeros((11, 7), np.int16), 100, "text", "en")

    with pytest.raises(ValueError, match="a source promises"):
        prepare(Source("x", lambda: iter([ref]), read, {}), tmp_path / "store")


def test_official_folds_that_share_a_patient_are_refused(tmp_path: Path) -> None:
    root = build_root(tmp_path / "root", 4, rates=(100,), changed={2: {"strat_fold": 10}})
    with pytest.raises(MedReportError, match=r"patient 101 is in train \(record 1\) and in test \(record 2\)"):
        prepare(open_source(root), tmp_path / "store")
    prepare(open_source(root), tmp_path / "store", split="50/0/50")
