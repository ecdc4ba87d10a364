"""SNOMED CT codes of ECG databases -> statements: the table of the PhysioNet/CinC Challenge 2021, and a few more.

Codes and meanings are those of the Challenge's evaluation tables (`dx_mapping_scored.csv`, `dx_mapping_unscored.csv`;
Reyna et al. 2021), which say what the databases meant by a code; SNOMED CT's own term differs for some (29320008 is
"ectopic rhythm" there). The codes that only ecg-arrhythmia's `ConditionNames_SNOMED-CT.csv` or the Challenge's first
table of 2020 have come with their meaning there. The order is that of a report (see `templates`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emgecg_cli.core.datasets.formats.csv_tables import file_hash, first_row, read_columns
from emgecg_cli.core.errors import MedReportError

# code -> (abbreviation, statement)
CODES: dict[str, tuple[str, str]] = {
    # rhythm
    "426783006": ("NSR", "sinus rhythm"),
    "426177001": ("SB", "sinus bradycardia"),
    "427084000": ("STach", "sinus tachycardia"),
    "427393009": ("SA", "sinus arrhythmia"),
    "5609005": ("SARR", "sinus arrest"),
    "65778007": ("SAB", "sinoatrial block"),
    "60423000": ("SND", "sinus node dysfunction"),
    "74615001": ("BTS", "bradycardia-tachycardia syndrome"),
    "164889003": ("AF", "atrial fibrillation"),
    "282825002": ("PAF", "paroxysmal atrial fibrillation"),
    "426749004": ("CAF", "chronic atrial fibrillation"),
    "314208002": ("RAF", "rapid atrial fibrillation"),
    "164890007": ("AFL", "atrial flutter"),
    "195080001": ("AFAFL", "atrial fibrillation and flutter"),
    "106068003": ("ARH", "atrial rhythm"),
    "233892002": ("AAR", "accelerated atrial escape rhythm"),
    "713422000": ("ATach", "atrial tachycardia"),
    "713423005": ("MATach", "multifocal atrial tachycardia"),
    "195101003": ("WAP", "wandering atrial pacemaker"),
    "17366009": ("SAAWR", "wandering rhythm between sinus node and atrium"),
    "426761007": ("SVT", "supraventricular tachycardia"),
    "67198005": ("PSVT", "paroxysmal supraventricular tachycardia"),
    "251166008": ("AVNRT", "atrioventricular node reentrant tachycardia"),
    "233896004": ("AVNRT", "atrioventricular node reentrant tachycardia"),
    "233897008": ("AVRT", "atrioventricular reentrant tachycardia"),
    "29320008": ("AVJR", "atrioventricular junctional rhythm"),
    "426664006": ("AJR", "accelerated junctional rhythm"),
    "426648003": ("JTach", "junctional tachycardia"),
    "50799005": ("AVD", "atrioventricular dissociation"),
    "49260003": ("IR", "idioventricular rhythm"),
    "61277005": ("AIVR", "accelerated idioventricular rhythm"),
    "81898007": ("VEsR", "ventricular escape rhythm"),
    "164895002": ("VTach", "ventricular tachycardia"),
    "425856008": ("PVT", "paroxysmal ventricular tachycardia"),
    "111288001": ("VFL", "ventricular flutter"),
    "164896001": ("VF", "ventricular fibrillation"),
    "698247007": ("CD", "cardiac dysrhythmia"),
    # rate
    "426627000": ("Brady", "bradycardia"),
    # ectopic and escape beats
    "284470004": ("PAC", "premature atrial contractions"),
    "63593006": ("SVPB", "supraventricular premature beats"),
    "251170000": ("BPAC", "blocked premature atrial contraction"),
    "251173003": ("AB", "atrial bigeminy"),
    "251168009": ("SVB", "supraventricular bigeminy"),
    "251187003": ("AED", "atrial escape beat"),
    "251164006": ("JPC", "junctional premature complex"),
    "426995002": ("JE", "junctional escape"),
    "427172004": ("PVC", "premature ventricular contractions"),
    "17338001": ("VPB", "ventricular premature beats"),
    "164884008": ("VEB", "ventricular ectopic beats"),
    "251182009": ("VPVC", "paired ventricular premature complexes"),
    "11157007": ("VBig", "ventricular bigeminy"),
    "251180001": ("VTrig", "ventricular trigeminy"),
    "75532003": ("VEsB", "ventricular escape beat"),
    "13640000": ("FB", "fusion beats"),
    # pacing
    "10370003": ("PR", "pacing rhythm"),
    "251268003": ("AP", "atrial pacing pattern"),
    "251266004": ("VPP", "ventricular pacing pattern"),
    # axis and rotation
    "39732003": ("LAD", "left axis deviation"),
    "47665007": ("RAD", "right axis deviation"),
    "251200008": ("ICA", "indeterminate cardiac axis"),
    "251198002": ("CR", "clockwise rotation"),
    "251199005": ("CCR", "counterclockwise rotation"),
    "61721007": ("CVCL/CCVCL", "clockwise or counterclockwise vectorcardiographic loop"),
    # conduction and intervals
    "233917008": ("AVB", "AV block"),
    "270492004": ("IAVB", "first-degree AV block"),
    "195042002": ("IIAVB", "second-degree AV block"),
    "54016002": ("MoI", "second-degree AV block, Mobitz type I (Wenckebach)"),
    "28189009": ("MoII", "second-degree AV block, Mobitz type II"),
    "426183003": ("IIAVBII", "second-degree AV block, Mobitz type II"),
    "164903001": ("PAVB21", "partial AV block 2:1"),
    "27885002": ("CHB", "complete heart block"),
    "204384007": ("CIAHB", "congenital incomplete AV block"),
    "164947007": ("LPR", "prolonged PR interval"),
    "49578007": ("SPRI", "shortened PR interval"),
    "195060002": ("VPEx", "ventricular pre-excitation"),
    "74390002": ("WPW", "Wolff-Parkinson-White pattern"),
    "6374002": ("BBB", "bundle branch block"),
    "164909002": ("LBBB", "left bundle branch block"),
    "733534002": ("CLBBB", "complete left bundle branch block"),
    "251120003": ("ILBBB", "incomplete left bundle branch block"),
    "59118001": ("RBBB", "right bundle branch block"),
    "713427006": ("CRBBB", "complete right bundle branch block"),
    "713426002": ("IRBBB", "incomplete right bundle branch block"),
    "445118002": ("LAnFB", "left anterior fascicular block"),
    "445211001": ("LPFB", "left posterior fascicular block"),
    "698252002": ("NSIVCB", "nonspecific intraventricular conduction disorder"),
    "82226007": ("DIB", "diffuse intraventricular block"),
    "164951009": ("abQRS", "abnormal QRS complex"),
    "164942001": ("FQRS", "fragmented QRS complex"),
    "111975006": ("LQT", "prolonged QT interval"),
    "77867006": ("SQT", "shortened QT interval"),
    # atria, hypertrophy and voltage
    "164912004": ("PWC", "P wave changes"),
    "251205003": ("PPW", "prolonged P wave"),
    "251223006": ("TPW", "tall P wave"),
    "253352002": ("LAA", "left atrial abnormality"),
    "67741000119109": ("LAE", "left atrial enlargement"),
    "446813000": ("LAH", "left atrial hypertrophy"),
    "253339007": ("RAAb", "right atrial abnormality"),
    "446358003": ("RAH", "right atrial hypertrophy"),
    "67751000119106": ("RAHV", "right atrial high voltage"),
    "195126007": ("AH", "atrial hypertrophy"),
    "164873001": ("LVH", "left ventricular hypertrophy"),
    "55827005": ("LVHV", "left ventricular high voltage"),
    "370365005": ("LVS", "left ventricular strain"),
    "89792004": ("RVH", "right ventricular hypertrophy"),
    "266249003": ("VH", "ventricular hypertrophy"),
    "251146004": ("LQRSV", "low QRS voltages"),
    "251147008": ("LQRSVLL", "low QRS voltages in the limb leads"),
    "251148003": ("LQRSP", "low QRS voltages in the precordial leads"),
    # infarction and ischemia
    "164865005": ("MI", "myocardial infarction"),
    "57054005": ("AMI", "acute myocardial infarction"),
    "54329005": ("AnMI", "anterior myocardial infarction"),
    "164867002": ("OldMI", "old myocardial infarction"),
    "164861001": ("MIs", "myocardial ischemia"),
    "413444003": ("AMIs", "acute myocardial ischemia"),
    "413844008": ("CMI", "chronic myocardial ischemia"),
    "426434006": ("AnMIs", "anterior ischemia"),
    "425419005": ("IIs", "inferior ischemia"),
    "425623009": ("LIs", "lateral ischemia"),
    "164917005": ("QAb", "abnormal Q wave"),
    "164921003": ("RAb", "R wave abnormality"),
    "365413008": ("PRWP", "poor R wave progression"),
    # ST, T and U
    "164931005": ("STE", "ST elevation"),
    "429622005": ("STD", "ST depression"),
    "704997005": ("ISTD", "inferior ST segment depression"),
    "164930006": ("STIAb", "ST interval abnormality"),
    "55930002": ("STC", "ST changes"),
    "428750005": ("NSSTTA", "nonspecific ST-T abnormality"),
    "164934002": ("TAb", "T wave abnormality"),
    "59931005": ("TInv", "T wave inversion"),
    "251259000": ("HTV", "high T wave voltage"),
    "164937009": ("UAb", "U wave abnormality"),
    "251242005": ("UTall", "tall U wave"),
    "428417006": ("ERe", "early repolarization"),
    "418818005": ("BRU", "Brugada syndrome"),
    # other
    "423863005": ("EA", "electrical alternans"),
    "53741008": ("CHD", "coronary heart disease"),
    "84114007": ("HF", "heart failure"),
    "368009": ("HVD", "heart valve disorder"),
    "78069008": ("CRPC", "chronic rheumatic pericarditis"),
    "266257000": ("TIA", "transient ischemic attack"),
    "251139008": ("ALR", "suspected reversal of the arm leads"),
    "251143007": ("ART", "ECG artifacts"),
}
STATEMENTS: dict[str, str] = {code: statement for code, (_, statement) in CODES.items()}

# ecg-arrhythmia 1.0.0 has two codes of more than 32 bits as their low 32 bits, read as a signed number.
WRAPPED = {"775926597": "67741000119109", "-2108975294": "67751000119106"}


def read_statements(path: Path) -> tuple[dict[str, str], dict[str, Any]]:
    """A CSV `code,statement` of further or other statements, and what to say of the file in the manifest.

    Raises MedReportError naming the row for a code or a statement that is empty and for a code given twice.
    """
    table = read_columns(path, ("code", "statement"))
    statements: dict[str, str] = {}
    for number, (code, statement) in enumerate(zip(table["code"], table["statement"], strict=True), first_row(path)):
        code, statement = code.strip(), " ".join(statement.split())
        if not code or not any(c.isalnum() for c in statement):
            what = "code" if not code else f"statement for the code {code[:40]}"
            raise MedReportError(f"{path}, row {number}: no {what}", "each row is a code and what to write for it")
        if code in statements:
            raise MedReportError(f"{path}, row {number}: the code {code[:40]} a second time",
                                 "keep one statement per code")
        statements[code] = statement
    return statements, {"sha256": file_hash(path), "statements": len(statements)}


def merged(given: Mapping[str, str]) -> dict[str, str]:
    """The table with the statements given: one that replaces another keeps its place, new ones come last."""
    return STATEMENTS | dict(given)
