"""Georgia, Chapman-Ningbo and the table of SNOMED CT codes: real recordings, made ones, and broken ones."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from challenge_fixture import write_challenge
from ptbxl_fixture import twelve_leads

from emgecg_cli.core.artifacts import QuarantineRow
from emgecg_cli.core.datasets import Recording, RecordRef, Source, open_dataset
from emgecg_cli.core.datasets.snomed import CODES, STATEMENTS, WRAPPED
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.signals.leads import LEADS, MISSING

# code=abbreviation of the Challenge 2021's tables of scored and of unscored diagnoses.
CHALLENGE = """
164889003=AF 164890007=AFL 6374002=BBB 426627000=Brady 733534002=CLBBB 713427006=CRBBB 270492004=IAVB
713426002=IRBBB 39732003=LAD 445118002=LAnFB 164909002=LBBB 251146004=LQRSV 698252002=NSIVCB 426783006=NSR
284470004=PAC 10370003=PR 365413008=PRWP 427172004=PVC 164947007=LPR 111975006=LQT 164917005=QAb 47665007=RAD
59118001=RBBB 427393009=SA 426177001=SB 427084000=STach 63593006=SVPB 164934002=TAb 59931005=TInv 17338001=VPB
233892002=AAR 164951009=abQRS 251187003=AED 61277005=AIVR 426664006=AJR 251139008=ALR 57054005=AMI
413444003=AMIs 426434006=AnMIs 54329005=AnMI 251173003=AB 195080001=AFAFL 195126007=AH 251268003=AP
106068003=ARH 713422000=ATach 233917008=AVB 50799005=AVD 29320008=AVJR 251166008=AVNRT 233897008=AVRT
251170000=BPAC 418818005=BRU 74615001=BTS 426749004=CAF 251199005=CCR 61721007=CVCL/CCVCL 698247007=CD
27885002=CHB 204384007=CIAHB 53741008=CHD 413844008=CMI 251198002=CR 82226007=DIB 428417006=ERe 13640000=FB
164942001=FQRS 84114007=HF 368009=HVD 251259000=HTV 251200008=ICA 195042002=IIAVB 426183003=IIAVBII
425419005=IIs 251120003=ILBBB 704997005=ISTD 49260003=IR 426995002=JE 251164006=JPC 426648003=JTach
253352002=LAA 67741000119109=LAE 446813000=LAH 425623009=LIs 445211001=LPFB 164873001=LVH 55827005=LVHV
370365005=LVS 164865005=MI 164861001=MIs 54016002=MoI 428750005=NSSTTA 164867002=OldMI 282825002=PAF
251205003=PPW 67198005=PSVT 425856008=PVT 164912004=PWC 253339007=RAAb 164921003=RAb 446358003=RAH
67751000119106=RAHV 314208002=RAF 89792004=RVH 17366009=SAAWR 65778007=SAB 5609005=SARR 60423000=SND
49578007=SPRI 77867006=SQT 55930002=STC 429622005=STD 164931005=STE 164930006=STIAb 251168009=SVB 426761007=SVT
266257000=TIA 251223006=TPW 164937009=UAb 11157007=VBig 164884008=VEB 75532003=VEsB 81898007=VEsR 164896001=VF
111288001=VFL 266249003=VH 195060002=VPEx 251266004=VPP 251182009=VPVC 164895002=VTach 251180001=VTrig
195101003=WAP 74390002=WPW
"""
CONDITION_NAMES = """
270492004 195042002 54016002 28189009 27885002 251173003 39732003 284470004 164917005 47665007 233917008 251199005
251198002 428417006 164942001 698252002 426995002 251164006 164909002 164873001 251146004 251148003 251147008 164865005
164947007 164912004 111975006 446358003 59118001 89792004 429622005 164930006 428750005 164931005 164934002 59931005
164937009 11157007 75532003 13640000 17338001 195060002 251180001 195101003 74390002 426177001 426783006 164889003
427084000 164890007 427393009 426761007 713422000 233896004 233897008
"""


def read_all(source: Source) -> tuple[dict[str, Recording], dict[str, QuarantineRow]]:
    """Everything by record id; the reader is sent through pickle, as to another process."""
    listed = list(source.listing())
    refs = [item for item in listed if isinstance(item, RecordRef)]
    found = list(pickle.loads(pickle.dumps(source.read))(refs))
    assert [item.ref.record_id if isinstance(item, Recording) else item.record_id for item in found] \
        == [ref.record_id for ref in refs]
    rows = [item for item in (*listed, *found) if isinstance(item, QuarantineRow)]
    return ({item.ref.record_id: item for item in found if isinstance(item, Recording)},
            {row.record_id: row for row in rows})


def test_the_table_is_the_challenges() -> None:
    gold = dict(entry.split("=") for entry in CHALLENGE.split())
    assert len(gold) == 133 and {code: CODES[code][0] for code in gold} == gold
    assert set(CONDITION_NAMES.split()) <= set(CODES)
    assert all(re.fullmatch(r"[A-Za-z][A-Za-z0-9 ,:()-]+", statement) for statement in STATEMENTS.values())


def test_the_table_is_in_the_order_of_a_report() -> None:
    order = list(CODES)
    in_turn = ["426783006", "426627000", "284470004", "10370003", "39732003", "270492004", "164873001", "164865005",
               "429622005", "251139008"]
    assert sorted(in_turn, key=order.index) == in_turn


def test_wrapped_codes_are_the_low_32_bits() -> None:
    for wrapped, code in WRAPPED.items():
        assert (int(code) - int(wrapped)) % 2 ** 32 == 0 and code in CODES


@pytest.mark.parametrize(("dataset", "folder", "record", "report", "age", "sex"), [
    ("georgia", "georgia", "E07507", "Prolonged QT interval. Nonspecific ST-T abnormality.", 68, "F"),
    ("chapman-ningbo", "ningbo", "JS20014",
     "Sinus bradycardia. Premature atrial contractions. Nonspecific intraventricular conduction disorder. "
     "Left ventricular hypertrophy. ST changes.", 87, "F"),
])
def test_real_records(shared_data: Path, dataset: str, folder: str, record: str, report: str, age: int,
                      sex: str) -> None:
    wfdb = pytest.importorskip("wfdb")
    root = shared_data / "cinc2021" / folder
    recordings, quarantine = read_all(open_dataset(dataset, seed=0, root=root))
    assert len(recordings) == 15 and not quarantine
    one = recordings[record]
    assert (one.report, one.age, one.sex) == (report, age, sex)
    assert (one.report_kind, one.language, one.fs, one.ref.subject_id) == ("template", "en", 500, record)
    for name, recording in recordings.items():
        expected = wfdb.rdsamp(str(root / name))[0].T * 1000
        assert np.array_equal(recording.signal, np.rint(expected).astype(np.int16)) and not recording.absent_leads
        stated = re.findall(r"Dx: (.*)", (root / f"{name}.hea").read_text())[0].split(",")
        assert recording.codes == sorted(stated)
        assert set(recording.report.split(". ")) == {STATEMENTS[code][0].upper() + STATEMENTS[code][1:] + end
                                                     for code, end in _ends(stated)}


def _ends(stated: list[str]) -> list[tuple[str, str]]:
    last = max(stated, key=list(CODES).index)
    return [(code, "." if code == last else "") for code in stated]


def test_physionets_layout_short_records_and_any_order_of_leads(tmp_path: Path) -> None:
    signal = twelve_leads(1, 500, 7)
    order = [3, 0, 11, 5, 4, 1, 2, 6, 8, 7, 9, 10]
    write_challenge(tmp_path, "WFDBRecords/01/010/JS00001", signal, "164889003,59118001, 164889003", hash_mark="#")
    write_challenge(tmp_path, "WFDBRecords/01/010/JS00002", signal[order], "775926597", "NaN", "Unknown",
                    [LEADS[i] for i in order])
    write_challenge(tmp_path, "WFDBRecords/02/020/JS00010", signal[:11], names=LEADS[:11], age="200", sex="F")
    source = open_dataset("chapman-ningbo", seed=0, root=tmp_path)
    recordings, quarantine = read_all(source)
    assert not quarantine and list(recordings) == ["JS00001", "JS00002", "JS00010"]
    first, second, third = recordings.values()
    assert first.ref.source == "WFDBRecords/01/010/JS00001" and first.codes == ["164889003", "59118001"]
    assert first.report == "Atrial fibrillation. Right bundle branch block." and (first.age, first.sex) == (54, "M")
    assert np.array_equal(first.signal, signal) and np.array_equal(second.signal, signal)
    assert second.codes == ["67741000119109"] and second.report == "Left atrial enlargement."
    assert (second.age, second.sex, third.age, third.sex) == (None, None, None, "F")
    assert third.absent_leads == ["V6"] and (third.signal[11] == MISSING).all()
    assert source.arguments == {"root": tmp_path.name, "codes": None}
    assert source.details["patients"] == "not published: one per record" and "flutter" in source.details["labels"]


def test_broken_records_are_set_aside_and_counted(tmp_path: Path) -> None:
    signal = twelve_leads(2, 500, 5)
    root = tmp_path / "georgia"
    for record, dx in {"E00001": "426783006", "E00002": None, "E00003": "Unknown", "E00004": "", "E00007": "426783006",
                       "E00005": "426783006,123", "E00006": "sinus rhythm", "E00008": "1" * 500}.items():
        write_challenge(root, record, signal, dx)
    mat = root / "E00007.mat"
    mat.write_bytes(mat.read_bytes()[:-1000])
    write_challenge(root, "E00009", signal, fs=250)
    write_challenge(root, "E00010", signal).unlink()
    header = write_challenge(root, "E00011", signal).with_suffix(".hea")
    header.write_text(header.read_text().replace("\n", " ", 1))  # as JS01052 of ecg-arrhythmia
    header = write_challenge(root, "E00012", signal).with_suffix(".hea")
    header.write_text(header.read_text().replace("E00012.mat", "../E00001.mat"))
    header = write_challenge(root, "E00013", signal).with_suffix(".hea")
    header.write_text(header.read_text().replace("1000.0(0)", "0"))
    header = write_challenge(root, "E00014", signal).with_suffix(".hea")
    header.write_bytes(b"\xff\xfe" + header.read_bytes()[5:300])
    (tmp_path / "outside.mat").write_bytes((root / "E00001.mat").read_bytes())
    write_challenge(root, "E00015", signal).unlink()
    (root / "E00015.mat").symlink_to(tmp_path / "outside.mat")
    write_challenge(root, "A0001", signal)
    write_challenge(root, "HR00001", signal)
    recordings, quarantine = read_all(open_dataset("georgia", seed=0, root=root))
    assert list(recordings) == ["E00001"]
    assert {name: row.reason for name, row in quarantine.items()} == {
        "E00002": "no label", "E00003": "no label", "E00004": "no label", "E00005": "unknown code",
        "E00006": "unknown code", "E00007": "wrong length", "E00008": "unknown code", "E00009": "wrong rate",
        "E00010": "missing file", "E00011": "unreadable header", "E00012": "path outside root",
        "E00013": "no calibration", "E00014": "unreadable header", "E00015": "path outside root",
        "A0001": "other set", "HR00001": "other set"}
    assert all(len(row.detail) < 300 and "\n" not in row.detail for row in quarantine.values())
    assert "123" in quarantine["E00005"].detail and "--codes" in quarantine["E00005"].detail


def test_statements_can_be_added_and_replaced(tmp_path: Path) -> None:
    root = tmp_path / "g"
    write_challenge(root, "E00001", twelve_leads(3, 500, 5), "123,59931005,426783006")
    table = tmp_path / "more.csv"
    table.write_text('code,statement,note\n123," wide  P wave. ",x\n426783006,normal sinus rhythm,\n')
    source = open_dataset("georgia", seed=0, root=root, codes=table)
    recordings, quarantine = read_all(source)
    assert not quarantine and recordings["E00001"].report == "Normal sinus rhythm. T wave inversion. Wide P wave."
    assert source.arguments["codes"] == "more.csv" and source.details["codes"]["statements"] == 2
    assert len(source.details["codes"]["sha256"]) == 64 and STATEMENTS["426783006"] == "sinus rhythm"


@pytest.mark.parametrize(("text", "message"), [
    ("code\n1\n", "lacks the column statement"), ("code,statement\n1,\n", "row 2: no statement for the code 1"),
    ("code,statement\n1,a\n,b\n", "row 3: no code"), ("code,statement\n1,a\n1,b\n", "row 3: the code 1 a second time"),
    ("code,statement\n1,' . '\n", "no statement"),
])
def test_bad_statements_are_refused_with_their_row(tmp_path: Path, text: str, message: str) -> None:
    write_challenge(tmp_path / "g", "E00001", twelve_leads(3, 500, 5))
    (tmp_path / "more.csv").write_text(text)
    with pytest.raises(MedReportError, match=message) as caught:
        open_dataset("georgia", seed=0, root=tmp_path / "g", codes=tmp_path / "more.csv")
    assert caught.value.hint


def test_folders_without_records_are_refused(tmp_path: Path) -> None:
    for root in (tmp_path / "none", tmp_path):
        with pytest.raises(MedReportError) as caught:
            open_dataset("chapman-ningbo", seed=0, root=root)
        assert str(root) in caught.value.message and "--root" in (caught.value.hint or "")
