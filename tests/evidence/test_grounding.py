"""Interpretations held against a recording: numbers, leads, rhythm, and the criteria of diagnoses."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emgecg_cli.core.artifacts import Measurements, QuarantineRow
from emgecg_cli.core.datasets import open_dataset
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.evidence import grounding
from emgecg_cli.core.evidence.claims import Verdict
from emgecg_cli.core.evidence.grounding import Grounding, ground
from emgecg_cli.core.evidence.waveform import Beats, Waveform, holds
from emgecg_cli.core.reports.ecg.diagnoses import WaveClaim, diagnoses, read_diagnoses
from emgecg_cli.core.reports.ecg.interpretation import read_interpretation
from emgecg_cli.core.signals.delineation import find_waves
from emgecg_cli.core.signals.delineation.lead_waves import LeadWaves
from emgecg_cli.core.signals.delineation.per_beat import widest_ectopic_ms
from emgecg_cli.core.signals.leads import LEADS

GOOD = {f"{name}_quality": "good" for name in ("heart_rate", "regular", "p_present", "p", "pr", "qrs", "qt", "qrs_axis",
                                               "st")}
LBBB = Measurements(12, 72.0, regular=True, p_present=True, p_ms=100, pr_ms=230, qrs_ms=148, qt_ms=420,
                    qtc_bazett_ms=460, qtc_fridericia_ms=446, qrs_axis_deg=-42,
                    st_uv=[0.0] * 6 + [260.0] * 3 + [0.0] * 3, **GOOD)


def waves(**of: list[float]) -> LeadWaves:
    flat = dict.fromkeys(("p", "q", "q_ms", "r", "s", "t", "qrs", "net", "end"), [0.0] * len(LEADS))
    return LeadWaves({**flat, **of})


# V1 to V3 go down, I and V6 up, T is inverted in I, aVL, V5 and V6
OF_LBBB = Waveform(LBBB, waves(net=[0.8, 0.1, -0.5, 0, 0.7, 0, -0.9, -0.8, -0.7, 0, 0.5, 0.9],
                               t=[-0.3, 0.1, 0.3, 0.1, -0.3, 0.2, 0.6, 0.7, 0.6, 0.2, -0.25, -0.3],
                               end=[0.2, 0, 0, 0, 0.1, 0, -0.3, -0.2, 0, 0, 0.1, 0.2],
                               r=[1.2, 0.5, 0.1, 0.1, 0.9, 0.2, 0.1, 0.2, 0.3, 0.9, 1.4, 1.6],
                               qrs=[1.3, 0.9, 1.0, 0.6, 1.0, 0.6, 1.5, 2.2, 2.0, 1.2, 1.5, 1.6]), "M")


def verdicts(found: Grounding) -> dict[str, str]:
    return {one.item: one.verdict.value for one in found.held}


def test_a_diagnosis_is_held_against_each_of_its_criteria() -> None:
    right = ground("Sinus rhythm. Left bundle branch block.", "en", OF_LBBB)
    assert verdicts(right) == {"sinus rhythm": "supported", "left bundle branch block": "supported"}
    block = next(one for one in right.held if one.item.startswith("left"))
    assert block.criteria == (Verdict.SUPPORTED,) * 3 and block.cited == 0
    cited = ground("Left bundle branch block with a QRS duration of 150 ms.", "en", OF_LBBB)
    assert next(one.cited for one in cited.held if one.item.startswith("left")) == 1
    narrow = replace(OF_LBBB, measurements=replace(LBBB, qrs_ms=96.0))
    assert verdicts(ground("Left bundle branch block.", "en", narrow)) == {"left bundle branch block": "contradicted"}
    assert verdicts(ground("Right bundle branch block.", "en", OF_LBBB)) == {"right bundle branch block":
                                                                             "contradicted"}
    poor = replace(OF_LBBB, measurements=replace(LBBB, qrs_quality="poor"))
    assert verdicts(ground("Left bundle branch block.", "en", poor)) == {"left bundle branch block": "not measurable"}


@pytest.mark.parametrize(("text", "ectopic_ms", "paced", "verdict"), [
    ("Premature ventricular complexes.", 150.0, False, "supported"),
    ("Frequent PVCs.", 0.0, False, "contradicted"),
    ("Frequent PVCs.", 80.0, False, "contradicted"),   # an early beat that is not of the ventricles
    ("Frequent PVCs.", None, False, "not measurable"),
    ("Ventricular paced rhythm.", None, True, "supported"),
    ("Ventricular paced rhythm.", None, False, "not measurable"),   # modern spikes are too short to be seen
    ("Atrial flutter.", 0.0, False, None), ("Third degree AV block.", 0.0, False, None)])
def test_ectopy_and_pacing(text: str, ectopic_ms: float | None, paced: bool, verdict: str | None) -> None:
    found = ground(text, "en", replace(OF_LBBB, ectopic_ms=ectopic_ms, paced=paced))
    assert [one.verdict.value for one in found.held] == ([] if verdict is None else [verdict])
    said = dict(ground("Left bundle branch block.", "en", replace(OF_LBBB, ectopic_ms=150.0)).there)
    assert said["premature ventricular complexes"] is False


def annotated(folder: Path) -> dict[str, tuple[bool, bool]]:
    """Record -> whether cardiologists say it has ventricular premature complexes, and that it is paced."""
    name = "ludb.csv" if folder.name == "ludb" else "ptbxl_database.csv"
    with (folder / name).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if folder.name == "ludb":
        return {row["ID"]: (row["Extrasystolies"].startswith("Ventricular extrasystole"),
                            bool(row["Cardiac pacing"].strip())) for row in rows}
    return {row["ecg_id"]: ("'PVC'" in row["scp_codes"], "'PACE'" in row["scp_codes"]) for row in rows}


@pytest.mark.parametrize(("dataset", "every"), [("ludb", 3), ("ptb-xl", 12)])
def test_ectopy_and_pacing_of_real_recordings(shared_data: Path, dataset: str, every: int) -> None:
    """Records that are annotated so, and some of those that are not."""
    said = annotated(shared_data / dataset)
    source = open_dataset(dataset, 0, 500, root=shared_data / dataset)
    refs = [ref for i, ref in enumerate(source.listing()) if any(said[ref.record_id]) or i % every == 0]
    ectopy: dict[bool, list[bool]] = {True: [], False: []}
    pacing: dict[bool, list[bool]] = {True: [], False: []}
    for recording in source.read(refs):
        if isinstance(recording, QuarantineRow):
            continue
        found = find_waves(np.asarray(recording.signal), int(recording.fs))
        assert found is not None
        ventricular, paced = said[recording.ref.record_id]
        pacing[paced].append(found.pacing is not None)
        if not paced:
            ectopy[ventricular].append((widest_ectopic_ms(found) or 0) >= 100)
    assert np.mean(ectopy[True]) > 0.9 and np.mean(ectopy[False]) < 0.1
    assert np.mean(pacing[True]) >= 0.8 and not any(pacing[False])


def test_a_claim_is_judged_once_whoever_makes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[object] = []
    monkeypatch.setattr(grounding, "holds", lambda claim, of: judged.append(claim) or holds(claim, of))
    ground("Sinus rhythm. Left bundle branch block with a QRS above 120 ms, intraventricular conduction delay.", "en",
           OF_LBBB)
    assert len(judged) == len(set(judged)) >= 4


@pytest.mark.parametrize(("text", "right", "wrong"), [
    ("T wave inversion in I, aVL and V5-V6.", 4, 0),
    ("In V1 through V3 the T waves are upright.", 3, 0),
    ("Inverted T waves in leads V2 and V6.", 1, 1),
    ("R wave amplitude in V6 of 1.6 mV, in V5 the R wave reaches 4 mV.", 1, 1),
    ("The QRS amplitude is 2.2 mV in V2.", 1, 0),
    ("PR intervals of 228, 232 and 180 ms.", 2, 1),
    ("RR interval of 833 ms, rate 72.", 2, 0), ("RR interval of 600 ms.", 0, 1),
    ("ST elevation in V1-V3.", 3, 0), ("ST elevation of 4 mm in V2.", 0, 1), ("No ST elevation in V5.", 0, 0),
    ("ST depression in lead V7.", 0, 1), ("Inferior ST elevation.", 0, 1),
    ("QTc 455 ms, axis -40 degrees, the rhythm is irregular.", 2, 1),
])
def test_what_is_said_of_leads_and_in_numbers(text: str, right: int, wrong: int) -> None:
    found = [one for one in ground(text, "en", OF_LBBB).held if not one.criteria]
    assert (sum(one.verdict == Verdict.SUPPORTED for one in found),
            sum(one.verdict == Verdict.CONTRADICTED for one in found)) == (right, wrong)


def test_what_is_there_must_be_said_and_by_its_own_words_or_a_statement() -> None:
    there = dict(ground("", "en", OF_LBBB).there)
    assert {"sinus rhythm", "first degree AV block", "left bundle branch block", "lateral T wave inversion"} <= \
        set(there) and not any(there.values())
    assert "left axis deviation" in there and "long QT interval" not in there   # 446 and 460 ms: one of them is normal
    said = dict(ground("PR 230 ms. Lateral T wave inversion. Left axis deviation.", "en", OF_LBBB).there)
    assert {name for name, yes in said.items() if yes} == {"first degree AV block", "lateral T wave inversion",
                                                           "left axis deviation"}


def test_the_score_of_a_text_lies_between_nothing_said_and_all_of_it() -> None:
    whole = ground("Sinus rhythm, rate 72. First degree AV block. Left bundle branch block, left axis deviation. ST "
                   "elevation in V1-V3, T wave inversion in I, aVL, V5 and V6.", "en", OF_LBBB)
    part = ground("Sinus rhythm, rate 72.", "en", OF_LBBB)
    wrong = ground("Atrial fibrillation, rate 140. Right bundle branch block.", "en", OF_LBBB)
    assert whole.precision == 1 and whole.recall > 0.85
    assert ground("", "en", OF_LBBB).score == wrong.score == 0 < part.score < whole.score
    assert verdicts(ground("Normal ECG.", "en", OF_LBBB)) == {"normal ECG": "contradicted"}
    assert len(ground("Rate 72. Rate 72. Heart rate 72 bpm. Rate 72.", "en", OF_LBBB).held) == 1   # said once


def test_beats_judge_numbers_of_a_lead() -> None:
    beats = {"III": {"qrs_duration": [70, 72, None], "qrs_amplitude": [0.4]}}
    text = "In lead III the QRS duration is 70 ms and the QRS amplitude is 0.4 mV."
    assert not any(one.verdict == Verdict.SUPPORTED for one in ground(text, "en", OF_LBBB).held)
    with_beats = ground(text, "en", replace(OF_LBBB, beats=beats)).held
    assert [one.verdict for one in with_beats] == [Verdict.SUPPORTED] * 2
    asked: list[int] = []
    late = replace(OF_LBBB, beats=Beats(lambda: asked.append(1) or beats))
    ground("Rate 72, PR 230 ms.", "en", late)
    assert not asked   # it is measured for numbers of a lead alone, and once
    assert ground(text, "en", late).held == with_beats and ground(text, "en", late).held and len(asked) == 1


def test_claims_in_german_and_hostile_texts() -> None:
    found = read_interpretation("Sinusrhythmus, PQ-Zeit 230 ms, T-Negativierungen in V5 und V6.", "de")
    assert "SR" in found.statements and WaveClaim("t", high=-0.1, leads=("V6",), least=0) in found.claims
    for text in ("t wave " * 20_000, "r wave of " * 5000 + "1 mv", "v1-v6 " * 9000, "1, " * 30_000,
                 "qrs amplitude " * 5000):
        ground(text, "en", OF_LBBB)


def test_the_file_of_criteria_names_its_faults() -> None:
    assert all(one.source and one.criteria for one in diagnoses()) and len(diagnoses()) > 40
    for text, fault in (("[XYZ] x\npr > 1\nfrom x", "line 1: no statement XYZ"), ("[] x\nVX: st > 1\nfrom x", "line 2"),
                        ("[] x\nhight > 1\nfrom x", "no quantity hight"), ("[] x\npr > 200", "lacks criteria"),
                        ("[] x\n3 of I II: st > 1\nfrom x", "3 of 2 leads"),
                        ("[] x\nqtc > 470\nfrom x", "limits of qtc")):
        with pytest.raises(MedReportError, match=fault):
            read_diagnoses(text)
