"""Recordings without a report: kept on demand, from every source, never in train, reported on, never scored."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import polars
import pytest
from challenge_fixture import write_challenge
from code15_fixture import exam_row, write_exams, write_part
from etm_fixture import llm_record, record, write_csv, write_json
from mimic_fixture import measurement_row, record_row, write_study, write_tables
from ptbxl_fixture import build_root, twelve_leads, write_record
from store_helpers import hashes, prepare

from emgecg_cli.commands.app import run
from emgecg_cli.core import names
from emgecg_cli.core.datasets import Source, open_dataset, takes
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.instructions.build import build_instructions, open_instructions
from emgecg_cli.core.store import Store, open_store

KEPT, BARE = 4, 2  # recordings with a report and without one


def without(name: str, folder: Path, **options: object) -> Source:
    return open_dataset(name, 0, no_reports=True, root=folder, **options)


def write_wfdb(root: Path, *records: str) -> Path:
    for seed, name in enumerate(records):
        write_record(root / name, twelve_leads(seed, 100), 100)
    return root


def with_csv(dataset: str) -> Callable[[Path], Source]:
    def build(folder: Path) -> Source:
        write_wfdb(folder / "set", "a", "b", "deep/c", "d", "e", "unlisted")
        (folder / "r.csv").write_text("record,report\na,Sinus.\nb,Sinus.\ndeep/c,Sinus.\nd,Sinus.\ne, \n")
        return without(dataset, folder / "set", reports=folder / "r.csv")
    return build


def ptb_xl(folder: Path) -> Source:
    build_root(folder, KEPT + BARE, rates=(100,), changed={
        2: {"report": ""}, 5: {"report": " nan. ", "patient_id": "7", "strat_fold": "2"},
        6: {"patient_id": "8"}, 1: {"patient_id": "9"}})
    return without("ptb-xl", folder)


def mimic(folder: Path) -> Source:
    keys = [(10_000_032 + i, 40_689_238 + i) for i in range(KEPT + BARE)]
    rows = [measurement_row(*key, statements=() if i == 1 else ("Sinus rhythm",)) for i, key in enumerate(keys)]
    rows[1] |= {f"report_{i}": "" for i in range(18)}
    write_tables(folder, [record_row(*key) for key in keys], rows[:-1])
    for i, key in enumerate(keys):
        write_study(folder, *key, twelve_leads(i, 500))
    return without("mimic-iv-ecg", folder)


def challenge(dataset: str, path: str) -> Callable[[Path], Source]:
    def build(folder: Path) -> Source:
        for i in range(KEPT + BARE):
            dx = {1: None, 3: "Unknown"}.get(i, "426783006")
            write_challenge(folder, f"{path}{i}", twelve_leads(i, 500), dx=dx)
        return without(dataset, folder)
    return build


def code15(folder: Path) -> Source:
    ids = range(1, KEPT + BARE + 1)
    write_part(folder / "exams_part0.hdf5", list(ids), [twelve_leads(i, 400) / 1000 for i in ids])
    return without("code15", write_exams(folder, [exam_row(i, *(["normal_ecg"] if i > BARE else [])) for i in ids]))


def ludb(folder: Path) -> Source:
    for i in range(KEPT + BARE):
        write_record(folder / f"data/{i + 1}", twelve_leads(i, 500), 500)
    with (folder / "ludb.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["ID", "Sex", "Age", "Rhythms", "Electric axis of the heart", "Conduction abnormalities",
                         "Extrasystolies", "Hypertrophies", "Cardiac pacing", "Ischemia",
                         "Non-specific repolarization abnormalities", "Other states"])
        writer.writerows([i + 1, "F\n", "51\n", "Sinus rhythm" if i < KEPT else "", *[""] * 8]
                         for i in range(KEPT + BARE))
    return without("ludb", folder)


def etm(folder: Path) -> Source:
    bare = {"Findings": "", "Impression": None}
    write_json(folder / "cases.json", [record(**(bare if i in (0, 3) else {})) for i in range(KEPT + BARE)])
    return without("etm", folder)


BUILD: dict[str, Callable[[Path], Source]] = {
    "wfdb": with_csv("wfdb"), "files": with_csv("files"), "ptb-xl": ptb_xl, "mimic-iv-ecg": mimic,
    "cpsc2018": challenge("cpsc2018", "A000"),
    "chapman-ningbo": challenge("chapman-ningbo", "JS0000"), "georgia": challenge("georgia", "E0000"),
    "code15": code15, "ludb": ludb, "etm": etm}


@pytest.mark.parametrize("dataset", BUILD)
def test_every_source_that_can_lack_reports_keeps_such_recordings(dataset: str, tmp_path: Path) -> None:
    result = prepare(BUILD[dataset](tmp_path / "root"), tmp_path / "store", no_reports=True)
    rows = open_store(tmp_path / "store").scan().collect()
    bare = rows.filter(polars.col("report").is_null())
    assert (rows.height, bare.height, result.manifest.counts["without_report"]) == (KEPT + BARE, BARE, BARE)
    assert "train" not in bare["split"].to_list() and set(bare["report_kind"]) == {"none"}
    assert "train" in rows.filter(polars.col("report").is_not_null())["split"].to_list()
    assert result.manifest.arguments["no_reports"] is True
    card = (tmp_path / "store" / "card.md").read_text()
    assert f"{BARE} of {KEPT + BARE} records (33 %) have no report" in card


@pytest.mark.parametrize("dataset", BUILD)
def test_without_the_option_they_are_set_aside_as_before(dataset: str, tmp_path: Path) -> None:
    source = BUILD[dataset](tmp_path / "root")
    listed = dataset in ("wfdb", "files")
    reports = {"reports": tmp_path / "root" / "r.csv"} if listed else {}
    root = tmp_path / "root" / "set" if listed else tmp_path / "root"
    result = prepare(open_dataset(dataset, 0, root=root, **reports), tmp_path / "store")
    assert len(open_store(tmp_path / "store")) == KEPT and "without_report" not in result.manifest.counts
    assert "no_reports" not in result.manifest.arguments and source.dataset == dataset
    # a source that never lacks reports says so
    assert {name for name in names.choices("dataset") if takes(name, "no_reports")} == set(BUILD)
    with pytest.raises(MedReportError, match="takes no --no-reports"):
        open_dataset("synthetic", 0, no_reports=True)


def test_raw_cpsc_files_without_a_row_and_the_prompts_of_etm_count_too(tmp_path: Path) -> None:
    write_json(tmp_path / "llm" / "train.json", [llm_record(), llm_record(output="")])
    prepare(without("etm", tmp_path / "llm"), tmp_path / "a", no_reports=True)
    assert open_store(tmp_path / "a").column("report").null_count() == 1
    ncv = {"record_id": "x", "nerve": "median", "type": "motor", "stim": "wrist", "rec": "APB", "lat_l": "4.1"}
    write_csv(tmp_path / "own" / "ncv.csv", [ncv])
    write_csv(tmp_path / "own" / "cases.csv", [{"record_id": "x", "age": "30", "sex": "F", "height": "160"}])
    prepare(without("etm", tmp_path / "own"), tmp_path / "b", no_reports=True)
    assert open_store(tmp_path / "b").row(0).report is None


def listed(tmp_path: Path, rows: str, **options: object) -> Store:
    """A store of recordings r0 to r5 by a table `record,report,subject_id,split`."""
    write_wfdb(tmp_path / "set", *(f"r{i}" for i in range(6)))
    (tmp_path / "r.csv").write_text(f"record,report,subject_id,split\n{rows}")
    prepare(without("wfdb", tmp_path / "set", reports=tmp_path / "r.csv"), tmp_path / "store", no_reports=True,
            **options)
    return open_store(tmp_path / "store")


def splits(store: Store) -> dict[str, str]:
    return dict(zip(store.column("record_id"), store.column("split"), strict=True))


def test_a_drawn_split_puts_the_whole_patient_to_test(tmp_path: Path) -> None:
    store = listed(tmp_path, "r0,x,p,\nr1,,p,\nr2,x,q,\nr3,x,q,\nr4,x,s,\nr5,x,t,\n", split="100/0/0")
    assert splits(store) == {"r0": "test", "r1": "test", "r2": "train", "r3": "train", "r4": "train", "r5": "train"}


def test_an_official_split_is_kept_and_nothing_without_a_report_is_in_its_train(tmp_path: Path) -> None:
    store = listed(tmp_path, "r0,x,p,train\nr1,,p,train\nr2,x,q,val\nr3,,q,train\nr4,,s,train\nr5,,t,val\n")
    assert splits(store) == {"r0": "train", "r2": "val", "r3": "val", "r4": "test", "r5": "val"}
    assert store.manifest.arguments["split"] == "official"
    (line,) = (tmp_path / "store" / "quarantine.jsonl").read_text().splitlines()
    assert json.loads(line)["record_id"] == "r1" and "in train by the official split" in line


def test_recordings_that_no_row_names_do_not_undo_an_official_split(tmp_path: Path) -> None:
    assert splits(listed(tmp_path, "r0,x,p,train\nr1,x,q,val\n")) == {
        "r0": "train", "r1": "val", **dict.fromkeys(("r2", "r3", "r4", "r5"), "test")}


def test_without_any_report_all_are_for_test_and_shares_mean_nothing(tmp_path: Path) -> None:
    root = write_wfdb(tmp_path / "set", "a", "deep/b")
    result = prepare(without("wfdb", root), tmp_path / "store", no_reports=True)
    assert splits(open_store(tmp_path / "store")) == {"a": "test", "deep/b": "test"}
    assert result.manifest.arguments["split"] == "test" and result.manifest.arguments["reports"] is None
    with pytest.raises(MedReportError, match="--split 80/10/10: no recording has a report"):
        prepare(without("wfdb", root), tmp_path / "other", no_reports=True, split="80/10/10")


def test_segments_of_a_longer_record_are_no_records_of_their_own(tmp_path: Path) -> None:
    root = write_wfdb(tmp_path / "set", "one", "s1", "s2")
    n = twelve_leads(0, 100).shape[1]
    (root / "long.hea").write_text(f"long/2 12 100 {2 * n}\ns1 {n}\ns2 {n}\n")
    prepare(without("wfdb", root), tmp_path / "store", no_reports=True)
    assert open_store(tmp_path / "store").column("record_id").to_list() == ["long", "one"]


def test_a_text_that_cleaning_empties_is_no_report_and_a_short_one_stays_set_aside(tmp_path: Path) -> None:
    store = listed(tmp_path, 'r0,"nan. 12.",,\nr1,One two.,,\nr2,One two three.,,\n', min_words=3)
    reports = dict(zip(store.column("record_id"), store.column("report"), strict=True))
    assert reports["r0"] is None and "r1" not in reports and reports["r2"] == "one two three."
    assert store.row(0).report_raw == "nan. 12."


def test_the_same_bytes_on_any_number_of_workers_and_none_change_without_such_recordings(tmp_path: Path) -> None:
    root = write_wfdb(tmp_path / "set", *(f"r{i}" for i in range(6)))
    (tmp_path / "r.csv").write_text("record,report\n" + "".join(f"r{i},Sinus.\n" for i in range(6)))
    for number, given in enumerate(({}, {"no_reports": True})):
        prepare(open_dataset("wfdb", 0, root=root, reports=tmp_path / "r.csv", **dict.fromkeys(given, True)),
                tmp_path / str(number), **given)
    left, right = hashes(tmp_path / "0"), hashes(tmp_path / "1")
    assert {name for name in left if left[name] != right[name]} == {"manifest.json"}


def test_instructions_have_a_prompt_and_no_answer_and_an_empty_report_is_still_refused(tmp_path: Path) -> None:
    listed(tmp_path, "r0,x,p,\nr1,,q,\n")
    build_instructions(tmp_path / "store", tmp_path / "i", pool_size=8)
    rows = open_instructions(tmp_path / "i").rows
    assert [message["role"] for message in rows["r1"].messages] == ["user"]
    assert [message["role"] for message in rows["r0"].messages] == ["user", "assistant"]


def typed(line: str, capsys: pytest.CaptureFixture[str], status: int = 0) -> str:
    assert run(line.split()) == status, capsys.readouterr().err
    out, err = capsys.readouterr()
    return out + err


def test_a_run_reports_on_them_and_score_says_why_it_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                            capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    typed("prepare synthetic --records 60", capsys)
    typed("build-instructions --pool-size 8", capsys)
    typed("train --backbone tiny --steps 2 --batch-size 4", capsys)
    write_wfdb(tmp_path / "set", "new")
    assert "1 has no report" in typed("prepare wfdb --root set --no-reports --out stores/new", capsys)
    said = typed("build-instructions stores/new --pool-size 8", capsys)
    assert "medreport generate runs/tiny-synthetic --store stores/new --instructions instructions/new" in said
    said = typed("generate --store stores/new --instructions instructions/new --max-new-tokens 6", capsys)
    assert "nothing to score these against" in said and "next: medreport score" not in said
    path = Path("predictions/tiny-synthetic-new.jsonl")
    row = json.loads(path.read_text())
    assert row["reference"] is None and row["prediction"] and row["record_id"] == "new"
    assert "none of the 1 predictions has a reference" in typed(f"score {path}", capsys, 2)
    assert "Report: none" in typed("view stores/new new", capsys)
    typed("leaks stores/synthetic stores/new", capsys)
    typed("perturb stores/new --kind gaussian --snr-db 5", capsys)
    assert "no record with a report in the train split" in typed(
        "train instructions/new --backbone tiny --out runs/x", capsys, 2)
    mixed = [json.loads(line) for line in path.read_text().splitlines()] + [
        {"record_id": f"r{i}", "prediction": "sinus rhythm", "reference": "sinus rhythm"} for i in range(3)]
    Path("mixed.jsonl").write_text("".join(json.dumps(one) + "\n" for one in mixed))
    said = typed("score mixed.jsonl --metric bleu --resamples 0", capsys)
    assert "1 of 4 predictions are not scored: their recordings have no report" in said
    assert json.loads(Path("scores/mixed.json").read_text())["n"] == 3


def test_tables_without_reports_take_the_references_of_another_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                                     capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    typed("prepare synthetic-emg --records 200 --language en", capsys)
    typed("build-instructions", capsys)
    typed("train --backbone tiny --recipe emgllm --stage1-steps 0 --steps 1 --batch-size 2", capsys)
    ncv = [{"record_id": name, "nerve": "median", "type": "motor", "stim": "wrist", "rec": "APB", "lat_l": "4.1",
            "amp_l": "7.2"} for name in "xy"]
    write_csv(tmp_path / "own" / "ncv.csv", ncv)
    write_csv(tmp_path / "own" / "cases.csv", [{"record_id": name, "age": "30", "sex": "F", "height": "160"}
                                               for name in "xy"])
    typed("prepare etm --root own --no-reports --out stores/new", capsys)
    said = typed("build-instructions stores/new", capsys)
    assert "no number has a reference range" in said and open_instructions(Path("instructions/new")).manifest.counts[
        "values"] == 0
    file = "stores/synthetic-emg/references.json"
    said = typed(f"build-instructions stores/new --references {file} --out instructions/b", capsys)
    assert open_instructions(Path("instructions/b")).manifest.counts["values"] == 4
    advised = ("generate runs/tiny-synthetic-emg --store stores/new --instructions instructions/b --references " + file)
    assert f"next: medreport {advised}\n" in said and "no number has a reference range" not in said
    typed(f"{advised} --max-new-tokens 4 --out p.jsonl", capsys)
    rows = [json.loads(line) for line in Path("p.jsonl").read_text().splitlines()]
    assert [row["record_id"] for row in rows] == ["x", "y"] and all(row["reference"] is None for row in rows)
    refused = typed(f"{advised} --out q.jsonl".replace(f" --references {file}", ""), capsys, 2)
    assert "no reference for" in refused and "--references" in refused
    assert "takes no --references" in typed(f"build-instructions stores/new --references {file}".replace(
        "stores/new", str(signals_store(tmp_path))), capsys, 2)


def signals_store(folder: Path) -> Path:
    write_wfdb(folder / "ecgs", "a")
    prepare(without("wfdb", folder / "ecgs"), folder / "stores" / "ecgs", no_reports=True)
    return folder / "stores" / "ecgs"


def test_the_case_that_was_got_wrong(shared_data: Path, tmp_path: Path) -> None:
    root = shared_data.parent / "cases" / "12-no-report"
    if not root.is_dir():
        pytest.skip("the cases are not here")
    prepare(without("wfdb", root, reports=root / "reports.csv"), tmp_path / "store", no_reports=True)
    row = open_store(tmp_path / "store").row(0)
    assert (row.record_id, row.report, row.split) == ("new", None, "test")
