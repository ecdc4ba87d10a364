"""Stores of EMG tables: what is read is stored, references are of the healthy of the train split, killed runs go on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars
import pytest
from etm_fixture import llm_record, record, with_ncv, write_jsonl
from fuse import Fuse
from store_helpers import hashes, prepare

from emgecg_cli.commands.app import run
from emgecg_cli.core.artifacts import QuarantineRow, read_rows
from emgecg_cli.core.datasets import open_dataset
from emgecg_cli.core.datasets.emg_tables import RawExamination, read_etm
from emgecg_cli.core.datasets.synthetic_emg import draw_case
from emgecg_cli.core.emg.case import values
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.references import fit, is_outside, read_references, serialise
from emgecg_cli.core.reports.emg.healthy import is_healthy
from emgecg_cli.core.reports.sections import split_sections
from emgecg_cli.core.store import Engine, open_store
from emgecg_cli.core.view import open_record


def test_the_cases_of_a_cohort_are_stored_as_they_were_drawn(tmp_path: Path) -> None:
    result = prepare(open_dataset("synthetic-emg", 3, records=30), tmp_path / "store", seed=3, clean="none")
    store = open_store(tmp_path / "store")
    assert store.kind.name == "tables" and len(store) == 30 and not list((tmp_path / "store").glob("signals-*"))
    for i in range(30):
        drawn, row, stored = draw_case(3, i), store.row(i), store.case(i)
        assert stored.case == drawn.case and (stored.findings, stored.impression) == (drawn.findings, drawn.impression)
        assert split_sections(row.report) == (drawn.findings, drawn.impression)
        assert (row.age, row.sex, row.language) == (drawn.case.age, drawn.case.sex, drawn.language)
        assert row.sections is not None and row.sections.height == drawn.case.height
    assert result.manifest.details["fs"] == 0 and "fs" not in result.manifest.arguments
    assert store[4]["tables"].case == store.case(4).case


def test_references_are_those_of_the_healthy_of_the_train_split(tmp_path: Path) -> None:
    result = prepare(open_dataset("synthetic-emg", 0, records=300), tmp_path / "store", shard_size=64)
    store = open_store(tmp_path / "store")
    healthy = [store.case(i) for i in store.indices("train")
               if is_healthy(store.case(i).findings, store.case(i).impression, store.case(i).case.emg)]
    values = [(f"{row.nerve}|{row.type}|{row.stim}|{row.rec}|{measure}", cell.value, one.case)
              for one in healthy for row in one.case.ncv for (measure, _), cell in row.cells.items()
              if cell.state == "value"]
    assert (tmp_path / "store" / "references.json").read_bytes() == serialise(fit(values))
    told = result.manifest.details["references"]
    assert told["pool"]["healthy"] == len(healthy) and sum(told["pool"].values()) == len(store.indices("train"))
    references = store.references()
    assert references is not None and told["items"] == len(references.entries) > 40
    other = prepare(open_dataset("synthetic-emg", 0, records=300), tmp_path / "aged", covariates="age",
                    percentiles="2,4,6,8,10,12,14")
    assert other.manifest.arguments["covariates"] == "age"
    found = open_store(tmp_path / "aged").references()
    assert found is not None and found.percentiles == (2, 4, 6, 8, 10, 12, 14) and found.covariates == "age"


def test_workers_and_kills_change_no_byte(tmp_path: Path, fuse: Fuse) -> None:
    source = open_dataset("synthetic-emg", 1, records=24)
    prepare(source, tmp_path / "whole", shard_size=8)
    prepare(source, tmp_path / "two", shard_size=8, engine=Engine("local", 2))
    expected = hashes(tmp_path / "whole")
    assert hashes(tmp_path / "two") == expected
    out = tmp_path / "counted"
    n_events = fuse.burn(lambda: prepare(source, out, shard_size=8), out, -1)
    for left in range(2, n_events, 5):
        out = tmp_path / f"killed-{left}"
        fuse.burn(lambda out=out: prepare(source, out, shard_size=8), out, left)
        prepare(source, out, shard_size=8)
        assert hashes(out) == expected, left


def test_both_published_forms_from_a_folder(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "etm" / "train.jsonl", [record() for _ in range(6)])
    folder = write_jsonl(tmp_path / "etm" / "test.jsonl", [record()])
    prepare(open_dataset("etm", 0, root=folder), tmp_path / "store", clean="none")
    store = open_store(tmp_path / "store")
    read = [one for one in read_etm(folder) if isinstance(one, RawExamination)]
    assert [store.case(i).case for i in range(len(store))] == [one.case for one in read]
    assert store.column("split").to_list().count("test") == 1 and store.population == "etm/etm"
    details = store.manifest.details
    assert set(details["source_files"]) == {"train.jsonl", "test.jsonl"} and "records.parquet" in details["files"]
    folder = write_jsonl(tmp_path / "llm" / "train.jsonl", [llm_record(), llm_record()])
    prepare(open_dataset("etm", 0, root=folder), tmp_path / "llm-store", clean="none", split="100/0/0")
    case = open_store(tmp_path / "llm-store").case(1)
    assert case.case is None and case.instruction == llm_record()["instruction"]
    assert [name for name, _ in case.matrices] == [one["item"] for one in llm_record()["tensor"]]
    for (_, stored), one in zip(case.matrices, llm_record()["tensor"], strict=True):
        assert stored.dtype == np.float32 and np.array_equal(stored, np.array(one["tensor"], np.float32))


def test_a_folder_as_downloaded_is_read_in_one_form(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "etm" / "ETM-17k" / "train.jsonl", [record(), record()])
    write_jsonl(tmp_path / "etm" / "ETM-17k-LLM" / "train.jsonl", [llm_record()])
    for root, n, has_tables in ((tmp_path / "etm", 2, True), (tmp_path / "etm" / "ETM-17k-LLM", 1, False)):
        refs = list(open_dataset("etm", 0, root=root).listing())
        assert len(refs) == n and all((one.details["case"] is not None) == has_tables for one in refs)


def test_bad_tables_are_counted_and_the_rest_is_kept(tmp_path: Path) -> None:
    slip = with_ncv(["正中神经 Median", "运动 Motor", "腕 Wrist", "拇短展肌 APB", 3.9, None, 7000, None, None, None])
    broken = llm_record()
    broken["tensor"] = broken["tensor"][:1]
    folder = write_jsonl(tmp_path / "a" / "train.jsonl", [record(), slip])
    result = prepare(open_dataset("etm", 0, root=folder), tmp_path / "store")
    assert result.manifest.counts["flagged"] and sum(result.manifest.counts["flagged"].values()) == 1
    flags = [open_store(tmp_path / "store").row(i).sections.flags for i in range(2)]
    assert flags[0] == [] and len(flags[1]) == 1 and "train.jsonl" in flags[1][0] and "7000" in flags[1][0]
    folder = write_jsonl(tmp_path / "b" / "train.jsonl", [llm_record(), broken])
    prepare(open_dataset("etm", 0, root=folder), tmp_path / "llm", split="100/0/0")
    (row,) = read_rows(tmp_path / "llm" / "quarantine.jsonl", QuarantineRow)
    assert "train.jsonl" in row.detail and "\n" not in row.detail and len(open_store(tmp_path / "llm")) == 1


LISTED = "EMG: Right FDI: PSW 1+.\n\n1. Left Median MCV 48.2.\n2. nan -"


def test_texts_of_tables_stay_as_they_are_unless_told(tmp_path: Path) -> None:
    folder = write_jsonl(tmp_path / "etm" / "train.jsonl", [record(Findings=LISTED, Impression="- CTS?")])
    result = prepare(open_dataset("etm", 0, root=folder), tmp_path / "plain", split="100/0/0")
    case = open_store(tmp_path / "plain").case(0)
    assert (case.findings, case.impression) == (LISTED, "- CTS?")
    assert result.manifest.arguments["clean"] == "none" and result.manifest.counts["cleaning"] == {}
    told = prepare(open_dataset("etm", 0, root=folder), tmp_path / "told", split="100/0/0", clean="stars,lower")
    case = open_store(tmp_path / "told").case(0)
    assert (case.findings, case.impression) == (LISTED.lower().removesuffix(" -"), "cts?")
    assert told.manifest.arguments["clean"] == "stars,lower" and told.manifest.counts["cleaning"]["lower"] == 1
    signals = prepare(open_dataset("synthetic", 0, records=12), tmp_path / "ecg")
    assert signals.manifest.arguments["clean"] == "nan,numeric,ekg,stars,lower"


def test_records_without_a_report_are_set_aside_and_counted(tmp_path: Path) -> None:
    silent = [record(Findings="", Impression=None), record(Findings=" \n", Impression="NaN")]
    folder = write_jsonl(tmp_path / "a" / "train.jsonl", [record(), *silent, record(Findings="")])
    result = prepare(open_dataset("etm", 0, root=folder), tmp_path / "store", split="100/0/0")
    assert result.manifest.counts["records"] == 2 and result.manifest.counts["quarantined"] == {"no report": 2}
    assert all(row.report for row in map(open_store(tmp_path / "store").row, range(2)))
    folder = write_jsonl(tmp_path / "b" / "train.jsonl", [
        llm_record(), llm_record(output=""), llm_record(output="Findings:\nImpression: "),
        llm_record(output="Findings: ***\nImpression: --")])
    result = prepare(open_dataset("etm", 0, root=folder), tmp_path / "llm", split="100/0/0", clean="stars")
    assert result.manifest.counts["records"] == 1
    assert result.manifest.counts["quarantined"] == {"empty report": 2, "no report": 1}
    reasons = {row.reason: row.detail for row in read_rows(tmp_path / "llm" / "quarantine.jsonl", QuarantineRow)}
    assert set(reasons) == {"no report", "empty report"} and all(reasons.values())


@pytest.mark.parametrize("dataset, config, message", [
    ("synthetic-emg", {"fs": 500}, "--fs has no effect on tables"),
    ("synthetic-emg", {"measure": True}, "--measure has no effect on tables"),
    ("synthetic", {"covariates": "age"}, "--covariates has no effect on signals"),
    ("synthetic-emg", {"percentiles": "2,a"}, "--percentiles '2,a': not numbers"),
    ("synthetic-emg", {"percentiles": "20,2,5"}, "percentiles"),
    ("synthetic-emg", {"covariates": "height"}, "--covariates is 'height'"),
])
def test_settings_that_change_nothing_or_cannot_be_used_are_refused(tmp_path: Path, dataset: str,
                                                                     config: dict[str, object], message: str) -> None:
    with pytest.raises(MedReportError, match=message):
        prepare(open_dataset(dataset, 0, records=12), tmp_path / "store", **config)
    assert not (tmp_path / "store").exists()


def test_the_card_speaks_of_tables(tmp_path: Path) -> None:
    prepare(open_dataset("synthetic-emg", 0, records=60), tmp_path / "store")
    card = (tmp_path / "store" / "card.md").read_text()
    assert "## Tables" in card and "References for" in card
    assert "Einthoven" not in card and "Hz" not in card and "nan seconds" not in card
    assert json.loads((tmp_path / "store" / "manifest.json").read_text())["details"]["modality"] == "tables"
    kinds = polars.read_parquet(tmp_path / "store" / "tables.parquet")["table"]
    assert kinds.unique().sort().to_list() == ["emg", "ncv"]


def test_tables_are_shown_with_what_is_out_of_range(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(open_dataset("synthetic-emg", 0, records=300), tmp_path / "store")
    store = open_store(tmp_path / "store")
    viewed = open_record(store, "emg-000003")
    references = store.references()
    assert references is not None
    judged = [(references.of(item), cell.value) for item, _, cell in values(store.case(3).case)
              if cell.value is not None and references.of(item)]
    outside = [value for reference, value in judged if is_outside(reference, value)]
    shown = [cell for _, _, rows in viewed.tables for row in rows for cell in row if cell.endswith((" H", " L"))]
    assert viewed.n_judged == len(judged) and viewed.n_outside == len(outside) == len(shown) > 0
    assert sorted(float(cell.split()[0]) for cell in shown) == sorted(outside)
    assert run(["view", str(tmp_path / "store"), "emg-000003"]) == 0
    said = capsys.readouterr().out
    assert "Median" in said and shown[0] in said and store.row(3).report.splitlines()[1] in said
    assert run(["view", str(tmp_path / "store"), "emg-000003", "--out", str(tmp_path / "x.png")]) == 2
    assert run(["view", str(tmp_path / "store"), "emg-000003", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["values_outside"] == len(outside)


def test_references_are_written_and_fitted_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, out = tmp_path / "store", tmp_path / "r.json"
    prepare(open_dataset("synthetic-emg", 0, records=300), store)
    assert run(["references", str(store), "--out", str(out)]) == 0
    assert out.read_bytes() == (store / "references.json").read_bytes()
    assert run(["references", str(store), "--out", str(out), "--percentiles", "2,4,6,8,10,12,14", "--json"]) == 0
    assert read_references(out).percentiles == (2, 4, 6, 8, 10, 12, 14)
    prepare(open_dataset("synthetic", 0, records=12), tmp_path / "ecg")
    assert run(["references", str(tmp_path / "ecg"), "--out", str(out)]) == 2
    assert "a store of signals has no references" in capsys.readouterr().err


def test_a_store_of_tables_is_refused_where_signals_are_needed(tmp_path: Path,
                                                                capsys: pytest.CaptureFixture[str],
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    prepare(open_dataset("synthetic-emg", 0, records=12), tmp_path / "store")
    with pytest.raises(MedReportError, match="a store of tables, which has no signals"):
        open_store(tmp_path / "store").signal(0)
    for line in (f"perturb {tmp_path / 'store'} --kind gaussian --snr-db 5",
                 f"pretrain {tmp_path / 'store'} --encoder vit1d-tiny --objective masked --steps 2"):
        assert run(line.split()) == 2
        assert "tables" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store"]
