"""Spellings of the twelve leads, names that are other signals, and limb leads computed from two others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ptbxl_fixture import twelve_leads, write_record
from store_helpers import prepare

from emgecg_cli.core.config import PrepareConfig
from emgecg_cli.core.datasets import open_dataset
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.signals.derived_leads import can_derive, derive_leads
from emgecg_cli.core.signals.lead_names import lead_of, lead_rows
from emgecg_cli.core.signals.leads import LEADS, MISSING
from emgecg_cli.core.store import Store
from emgecg_cli.core.store.payloads import KINDS
from emgecg_cli.core.store.prepare import settings_for
from emgecg_cli.core.store.reader import open_store
from emgecg_cli.core.view import check_lines

DI = ("DI", "DII", "DIII", "AVR", "AVL", "AVF", "C1", "C2", "C3", "C4", "C5", "C6")
FORMS = ("{}", " {} ", "ECG lead {}", "ECG {}", "EKG {}", "MDC_ECG_LEAD_{}", "MDC_ECG_ELEC_POTL_{}", "Lead-{}",
         "lead {}", "LEAD{}", "Lead_{}", "ECG_{}", "ECG-{}", "ECG - {}", "Lead: {}", "{} (mV)", "{}[uV]", "{} µV",
         "{}_mV", "Ableitung {}", "Derivación {}", "导联 {}", "{}导联")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", [str, str.upper, str.lower])
def test_every_form_of_every_lead(form: str, case: type[str]) -> None:
    for names in (LEADS, DI, ("D1", "D2", "D3", *LEADS[3:])):
        assert lead_rows([case(form.format(name)) for name in names]) == {row: row for row in range(12)}


@pytest.mark.parametrize("names", [
    ("D I", "D II", "D III", "aV R", "aV L", "aV F", "V 1", "V 2", "V 3", "V 4", "V 5", "V 6"),
    ("D 1", "D-2", "Lead D III", "A VR", "aV_L", "aV-F", "C 1", "V_2", "V-3", "ECG V 4", "v 5 (mV)", "c-6")])
def test_what_stands_inside_the_name_of_a_lead_does_not_count(names: tuple[str, ...]) -> None:
    assert lead_rows(names) == {row: row for row in range(12)}


@pytest.mark.parametrize("name", [
    "MLII", "MLI", "MCL1", "MCL6", "ECG1", "ECG 1", "Lead 1", "ecg", "lead", "", "V", "aV", "VR", "VL", "VF", "V7",
    "V3R", "V4R", "C7", "D4", "CM5", "CC5", "CS12", "CB5", "X", "Y", "Z", "ABP", "RESP", "PLETH", "-aVR", "ECG -aVR",
    "lead -I", "aVR-", "-I", "I-II", "II-V2", "V1-V2", "I+", "II (filtered)", "aVR (inverted)", "VI", "V10", "IV", "I2",
    "V 7", "C M5", "I I", "I II", "ECG lead", "mV", "(mV)", "MDC_ECG_LEAD_MCL1", "C3-A2", "I/II", "lead lead",
    "II" * 500])
def test_other_signals_are_no_leads(name: str) -> None:
    assert lead_of(name) is None


def test_chest_electrodes_beside_an_eeg_are_none() -> None:
    assert lead_rows(["I", "C3", "C4"]) == {0: 0, 8: 1, 9: 2}
    for other in ("O1", "EEG Fpz-Cz", "F3-M2", "EEG (C4-A1)", "Cz"):
        assert lead_rows(["ECG I", "C3", "C4", other, "V5"]) == {0: 0, 10: 4}, other


@pytest.mark.parametrize("names", [("II", "DII"), ("V1", "C1"), ("ECG II", "lead ii"), ("aVL", "AVL")])
def test_two_spellings_of_one_lead_are_refused_with_both(tmp_path: Path, names: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match=f"named twice, as {names[0]} and as {names[1]}"):
        lead_rows(["I", *names])
    folder(tmp_path, twelve_leads(1, 100)[:3], ["III", *names])
    with pytest.raises(MedReportError):
        stored(tmp_path)
    assert f"as {names[0]} and as {names[1]}" in (tmp_path / "store" / "quarantine.jsonl").read_text()


def folder(tmp_path: Path, signal: np.ndarray, names: list[str] | tuple[str, ...]) -> None:
    write_record(tmp_path / "set" / "a", signal, 100, names)
    (tmp_path / "reports.csv").write_text("record,report\na,sinus rhythm normal\n")


def stored(tmp_path: Path, **given: object) -> Store:
    source = open_dataset("wfdb", seed=0, root=tmp_path / "set", reports=tmp_path / "reports.csv")
    prepare(source, tmp_path / "store", **given)
    return open_store(tmp_path / "store")


@pytest.mark.parametrize("names", [DI, [f"ECG lead {name}" for name in LEADS], [f"MDC_ECG_LEAD_{n}" for n in LEADS]])
def test_a_record_of_other_spellings_has_all_leads(tmp_path: Path, names: list[str]) -> None:
    folder(tmp_path, twelve_leads(1, 100), names)
    store = stored(tmp_path)
    assert np.array_equal(store.signal(0), twelve_leads(1, 100))
    assert store.row(0).absent_leads == [] and store.row(0).reading is None and store.row(0).lead_check == "ok"


def test_what_was_not_used_is_named_in_row_card_and_quarantine(tmp_path: Path) -> None:
    folder(tmp_path, twelve_leads(1, 100)[:4], ["MLII", "V5", "", "-aVR"])
    store = stored(tmp_path)
    row = store.row(0)
    assert row.reading is not None and row.reading.unused_signals == ["MLII", "(no name)", "-aVR"]
    assert store.manifest.counts["with_unused_signals"] == 1
    assert store.manifest.counts["unused_signals"] == {"(no name)": 1, "-aVR": 1, "MLII": 1}
    assert store.scan().collect()["unused_signals"].to_list() == [["MLII", "(no name)", "-aVR"]]
    card = (tmp_path / "store" / "card.md").read_text()
    assert "V4, V6; not used: MLII, (no name), -aVR" in card and "Signals of the files, not used" in card
    assert "not used: MLII, (no name), -aVR" in check_lines(row)
    write_record(tmp_path / "set" / "b", twelve_leads(1, 100)[:2], 100, ["MLII", "ECG1"])
    (tmp_path / "reports.csv").write_text("record,report\nb,x\n")
    source = open_dataset("wfdb", seed=0, root=tmp_path / "set", reports=tmp_path / "reports.csv")
    with pytest.raises(MedReportError):
        prepare(source, tmp_path / "none")
    assert '"no standard leads", "detail": "not used: MLII, ECG1"' in (tmp_path / "none/quarantine.jsonl").read_text()


@pytest.mark.parametrize("kept", [(0, 1), (0, 2), (1, 2), (0, 5), (3, 4), (0, 1, 4), (2, 3, 5)])
def test_any_two_limb_leads_give_the_others(kept: tuple[int, ...]) -> None:
    signal = twelve_leads(1, 100)
    absent = [name for row, name in enumerate(LEADS[:6]) if row not in kept]
    given = signal.copy()
    given[[LEADS.index(name) for name in absent]] = MISSING
    given[kept[0], 7] = MISSING
    found, derived = derive_leads(given, absent)
    assert derived == absent == can_derive(absent)
    difference = np.abs(np.delete(found, 7, axis=1).astype(int) - np.delete(signal, 7, axis=1))
    assert difference.max() <= (0.5 if kept == (0, 1) else 2)
    assert (found[[LEADS.index(name) for name in absent], 7] == MISSING).all()
    assert np.array_equal(found[6:], signal[6:])


def test_derived_leads_are_the_definitions_and_clip() -> None:
    signal = np.full((12, 3), MISSING, np.int16)
    signal[0], signal[1] = [100, -30000, MISSING], [50, 30000, 5]
    found, derived = derive_leads(signal, LEADS[2:6])
    assert derived == list(LEADS[2:6])
    assert found[2:6].tolist() == [[-50, 32767, MISSING], [-75, 0, MISSING], [75, -32767, MISSING], [0, 32767, MISSING]]
    one = derive_leads(signal, LEADS[1:6])
    assert one[1] == [] and one[0] is signal and derive_leads(signal, [])[1] == [] and can_derive(["V1"]) == []


EIGHT = (0, 1, 6, 7, 8, 9, 10, 11)


def test_an_export_of_eight_leads(tmp_path: Path) -> None:
    signal = twelve_leads(1, 100)
    signal[5] *= -1  # not in the file, so that nothing of it may matter
    folder(tmp_path, signal[list(EIGHT)], [LEADS[row] for row in EIGHT])
    plain = stored(tmp_path)
    assert plain.row(0).absent_leads == list(LEADS[2:6]) and plain.row(0).reading is None
    card = (tmp_path / "store" / "card.md").read_text()
    assert "1 record lacks limb leads" in card and "`medreport prepare --derive-leads`" in card
    assert "derive_leads" not in plain.manifest.arguments
    (tmp_path / "store").rename(tmp_path / "plain")
    store = stored(tmp_path, derive_leads=True)
    row = store.row(0)
    i, ii = (signal[lead].astype(float) for lead in (0, 1))
    assert np.abs(store.signal(0)[2:6] - np.array([ii - i, -(i + ii) / 2, i - ii / 2, ii - i / 2])).max() <= 0.5
    assert np.array_equal(store.signal(0)[list(EIGHT)], signal[list(EIGHT)])
    assert row.absent_leads == [] and row.reading is not None and row.reading.derived_leads == list(LEADS[2:6])
    assert row.n_missing == 0 and store.manifest.arguments["derive_leads"] is True
    assert store.manifest.counts["with_derived_leads"] == 1
    assert "--derive-leads`" not in (tmp_path / "store" / "card.md").read_text()


def test_derived_leads_are_no_evidence(tmp_path: Path) -> None:
    signal = twelve_leads(1, 100)
    folder(tmp_path, signal[[1, 0, *EIGHT[2:]]], [LEADS[row] for row in EIGHT])  # I and II exchanged
    row = stored(tmp_path, derive_leads=True).row(0)
    assert row.lead_check.startswith("not checked") and "III, aVR, aVL, aVF are derived" in row.lead_check
    assert row.einthoven_p50_uv is row.goldberger_p50_uv is None
    (tmp_path / "store").rename(tmp_path / "first")
    signal[2] *= -1  # III is there: Einthoven's law is held against what was recorded, Goldberger's is not
    folder(tmp_path, signal[[0, 1, 2]], LEADS[:3])
    row = stored(tmp_path, derive_leads=True).row(0)
    assert row.lead_check.startswith("suspect") and row.goldberger_p50_uv is None
    (tmp_path / "store").rename(tmp_path / "second")
    flat = np.zeros((2, 1000), np.int16)
    folder(tmp_path, np.concatenate([flat, signal[6:8]]), ["I", "II", "V1", "V2"])
    assert stored(tmp_path, derive_leads=True).row(0).flat_leads == ["I", "II"]


def test_the_files_that_were_got_wrong(shared_data: Path, tmp_path: Path) -> None:
    cases = shared_data.parent / "cases"
    for case, names in (("02-lead-names", ("di", "ecg_lead")), ("13-eight-leads", ("muse8",))):
        if not (cases / case).is_dir():
            pytest.skip("the cases are not here")
        source = open_dataset("wfdb", seed=0, root=cases / case, reports=cases / case / "reports.csv")
        prepare(source, tmp_path / case, fs=250, derive_leads=True)
        store = open_store(tmp_path / case)
        assert [store.row(i).absent_leads for i in range(len(store))] == [[]] * len(names)
        for i in range(len(store)):
            limb = store.signal(i)[:6].astype(int)
            assert np.abs(limb[2] - (limb[1] - limb[0])).max() <= 2 and np.abs(limb).max() > 500


def test_tables_have_no_leads_to_derive() -> None:
    with pytest.raises(MedReportError, match="--derive-leads has no effect on tables"):
        settings_for(KINDS["tables"], PrepareConfig(derive_leads=True))
