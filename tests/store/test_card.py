"""The data card: what it counts, what it names, that it escapes all of it and is the same bytes each time."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import polars
import pytest

from emgecg_cli.core.artifacts import Measurements, QuarantineRow, Reading, RecordRow, write_rows
from emgecg_cli.core.datasets.formats.wfdb_headers import read_header
from emgecg_cli.core.datasets.formats.wfdb_records import read_leads
from emgecg_cli.core.pages.charts import bar_chart, share
from emgecg_cli.core.signals.quality import check_signal
from emgecg_cli.core.store.card import card_markdown, card_page, facts_for_manifest, gather_facts
from emgecg_cli.core.store.table import to_frame

DETAILS = {"dataset": "ptb-xl", "fs": 100, "sig_len": 1000, "table_sha256": "ab" * 32, "reports": {"texts": 7}}
HOSTILE = "<script>alert(1)</script> | `x` ```\n# h ![a](b) \x1b[31m \ud800"


def row(number, **changes):
    values = dict(record_id=str(number), subject_id=f"s{number // 2}", split="train", fs=100, sig_len=1000,
                  report=f"report {number}", report_raw="", language="en", codes=["NORM"], source="", shard=0,
                  row=number, recording_id=str(number), signal_hash=f"{number:016x}", einthoven_p50_uv=0.0,
                  einthoven_p99_uv=1.0, goldberger_p50_uv=0.5, goldberger_p99_uv=1.0)
    return RecordRow(**(values | changes))


def facts_of(rows, quarantine=None, details=None, cleaning=None, alike=lambda one, other: True):
    return gather_facts(to_frame(rows).lazy(), quarantine or {}, details or DETAILS, cleaning, alike)


def found(facts):
    return {one.kind: one for one in facts.findings}


def test_sizes_and_splits():
    rows = [row(i, split=("train", "test", "val")[i // 2 % 3], n_padded=500 * (i == 0)) for i in range(12)]
    facts = facts_of(rows)
    assert (facts.n_records, facts.n_recordings, facts.n_subjects, facts.seconds) == (12, 12, 6, 115.0)
    assert [(one.split, one.n_records, one.n_subjects) for one in facts.splits] == [
        ("train", 4, 2), ("val", 4, 2), ("test", 4, 2)]


def test_lengths_are_those_of_recordings_and_not_of_windows():
    rows = [row(i, recording_id="a", record_id=f"a#{i}", start_s=10.0 * i, n_cropped=300 * (i == 2)) for i in range(3)]
    rows += [row(3, n_padded=400), row(4, n_cropped=5000)]
    assert dict(facts_of(rows).tallies["lengths"].rows) == {
        "5–8 s": 1, "8–9.95 s": 0, "9.95–10.05 s": 0, "10.05–12 s": 0, "12–15 s": 0, "15–20 s": 0, "20–30 s": 0,
        "30–60 s": 1, "60–120 s": 1}


def test_bins_and_counts_agree_with_plain_python():
    rng = np.random.default_rng(0)
    ages = [None if i % 7 == 0 else float(rng.integers(0, 100)) for i in range(200)]
    missing = rng.integers(0, 12000, 200).tolist()
    codes = [[str(code) for code in rng.integers(0, 50, rng.integers(0, 4))] for _ in range(200)]
    facts = facts_of([row(i, age=ages[i], n_missing=missing[i], codes=codes[i]) for i in range(200)])
    decades = [sum(age is not None and low <= age < low + 10 for age in ages) for low in range(0, 100, 10)]
    assert [n for _, n in facts.tallies["ages"].rows] == [*decades, ages.count(None)]
    known = sorted(age for age in ages if age is not None)
    assert facts.quantiles["age"].p50 == known[(len(known) - 1) // 2]
    assert facts.quantiles["age"].n_null == ages.count(None)
    assert dict(facts.tallies["missing"].rows)["50 % or more"] == sum(n >= 6000 for n in missing)
    flat = [code for one in codes for code in one]
    counts = sorted(((flat.count(code), code) for code in set(flat)), key=lambda pair: (-pair[0], pair[1]))
    assert facts.tallies["codes"].rows == tuple((code, n) for n, code in counts[:30])
    assert facts.tallies["codes"].total == len(flat) and facts.n_codes == len(set(flat))


def test_every_kind_of_finding_is_named_with_its_evidence():
    rows = [row(i) for i in range(20)]
    rows[1] = row(1, lead_check="suspect: limb leads disagree by 214 uV (median); aVR and aVL look swapped")
    rows[2] = row(2, lead_glitch="aVR and aVF off by 2600 uV at sample 791 (1.58 s)")
    rows[3] = row(3, scale_check="suspect: leads span 1.2 uV (median), about 1000 times too small")
    rows[4] = row(4, flat_leads=["V1", "V3"], scale_check="not checked: all leads are flat or absent")
    rows[5] = row(5, absent_leads=["V6"], n_missing=1000)
    rows[6] = row(6, n_clipped=17)
    rows[10] = row(10, absent_leads=["I", "II"], n_missing=2000, reading=Reading(unused_signals=["MLII", "ABP"]))
    rows[11] = row(11, reading=Reading(file_flags=["file longer than its header: a.dat"]))
    rows[7], rows[9] = row(7, signal_hash="ff" * 8), row(9, signal_hash="ff" * 8, split="test")
    rows[8] = row(8, split="test", flat_stretches=["V2 for 3.0 s from 1.0 s"], saturated_leads=["V5"])
    facts = facts_of(rows)
    checks = found(facts)
    assert {kind: [(one.record_id, one.evidence) for one in check.first] for kind, check in checks.items()} == {
        "lead_swap": [("1", "limb leads disagree by 214 uV (median); aVR and aVL look swapped")],
        "lead_glitch": [("2", "aVR and aVF off by 2600 uV at sample 791 (1.58 s)")],
        "unit_slip": [("3", "leads span 1.2 uV (median), about 1000 times too small")],
        "flat_stretches": [("8", "V2 for 3.0 s from 1.0 s")], "saturated_leads": [("8", "V5")],
        "flat_leads": [("4", "V1, V3")], "clipped": [("6", "samples cut off: 17")],
        "absent_leads": [("10", "I, II; not used: MLII, ABP"), ("5", "V6")],
        "unused_signals": [("10", "MLII, ABP")], "file_flags": [("11", "file longer than its header: a.dat")],
        "much_missing": [("10", "20.0 % of the samples"), ("5", "9.1 % of the samples")],
        "same_signal": [("7", "the same samples as 9; 2 patients, split test and train")], "near_signal": [],
        "patients_across_splits": []}
    manifest = json.loads(json.dumps(facts_for_manifest(facts)))
    assert manifest["checks"]["lead_glitch"] == {
        "found": 1, "first": [{"record_id": "2", "evidence": "aVR and aVF off by 2600 uV at sample 791 (1.58 s)"}]}
    assert manifest["checks"]["same_signal"]["found"] == 2
    for text in (card_markdown(facts), card_page(facts)):
        assert all(evidence.split(" (")[0] in text for check in checks.values() for evidence in
                   [one.evidence for one in check.first])


def test_a_patient_in_two_splits_is_found():
    facts = facts_of([row(0), row(1, split="test"), row(2), row(3)])
    check = found(facts)["patients_across_splits"]
    assert check.n == 1 and check.first[0].record_id == "patient s0" and check.first[0].evidence == "in test and train"


def test_only_the_worst_twenty_are_named_and_the_filter_finds_them_all():
    rows = [row(i, n_clipped=i) for i in range(60)]
    facts = facts_of(rows)
    check = found(facts)["clipped"]
    assert check.n == 59 and check.n_more == 39 and [one.record_id for one in check.first] == [
        str(i) for i in range(59, 39, -1)]
    assert "and 39 more" in card_markdown(facts) and "n_clipped &gt; 0" in card_page(facts)
    table = to_frame(rows)
    for one in filter(lambda one: one.filter, facts.findings):
        assert re.match(r"\w+", one.filter)[0] in table.columns, one.filter


def test_nearly_the_same_signals_are_paired_unless_they_are_one_recording():
    prints = ["93" * 16, "93" * 15 + "90", "f" * 32, "f" * 31 + "e", None, "5a" * 16]
    rows = [row(i, fingerprint=one) for i, one in enumerate(prints)]
    rows[3] = row(3, fingerprint=prints[3], recording_id="2")
    check = found(facts_of(rows))["near_signal"]
    assert check.n == 2 and [(one.record_id, one.evidence) for one in check.first] == [
        ("0", "nearly the same as 1; 1 patient, split train")]
    # near fingerprints alone prove nothing
    assert found(facts_of(rows, alike=lambda one, other: False))["near_signal"].n == 0


def test_reports_that_are_shared_and_those_of_the_test_that_the_train_set_has():
    texts = ["sinus rhythm"] * 5 + ["af"] * 2 + ["x", "y", "z"]
    splits = ["train"] * 4 + ["test"] + ["test"] * 2 + ["test", "train", "val"]
    facts = facts_of([row(i, report=text, split=split, subject_id=str(i))
                      for i, (text, split) in enumerate(zip(texts, splits, strict=True))])
    assert [(one.report, one.n_records, one.n_subjects) for one in facts.reports] == [
        ("sinus rhythm", 5, 5), ("af", 2, 2)]
    assert (facts.n_distinct_reports, facts.n_sharing_report, facts.test_reports_in_train) == (5, 7, 1)
    assert "1 of 4 test records (25 %)" in card_markdown(facts)


def test_measurements_are_there_only_when_measured():
    plain = facts_of([row(i) for i in range(4)])
    measured = facts_of([row(i, measurements=Measurements(n_beats=9, heart_rate_bpm=60.0 + i,
                                                          pr_ms=160.0 if i else None)) for i in range(4)])
    assert "## Measurements" not in card_markdown(facts_of_parquet(plain))
    assert "| PR, ms | 160 | 160–160 | 25 % |" in card_markdown(measured)


def facts_of_parquet(facts):
    """Facts of a store whose table lacks the columns of what was not measured."""
    names = [name for name in facts.quantiles if name.endswith(("_bpm", "_ms", "_deg"))]
    return replace(facts, quantiles={key: value for key, value in facts.quantiles.items() if key not in names},
                   tallies={key: value for key, value in facts.tallies.items() if key not in ("regular", "p_present")})


def test_a_table_without_measurements_from_disk(tmp_path):
    frame = to_frame([row(i) for i in range(4)])
    frame = frame.drop([name for name in frame.columns if name in Measurements.__dataclass_fields__])
    frame.write_parquet(tmp_path / "records.parquet")
    write_rows(tmp_path / "quarantine.jsonl", [QuarantineRow("9", "short report", "", ""),
                                               QuarantineRow("8", "missing file", "", ""),
                                               QuarantineRow("7", "short report", "", "")])
    facts = gather_facts(polars.scan_parquet(tmp_path / "records.parquet"), tmp_path / "quarantine.jsonl", DETAILS,
                         {"nan": 3})
    card = card_markdown(facts)
    assert list(facts.quarantine.items()) == [("short report", 2), ("missing file", 1)]
    assert "## Measurements" not in card and "| nan | 3 |" in card and "Wagner et al. 2020" in card
    assert str(tmp_path) not in card + card_page(facts)


class Outline(HTMLParser):
    """Tags and visible text; refuses tags that are closed in the wrong order."""

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.text = [], [], []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        assert not [name for name, _ in attrs if name.startswith("on") or name in ("src", "href", "id")]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_all_that_comes_from_data_is_escaped():
    rows = [row(i, record_id=f"{HOSTILE.encode('utf-8', 'replace').decode()}{i}", codes=[HOSTILE[:-2]],
                report=HOSTILE[:-2], lead_glitch=HOSTILE[:-2], language="<b>", sex="<i>", age=4.0) for i in range(3)]
    facts = facts_of(rows, {HOSTILE: 2}, DETAILS | {"dataset": HOSTILE}, {"<u>": 1})
    page, card = card_page(facts), card_markdown(facts)
    outline = Outline(page)
    assert not {"script", "b", "i", "u", "img", "link", "iframe"} & set(outline.tags)
    assert "\x1b" not in page + card and "<script>alert(1)</script> |" in " ".join(outline.text)
    outside = "\n".join(line for line in card.splitlines() if not line.startswith("    "))
    assert not re.search(r"(?<!\\)[<\[]", outside) and not re.search(r"(?<!\\)`(?!\w)", outside)
    assert not [line for line in card.splitlines() if line.startswith("# ")][1:]
    page.encode(), card.encode()


def test_the_same_bytes_in_any_number_of_threads_and_row_groups(tmp_path):
    rng = np.random.default_rng(1)
    rows = [row(i, report=f"r{rng.integers(0, 90)}", codes=[f"c{rng.integers(0, 60)}"],
                signal_hash=f"{rng.integers(0, 300):016x}") for i in range(500)]
    cards = set()
    for size in (7, 100, 500):
        to_frame(rows).write_parquet(tmp_path / "t.parquet", row_group_size=size)
        facts = gather_facts(polars.scan_parquet(tmp_path / "t.parquet"), {}, DETAILS)
        cards.add(card_markdown(facts) + card_page(facts) + json.dumps(facts_for_manifest(facts)))
    assert len(cards) == 1


def test_bars_are_as_long_as_their_counts():
    svg = bar_chart("Title <", [("a", 100), ("b", 50), ("a label that is far too long to stand there", 0)], 150)
    widths = [float(width) for width in re.findall(r'width="([\d.]+)" height="16"', svg)]
    assert widths[0] == pytest.approx(2 * widths[1], abs=0.2) and widths[2] == 0
    assert "Title &lt;" in svg and "100 (67 %)" in svg and "…" in svg
    assert [share(*pair) for pair in ((0, 9), (1, 9999), (9999, 10000), (1, 8), (1, 40), (0, 0))] == [
        "0 %", "< 0.1 %", "> 99.9 %", "12 %", "2.5 %", "0 %"]


def test_a_store_of_one_bare_record_has_a_card():
    bare = RecordRow("1", "s", "train", 100, 0, "", "", "", [], "", 0, 0)
    facts = facts_of([bare], details={"dataset": "x"})
    assert "# Data card: x" in card_markdown(facts) and Outline(card_page(facts)).tags


def test_the_glitch_of_record_162_is_a_finding(shared_data):
    root = shared_data / "ptb-xl"
    rows = []
    for number in (160, 161, 162, 163):
        header = read_header(root, f"records500/00000/{number:05d}_hr")
        checks = check_signal(read_leads(header).signal, 500)
        rows.append(row(number, lead_check=checks.lead_check, lead_glitch=checks.lead_glitch))
    facts = facts_of(rows)
    checks = found(facts)
    assert checks["lead_swap"].n == 0 and [one.record_id for one in checks["lead_glitch"].first] == ["162"]
    assert "aVR and aVF" in checks["lead_glitch"].first[0].evidence and "| 162 | aVR and aVF" in card_markdown(facts)
