"""Grounded instructions: what is checked of every text, what rules write, and what a language model is asked for."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
from api_server import KEY, ApiServer, Reply, answer, failure
from pipeline import make_store
from toy_store import make_store as make_toy

from emgecg_cli.core.artifacts import Measurements, read_rows
from emgecg_cli.core.artifacts import QuarantineRow as Aside
from emgecg_cli.core.config import PrepareConfig
from emgecg_cli.core.datasets import open_dataset
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.evidence import Evidence
from emgecg_cli.core.instructions.build import open_instructions
from emgecg_cli.core.instructions.conversations import answer_of, records_asked
from emgecg_cli.core.instructions.grounded import outcomes
from emgecg_cli.core.instructions.grounded.build import build_grounded
from emgecg_cli.core.instructions.grounded.checks import (
    BEAT,
    EXTRA,
    LEAD,
    LEAK,
    LENGTH,
    MISSING,
    NO_TEXT,
    NUMBER,
    faults_of,
)
from emgecg_cli.core.instructions.grounded.grounds import Grounds, grounds_of
from emgecg_cli.core.instructions.grounded.rules_writer import write_by_rules
from emgecg_cli.core.instructions.kinds import build_of_kind
from emgecg_cli.core.llm import LLMClient
from emgecg_cli.core.reports.ecg.labels import Status, label
from emgecg_cli.core.store import open_store, prepare_store

SERIES = {"heart_rate": [None, 72.0, 71.0, 73.0], "rr_interval_2": [830, 840, 825, None],
          "pr_interval": [212, 216, 214, 214], "qrs_duration": [92, 94, 92, 96], "qrs_amplitude": [1.1, 1.2, 1.15, 1.1],
          "t_amplitude": [0.3, 0.28, 0.31, -0.2], "p_amplitude": [0.12, 0.12, 0.11, 0.12]}
GROUNDS = Grounds("r", "Sinus rhythm. First degree AV block. Possible left ventricular hypertrophy.", "en",
                  Measurements(n_beats=4, heart_rate_bpm=72.0, heart_rate_quality="good", qrs_axis_deg=45.0,
                               qrs_axis_quality="good"),
                  dict.fromkeys(("I", "II", "V1", "V5"), SERIES), [False] * 4, ["V6"])
GOOD = (
    "The heart rate is 72 bpm with RR intervals of 825 to 840 ms. In lead II the PR interval measures 214 ms, which is "
    "above the usual limit of 200 ms, and the P wave reaches 0.12 mV. QRS durations of 92, 94 and 96 ms in V1 and V5 "
    "are narrow (normal < 120 ms), and the QRS amplitude in V5 is 1.2 mV. The T wave in V5 is inverted by 0.2 mV in "
    "beat 4. Together this is sinus rhythm with first degree AV block and possible left ventricular hypertrophy.")


def with_(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


@pytest.mark.parametrize(("text", "reasons"), [
    (GOOD, []), ("Sinus rhythm.", [LENGTH]), (GOOD * 5, [LENGTH]), (f"I'm sorry, I cannot help. {GOOD}", [NO_TEXT]),
    (f"- {GOOD}", [NO_TEXT]), (with_("Together", "As the report says,"), [LEAK]),
    (with_("Together", "By the given measurements,"), [LEAK]),
    (with_("sinus rhythm", "atrial fibrillation"), [EXTRA, EXTRA, MISSING]),
    (with_("possible left ventricular hypertrophy", "nothing else"), [MISSING]),
    (with_("72 bpm", "95 bpm"), [NUMBER]), (with_("214 ms", "160 ms"), [NUMBER]), (with_("1.2 mV", "2.4 mV"), [NUMBER]),
    (with_("92, 94 and 96", "92, 94 and 150"), [NUMBER]), (with_("825 to 840", "825 to 1100"), [NUMBER]),
    (with_("by 0.2 mV in beat 4", "by 0.2 mV in beat 2"), [NUMBER]), (with_("in beat 4", "in beat 14"), [BEAT, NUMBER]),
    (with_("the P wave reaches 0.12 mV", "QTc is 430 ms"), [NUMBER]), (with_("in V5 is 1.2", "in V7 is 1.2"), [LEAD]),
    (with_("in V5 is 1.2", "in V6 is 1.2"), [LEAD]), (with_("lead II", "lead IV"), [LEAD]),
])
def test_what_is_kept_and_why_not(text: str, reasons: list[str]) -> None:
    found = [fault.reason for fault in faults_of(text, GROUNDS)]
    assert sorted(set(found)) == sorted(set(reasons))


def test_a_report_in_german_and_one_that_states_nothing() -> None:
    german = replace(GROUNDS, report="Sinusrhythmus, normales ECG", language="de")  # as cleaning writes it
    assert set(german.labels) == {"SR", "NORM"} and "normal ECG" in write_by_rules(german, 0)
    nothing = replace(GROUNDS, report="trace only requested.")
    assert not nothing.labels and faults_of(write_by_rules(nothing, 0), nothing) == []


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("grounded") / "store", records=10)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_rules_write_what_passes_and_go_on_where_they_were_killed(store: Path, tmp_path: Path,
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    whole = build_grounded(store, tmp_path / "whole", seed=3)
    assert whole.manifest.counts["records"] == 10 and whole.manifest.counts["set_aside"] == 0
    made, left = outcomes.write_by_rules, iter(range(4))

    def killed(*arguments: object) -> str:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return made(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(outcomes, "write_by_rules", killed)
    with pytest.raises(KeyboardInterrupt):
        build_grounded(store, tmp_path / "killed", seed=3)
    kept = tmp_path / "killed/.cache/written.jsonl"
    kept.write_bytes(kept.read_bytes() + b'{"record_id": "torn')
    calls = []
    monkeypatch.setattr(outcomes, "write_by_rules", lambda *one: calls.append(one[0].record_id) or made(*one))
    build_grounded(store, tmp_path / "killed", seed=3)
    assert len(calls) == 6 and files_of(tmp_path / "killed") == files_of(tmp_path / "whole")
    assert not (tmp_path / "killed/.cache").exists()
    assert build_grounded(store, tmp_path / "whole", seed=3).already_finished
    monkeypatch.setattr(outcomes, "write_by_rules", made)
    other = build_grounded(store, tmp_path / "other", seed=4)
    rows, others = (open_instructions(path).rows for path in (whole.path, other.path))
    assert all(rows[name].messages != others[name].messages for name in rows)
    assert len({row.messages[0]["content"][-1]["text"] for row in rows.values()}) > 3


def test_records_without_a_report_get_a_question_alone(tmp_path: Path) -> None:
    store = make_toy(tmp_path / "s", ["a", "b"], unreported=["a", "b"])
    rows = open_instructions(build_grounded(store, tmp_path / "i", shown="ecg,image").path).rows
    assert [len(row.messages) for row in rows.values()] == [1, 1]
    assert [part["type"] for part in rows["a"].messages[0]["content"]] == ["ecg", "image", "text"]


def test_the_text_of_another_record_is_not_kept(store: Path) -> None:
    opened = open_store(store)
    evidence = Evidence(opened)
    grounds = [grounds_of(evidence, i) for i in range(6)]
    texts = [write_by_rules(one, 0) for one in grounds]
    for i, one in enumerate(grounds):
        assert [bool(faults_of(text, one)) for text in texts] == [i != j for j in range(6)]


def test_numbers_that_no_beat_has_are_held_against_the_waveform(store: Path) -> None:
    """The QRS axis and single deflections; and the rate of one beat is right though it is not the record's."""
    one = grounds_of(Evidence(open_store(store)), 0)
    axis, text = one.found.qrs_axis_deg, write_by_rules(one, 0)
    assert axis is not None and not faults_of(f"{text} The QRS axis is {axis:.0f} degrees.", one)
    assert [fault.reason for fault in faults_of(f"{text} The QRS axis is {axis + 60:.0f} degrees.", one)] == [NUMBER]
    assert [fault.reason for fault in faults_of(f"{text} The R wave in V5 measures 9.5 mV.", one)] == [NUMBER]
    fastest = max(one.numbers("heart_rate", ["II"]))
    assert not faults_of(f"{text} At its fastest the heart rate is {fastest:.0f} bpm.", one)


def test_reports_of_ptb_xl(shared_data: Path) -> None:
    """Each of 8,081 reports is read from its interpretation as it is itself, certain or possible, in any wording."""
    with (shared_data / "ptb-xl-reports/reports.csv").open(encoding="utf-8") as stream:
        reports = [row["report"] for number, row in enumerate(csv.DictReader(stream)) if number % 24 == 0]
    wrong = []
    for number, report in enumerate(reports):
        own = replace(GROUNDS, record_id=str(number), report=report, language="de")
        said = label(write_by_rules(own, number), "en")
        stated = {code: status for code, status in own.labels.items() if status != Status.ABSENT}
        wrong += [report] if any(said.get(code) != status for code, status in stated.items()) else []
    assert len(reports) > 300 and len(wrong) <= 0.01 * len(reports), wrong


@pytest.mark.long
def test_recordings_of_ptb_xl(shared_data: Path, tmp_path: Path) -> None:
    """Of 400 real recordings, 99 in 100 are interpreted by rules as the checks want it, at the first attempt."""
    prepare_store(open_dataset("ptb-xl", 0, root=shared_data / "ptb-xl"), tmp_path / "s", PrepareConfig())
    counts = build_grounded(tmp_path / "s", tmp_path / "i").manifest.counts
    assert counts["records"] >= 0.99 * 400 and counts["rejected"] <= 4


class Model:
    """Answers with what rules write of the record that it is asked about; of some, badly."""

    def __init__(self, store: Path) -> None:
        opened = open_store(store)
        evidence = Evidence(opened)
        known = [grounds_of(evidence, i) for i in range(len(opened))]
        self.texts = {one.text: write_by_rules(one, 7) for one in known}
        self.once, self.never, self.refused = (known[i].text for i in (0, 1, 2))
        self.asked: list[str] = []
        self.server: ApiServer | None = None

    def __call__(self, last: str) -> Reply:
        assert self.server is not None
        messages = next(one["messages"] for one in reversed(self.server.requests)
                        if one["messages"][-1]["content"] == last)
        table = next(text for text in self.texts if text in messages[0]["content"])
        self.asked.append(table)
        if table == self.refused:
            return failure(400, "filtered")
        text = self.texts[table]
        if table == self.never:
            return answer(f"{text} This follows from the given data.")
        if table == self.once and len(messages) == 1:
            return answer(f"Response: {text} This agrees with the report.")
        assert table != self.once or "mentions the report" in last  # the reason is told
        return answer(json.dumps({"Response": text}))


def test_a_model_is_checked_asked_again_and_paid_once(store: Path, tmp_path: Path,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    model = Model(store)
    with ApiServer(otherwise=model) as server:
        model.server = server

        def build(out: str, at_once: int = 1) -> object:
            client = LLMClient("m", server.base_url, tmp_path / out / ".cache/answers.jsonl", at_once=at_once)
            return build_grounded(store, tmp_path / out, writer="llm", client=client).manifest.counts

        assert build("whole") == {"records": 8, "prompts": 24, "hand_written": 24, "prompts_used": 8, "set_aside": 2,
                                  "rejected": 5, "without_report": 0} | {
                                      "prompts_used": open_used(tmp_path / "whole")}
        assert len(model.asked) == 7 + 2 + 3 + 1
        aside = read_rows(tmp_path / "whole/quarantine.jsonl", Aside)
        assert [row.reason for row in aside] == [LEAK, outcomes.REFUSED]
        model.asked.clear()
        done, left = outcomes.faults_of, iter(range(7))

        def killed(*arguments: object) -> object:
            if next(left, None) is None:
                raise KeyboardInterrupt
            return done(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(outcomes, "faults_of", killed)
        with pytest.raises(KeyboardInterrupt):
            build("killed")
        monkeypatch.setattr(outcomes, "faults_of", done)
        build("killed")
        assert len(model.asked) == 7 + 2 + 3 + 1  # the refusal was kept with its record
        assert build("together", 4) == open_instructions(tmp_path / "whole").manifest.counts
    one, *others = (files_of(tmp_path / name) for name in ("whole", "killed", "together"))
    assert others == [one, one]


def open_used(path: Path) -> int:
    return len({row.prompt_id for row in open_instructions(path).rows.values()})


def test_nothing_is_sent_to_an_endpoint_that_was_not_named(store: Path, tmp_path: Path) -> None:
    with pytest.raises(MedReportError, match="none is named"):
        build_grounded(store, tmp_path / "i", writer="llm", model="m")
    with pytest.raises(MedReportError, match="takes no --model"):
        build_grounded(store, tmp_path / "i", model="m")


def test_options_of_other_kinds_are_refused(store: Path, tmp_path: Path) -> None:
    for settings, says in (({"kind": "grounded", "pool_size": 9}, "--pool-size has no effect with --kind grounded"),
                           ({"writer": "rules"}, "--writer has no effect with --kind report"),
                           ({"remap": [("a", "b")]}, "--remap has no effect"), ({"kind": "other"}, "no kind 'other'"),
                           ({"from_file": tmp_path / "f.json", "seed": 3}, "--seed has no effect with --from")):
        with pytest.raises(MedReportError, match=says):
            build_of_kind(store, tmp_path / "i", **settings)  # type: ignore[arg-type]
    assert not (tmp_path / "i").exists()


def test_a_store_as_instructions_ask_for_it(store: Path, tmp_path: Path) -> None:
    built = build_grounded(store, tmp_path / "i").path
    instructions, opened = open_instructions(built), open_store(store)
    asked = records_asked(opened, instructions)
    again, arguments = asked.__reduce__()
    for one in (asked, again(*arguments)):
        assert len(one) == 10 and one.row(3).record_id == opened.row(3).record_id
        assert one.row(3).report == answer_of(instructions.rows[one.row(3).record_id].messages)
        assert (one.signal(3) == opened.signal(3)).all()
        assert one.column("report").to_list() == [one.row(i).report for i in range(10)]
        assert one.column("split").to_list() == opened.column("split").to_list()
