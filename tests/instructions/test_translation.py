"""Translating reports: against a loopback model that answers well, refuses, talks, forgets numbers or stays German."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from api_server import KEY, ApiServer, Reply, answer, failure

from emgecg_cli.core import translation
from emgecg_cli.core.artifacts import QuarantineRow
from emgecg_cli.core.datasets import Recording, RecordRef, Source
from emgecg_cli.core.datasets.ptb_xl import open_source
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.llm import LLMClient
from emgecg_cli.core.translation import PROMPT, REFUSED, UNTRANSLATED, UNUSABLE, check_translation, translated

ENGLISH = {
    "sinusrhythmus linkstyp sonst normales ekg": "Sinus rhythm, left axis, otherwise normal ECG.",
    "vorhofflimmern, frequenz 142/min": "Atrial fibrillation, rate 142/min.",
    "sinusrytm. normalt ekg": "Sinus rhythm. Normal ECG.",
    "av-block 1. grades, st-senkung v5,6": "First-degree AV block, ST depression in V5 and V6.",
}
TEXTS = [*ENGLISH, "sinus rhythm. normal ecg.", "", "--- 4.46", "sinusrhythmus linkstyp sonst normales ekg"]


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def listed(texts: Sequence[str]) -> Iterator[RecordRef | QuarantineRow]:
    for number, text in enumerate(texts):
        yield RecordRef(str(number), str(number), f"{number}.hea", "train", {"report": text, "codes": ["A"]})
    yield QuarantineRow("x", "bad fold", "none", "x.hea")


def read(refs: Sequence[RecordRef]) -> Iterator[Recording | QuarantineRow]:
    for ref in refs:
        if ref.record_id == "2":
            yield QuarantineRow(ref.record_id, "missing file", "2.dat", ref.source)
        else:
            yield Recording(ref, np.zeros((12, 10), np.int16), 500, **ref.details)  # knows its own details only


def source_of(texts: Sequence[str] = TEXTS, dataset: str = "wfdb") -> Source:
    return Source(dataset, partial(listed, texts), read, {"root": "a"}, {"b": 1})


def report_in(prompt: str) -> str:
    return prompt.split("The report:\n")[1]


def good(prompt: str) -> Reply:
    return answer(ENGLISH[report_in(prompt)])


def client_of(server: ApiServer, cache: Path, at_once: int = 4) -> LLMClient:
    return LLMClient("loopback", server.base_url, cache, attempts=2, at_once=at_once, sleep=lambda _: None)


def translate(server: ApiServer, cache: Path, source: Source | None = None, at_once: int = 4,
              **options: object) -> Source:
    return translated(source or source_of(), client_of(server, cache, at_once), **options)  # type: ignore[arg-type]


def test_each_foreign_text_is_asked_once_and_the_rest_never(tmp_path: Path) -> None:
    seen: list[int] = []
    with ApiServer(otherwise=good) as server:
        source = translate(server, tmp_path / "cache", progress=seen.append)
        assert not server.requests
        rows = list(source.listing())
        assert sorted(report_in(one["messages"][0]["content"]) for one in server.requests) == sorted(ENGLISH)
        assert all(one["temperature"] == 0 for one in server.requests) and seen == [1, 2, 3, 4]
        assert list(source.listing()) == rows and len(server.requests) == 4
        again = translate(server, tmp_path / "cache")
        assert list(again.listing()) == rows and len(server.requests) == 4
    plain = list(source_of().listing())
    assert [row.details.get("translation") for row in rows[:-1]] == [ENGLISH.get(text) for text in TEXTS]  # type: ignore[union-attr]
    assert rows[4:7] == plain[4:7] and rows[-1] == plain[-1]


def test_recordings_carry_both_texts_and_reading_can_be_sent_to_a_process(tmp_path: Path) -> None:
    with ApiServer(otherwise=good) as server:
        source = translate(server, tmp_path / "cache")
        refs = [row for row in source.listing() if isinstance(row, RecordRef)]
    outcomes = list(pickle.loads(pickle.dumps(source.read))(refs))
    first, third, fifth = outcomes[0], outcomes[2], outcomes[4]
    assert isinstance(first, Recording) and first.report == ENGLISH[TEXTS[0]] and first.report_raw == TEXTS[0]
    assert (first.report_kind, first.language, first.codes, first.ref) == ("translation", "en", ["A"], refs[0])
    assert isinstance(third, QuarantineRow) and third.reason == "missing file"
    assert isinstance(fifth, Recording) and fifth.report == TEXTS[4] and fifth.report_kind == "physician"
    assert fifth.report_raw is None


def test_what_the_manifest_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def arguments() -> dict[str, object]:
        return translated(source_of(), LLMClient("m", "http://127.0.0.1:9/v1", tmp_path / "c")).arguments

    said = arguments()
    assert said["root"] == "a" and said["translate"]["model"] == "m" and KEY not in json.dumps(said)  # type: ignore[index]
    assert said == arguments()
    monkeypatch.setattr(translation, "PROMPT", PROMPT + " ")
    assert said != arguments()


def test_what_the_answers_took_stands_in_the_details_once_the_source_was_listed(tmp_path: Path) -> None:
    def counted(prompt: str) -> Reply:
        return Reply(json.dumps(json.loads(good(prompt).body) | {
            "usage": {"prompt_tokens": 9, "completion_tokens": 4}}).encode())

    with ApiServer(otherwise=counted) as server:
        for _ in range(2):
            source = translate(server, tmp_path / "cache")
            assert source.details == {"b": 1}
            list(source.listing())
            assert source.details == {"b": 1, "endpoint": {"answers": 4, "prompt_tokens": 36, "completion_tokens": 16,
                                                           "unreported": 0}}
        assert len(server.requests) == 4


def test_a_killed_run_asks_only_for_what_is_missing(tmp_path: Path) -> None:
    with ApiServer(good(PROMPT.format(language="", report=TEXTS[0])), failure(401, "no"), otherwise=good) as server:
        with pytest.raises(MedReportError, match="refused model"):
            list(translate(server, tmp_path / "cache", at_once=1).listing())
        rows = list(translate(server, tmp_path / "cache", at_once=1).listing())
        assert len(server.requests) == 5 and len(rows) == len(TEXTS) + 1
        asked = [report_in(one["messages"][0]["content"]) for one in server.requests]
        assert sorted(asked) == sorted([TEXTS[1], *ENGLISH])


ORIGINAL = "sinusrhythmus linkstyp, frequenz 142/min, st-senkung in v5,6. verdacht auf ischämie"
RIGHT = "Sinus rhythm, left axis, rate 142/min, ST depression in V5 and V6. Suspected ischaemia."


@pytest.mark.parametrize(("said", "reason"), [
    (RIGHT, None), (RIGHT.upper(), None), (f'"{RIGHT}"', None), (f"```\n{RIGHT}\n```", None),
    (f"**Translation:** {RIGHT}", None), (f"English translation: \u201c{RIGHT}\u201d", None),
    (RIGHT + " I cannot exclude an old infarction.", None),
    ("I'm sorry, but I can't assist with that.", REFUSED), ("I\u2019m sorry, I cannot help.", REFUSED),
    ("Sure, please provide the ECG report that you would like translated.", REFUSED),
    ("As an AI language model, I do not give medical advice.", REFUSED),
    ("There is something wrong with the data, please provide the report.", REFUSED),
    ("Could you kindly share the report?", REFUSED), ("I am unable to translate this text.", REFUSED),
    ("No ECG report was provided.", REFUSED), ("Unfortunately I cannot process this request.", REFUSED),
    ("Es tut mir leid, das kann ich nicht.", REFUSED), ('""', REFUSED), ("```\n```", REFUSED), ("...", REFUSED),
    (ORIGINAL, UNTRANSLATED), (ORIGINAL.upper(), UNTRANSLATED), (ORIGINAL.replace(",", ""), UNTRANSLATED),
    (RIGHT.replace("left axis", "linkstyp"), UNTRANSLATED),
    ("窦性心律, 142/min, V5 V6 ST", UNTRANSLATED),
    ("Rythme sinusal, axe gauche, 142/min, sous-décalage ST en V5 et V6, suspicion", UNTRANSLATED),
    ("Here is the translation: " + RIGHT, UNUSABLE), ("Sure! " + RIGHT, UNUSABLE),
    (RIGHT + " Let me know if you need more.", UNUSABLE), (RIGHT + " <|im_end|>", UNUSABLE),
    (RIGHT.replace("142", "124"), UNUSABLE), (RIGHT.replace(", rate 142/min", ""), UNUSABLE),
    (RIGHT.replace(" and V6", ""), UNUSABLE), (RIGHT + " PR interval 180 ms.", UNUSABLE), ("Sinus.", UNUSABLE),
    (RIGHT * 8, UNUSABLE),
])
def test_what_is_believed(tmp_path: Path, said: str, reason: str | None) -> None:
    with ApiServer(otherwise=lambda _: answer(said)) as server:
        row, _ = translate(server, tmp_path / "cache", source_of([ORIGINAL])).listing()
    if reason is None:
        assert isinstance(row, RecordRef) and row.details["translation"].lower().startswith("sinus rhythm, left axis")
    else:
        assert isinstance(row, QuarantineRow) and row.reason == reason and row.record_id == "0", row
        assert KEY not in row.detail and "\n" not in row.detail.partition(";")[0]


@pytest.mark.parametrize(("before", "after", "fine"), [
    ("av-block i. grades", "First-degree AV block", True), ("av-block 2. grades", "Grade II AV block", True),
    ("vom 28.12.93 sinusrhythmus", "From 12/28/1993: sinus rhythm", True),
    ("q < 0,04 sinusrhythmus", "Q < 0.04 s, sinus rhythm", True), ("infarkt 3x2 sinusrhythmus", "Sinus rhythm", False),
    ("normal", "Normal", True), ("linkstyp", "Linkstyp", False), ("normal q ii", "normal q ii", True),
    ("sr llt", "Sinus rhythm, left axis type", True), ("normales ekg", "Normal 12-lead ECG", True),
])
def test_numbers_and_short_texts(before: str, after: str, fine: bool) -> None:
    assert (check_translation(before, after) is None) == fine


def test_only_sources_that_list_their_texts(tmp_path: Path) -> None:
    def refused(source: Source, to: str = "en", model: str = "m") -> str:
        with pytest.raises(MedReportError) as caught:
            translated(source, LLMClient(model, "http://127.0.0.1:9/v1", tmp_path / "c"), to=to)
        return caught.value.message

    assert "mimic-iv-ecg cannot be translated" in refused(source_of(dataset="mimic-iv-ecg"))
    with_texts = Source("ptb-xl", partial(listed, []), read, {"reports": "en.csv"})
    assert "--reports gives" in refused(with_texts)
    assert "cannot translate to 'xx'" in refused(source_of(), to="xx") and "no model" in refused(source_of(), model=" ")


def test_real_ptb_xl_through_a_translator_of_its_own(tmp_path: Path, shared_data: Path) -> None:
    """The German of PTB-XL's first records, with the published English texts as the model's answers."""
    from emgecg_cli.core.datasets.formats.csv_tables import read_columns

    plain = open_source(shared_data / "ptb-xl", fs=100)
    table = read_columns(shared_data / "ptb-xl" / "reports_en.csv", ("ecg_id", "report_en"))
    english = dict(zip(table["ecg_id"], table["report_en"], strict=True))
    by_text = {row.details["report"]: english.get(row.record_id, "I'm sorry, I cannot help with that.")
               for row in plain.listing() if isinstance(row, RecordRef)}
    reply: Callable[[str], Reply] = lambda prompt: answer(by_text[report_in(prompt)])  # noqa: E731
    with ApiServer(otherwise=reply) as server:
        source = translate(server, tmp_path / "cache", plain)
        rows = list(source.listing())
        assert len(server.requests) < 400 and len(rows) == 400
    done = [row for row in rows if isinstance(row, RecordRef) and "translation" in row.details]
    reasons = [row.reason for row in rows if isinstance(row, QuarantineRow)]
    assert len(done) > 150 and reasons.count(REFUSED) > 10
    recordings = list(source.read(done[:5]))
    assert all(isinstance(one, Recording) and one.report_kind == "translation" and one.report_raw for one in recordings)
