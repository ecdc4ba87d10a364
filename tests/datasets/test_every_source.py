"""The contract of all sources, each in its own layout: leads by name, swaps reported, the same store again."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from challenge_fixture import write_challenge
from code15_fixture import build_code15
from mimic_fixture import measurement_row, record_row, write_study, write_tables
from ptbxl_fixture import build_root, twelve_leads, write_record
from sources import read_all
from store_helpers import hashes, prepare

from emgecg_cli.core import names
from emgecg_cli.core.artifacts import REPORT_KINDS
from emgecg_cli.core.datasets import Listing, Source, open_dataset, takes
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.manifest import json_hash
from emgecg_cli.core.signals.leads import LEADS
from emgecg_cli.core.store import open_store

RECORDS = 3
Names = Sequence[str]
STRAIGHT = tuple(range(12))
SHUFFLED = (0, 1, 2, 3, 5, 4, 11, 7, 8, 9, 10, 6)


def signal_of(number: int, fs: int = 500) -> np.ndarray:
    """Microvolts in steps of 5, which every layout here can hold."""
    return (twelve_leads(number, fs) // 5 * 5).astype(np.int16)


def ptb_xl(root: Path, order: Sequence[int], titles: Names) -> Source:
    build_root(root, RECORDS, rates=(500,))
    for i in range(RECORDS):
        write_record(root / f"records500/00000/0000{i + 1}_hr", signal_of(i)[list(order)], 500, titles)
    return open_dataset("ptb-xl", 0, 500, root=root)


def mimic(root: Path, order: Sequence[int], titles: Names) -> Source:
    keys = [(10_000_032 + i, 40_689_238 + i) for i in range(RECORDS)]
    write_tables(root, [record_row(*key) for key in keys], [measurement_row(*key) for key in keys])
    for i, key in enumerate(keys):
        write_study(root, *key, signal_of(i), 500, order, titles)
    return open_dataset("mimic-iv-ecg", 0, root=root)


def challenge(dataset: str, path: str) -> Callable[[Path, Sequence[int], Names], Source]:
    def build(root: Path, order: Sequence[int], titles: Names) -> Source:
        for i in range(RECORDS):
            write_challenge(root, f"{path}{i}", signal_of(i)[list(order)], names=titles)
        return open_dataset(dataset, 0, root=root)
    return build


def ludb(root: Path, order: Sequence[int], titles: Names) -> Source:
    for i in range(RECORDS):
        write_record(root / f"data/{i + 1}", signal_of(i)[list(order)], 500, [title.lower() for title in titles])
    with (root / "ludb.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["ID", "Sex", "Age", "Rhythms", "Electric axis of the heart", "Conduction abnormalities",
                         "Extrasystolies", "Hypertrophies", "Cardiac pacing", "Ischemia",
                         "Non-specific repolarization abnormalities", "Other states"])
        writer.writerows([i + 1, "F\n", "51\n", "Sinus rhythm", *[""] * 8] for i in range(RECORDS))
    return open_dataset("ludb", 0, root=root)


def wfdb(root: Path, order: Sequence[int], titles: Names) -> Source:
    for i in range(RECORDS):
        write_record(root / f"a/{i}", signal_of(i)[list(order)], 500, titles)
    reports = root / "reports.csv"
    reports.write_text("record,report\n" + "".join(f"a/{i},Sinus rhythm.\n" for i in range(RECORDS)))
    return open_dataset("wfdb", 0, root=root, reports=reports)


def files(root: Path, order: Sequence[int], titles: Names) -> Source:
    rows = ["file,report"]
    for i in range(RECORDS):
        path = root / f"{i}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        signal = signal_of(i)[list(order)].T.tolist()
        path.write_text("\n".join(["# fs: 500", ",".join(f"{title} (uV)" for title in titles),
                                   *(",".join(map(str, row)) for row in signal)]))
        rows.append(f"{i}.csv,Sinus rhythm.")
    (root / "reports.csv").write_text("\n".join(rows))
    return open_dataset("files", 0, root=root, reports=root / "reports.csv")


BY_NAME: dict[str, Callable[[Path, Sequence[int], Names], Source]] = {
    "ptb-xl": ptb_xl, "mimic-iv-ecg": mimic, "cpsc2018": challenge("cpsc2018", "cpsc_2018/g1/A000"),
    "chapman-ningbo": challenge("chapman-ningbo", "WFDBRecords/01/010/JS0000"),
    "georgia": challenge("georgia", "g1/E0750"), "ludb": ludb, "wfdb": wfdb, "files": files}


def titled(order: Sequence[int]) -> list[str]:
    return [LEADS[row] for row in order]


@pytest.mark.parametrize("dataset", BY_NAME)
def test_a_permutation_of_the_leads_leaves_the_store_unchanged(dataset: str, tmp_path: Path) -> None:
    for name, order in (("straight", STRAIGHT), ("shuffled", SHUFFLED)):
        prepare(BY_NAME[dataset](tmp_path / name / "root", order, titled(order)), tmp_path / name / "store", fs=500)
    straight, shuffled = (open_store(tmp_path / name / "store") for name in ("straight", "shuffled"))
    assert len(straight) == RECORDS and set(straight.column("lead_check")) == {"ok"}
    for i in range(RECORDS):
        assert np.array_equal(straight.signal(i), signal_of(i)) and np.array_equal(shuffled.signal(i), signal_of(i))
    assert hashes(tmp_path / "straight" / "store") == hashes(tmp_path / "shuffled" / "store")


@pytest.mark.parametrize("dataset", BY_NAME)
def test_swapped_names_of_two_limb_leads_are_reported(dataset: str, tmp_path: Path) -> None:
    wrong = [*LEADS[:3], "aVL", "aVR", *LEADS[5:]]
    result = prepare(BY_NAME[dataset](tmp_path / "root", STRAIGHT, wrong), tmp_path / "store", fs=500)
    assert result.manifest.counts["lead_suspect"] == RECORDS
    checks = open_store(tmp_path / "store").column("lead_check").to_list()
    assert all(text.endswith("aVR and aVL look swapped") for text in checks)
    card = (tmp_path / "store" / "card.md").read_text()
    assert "aVR and aVL look swapped" in card


def every_source(root: Path) -> dict[str, Source]:
    built = {dataset: build(root / dataset, STRAIGHT, titled(STRAIGHT)) for dataset, build in BY_NAME.items()}
    code15 = build_code15(root / "code15", {i + 1: signal_of(i, 400) / 1000 for i in range(RECORDS)})
    return built | {"code15": open_dataset("code15", 0, root=code15),
                    "synthetic": open_dataset("synthetic", 0, 100, records=RECORDS)}


def test_every_source_keeps_the_contract(tmp_path: Path) -> None:
    built = every_source(tmp_path)
    assert {*built, "etm", "synthetic-emg"} == {*names.choices("dataset")}  # those two have tables, no signals
    for dataset, source in built.items():
        recordings, quarantine = read_all(source)
        assert len(recordings) == RECORDS, dataset
        assert {row.reason for row in quarantine} <= {"missing file", "not in table"}, dataset
        for recording in recordings:
            assert recording.signal.dtype == np.int16 and recording.signal.shape[0] == 12, dataset
            assert recording.report and recording.report_kind in REPORT_KINDS and recording.sex in ("F", "M", None)
        assert source.dataset == dataset and str(tmp_path) not in repr((source.arguments, source.details)), dataset
        before = list(source.listing())
        assert list(source.listing()) == before, "a listing can be read again, in the same order"


def test_what_a_listing_is_made_of_is_the_same_until_a_file_is_changed(tmp_path: Path) -> None:
    first, again = every_source(tmp_path / "a"), every_source(tmp_path / "b")
    made = {name: source.listing.made_of for name, source in first.items() if isinstance(source.listing, Listing)}
    assert {*made} == {"ptb-xl", "mimic-iv-ecg", "ludb", "wfdb", "code15", "synthetic"}
    for dataset, found in made.items():
        assert json_hash(found) == json_hash(again[dataset].listing.made_of), dataset
    changed = 0
    for dataset in {*made} - {"synthetic"}:
        for table in (tmp_path / "b" / dataset).glob("*.csv"):
            whole = table.read_text()
            table.write_text(whole + "\n")
            reports = {"reports": table} if dataset == "wfdb" else {}
            source = open_dataset(dataset, 0, 100 if dataset == "synthetic" else 500, root=table.parent, **reports)
            assert isinstance(source.listing, Listing) and source.listing.made_of != made[dataset], table
            table.write_text(whole)
            changed += 1
    assert changed == 6


@pytest.mark.parametrize("dataset", [name for name in names.choices("dataset") if takes(name, "root")])
def test_a_folder_that_is_none_is_refused_in_one_line(dataset: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    reports = {"reports": tmp_path / "r.csv"} if dataset in ("wfdb", "files") else {}
    (tmp_path / "r.csv").write_text("record,report\nx,y\n")
    for root in (tmp_path / "nowhere", tmp_path / "empty", tmp_path / "r.csv"):
        with pytest.raises(MedReportError) as caught:
            prepare(open_dataset(dataset, 0, root=root, **reports), tmp_path / "store")
        assert "\n" not in caught.value.message and caught.value.hint
