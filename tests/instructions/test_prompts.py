"""The hand-written prompts, the rules a prompt obeys, and the paraphrases that need no network."""

from __future__ import annotations

import re

import pytest

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.instructions import check_prompt, offline
from emgecg_cli.core.instructions.pool import SEED_PROMPTS, draw
from emgecg_cli.core.instructions.validate import normalise


def test_hand_written_prompts() -> None:
    assert len(SEED_PROMPTS) == len({normalise(prompt) for prompt in SEED_PROMPTS}) == 32
    for prompt in SEED_PROMPTS:
        assert check_prompt(prompt) is None and 6 <= len(prompt.split()) <= 30


@pytest.mark.parametrize("text", [
    "Could you describe the findings of this ECG?",
    "I'd like a written interpretation of this 12-lead tracing.",
    "What would your report on this EKG say?",
    "Summarize the electrocardiographic findings – briefly, please.",
    "Provide the cardiologist\u2019s impression of this recording.",
    "Please report the rhythm, axis and intervals seen on this ECG.",
])
def test_prompts_that_pass(text: str) -> None:
    assert check_prompt(text) is None


@pytest.mark.parametrize(("text", "why"), [
    (None, "not text"), (7, "not text"), (["Write a report on this ECG."], "not text"),
    ("Write a report.", "not of 4 to 60 words"), ("", "not of"), ("Write a report on this ECG. " * 11, "blanks around"),
    (" ".join(["Write a report on this ECG."] * 11), "not of"),
    ("Write a report\non this ECG.", "one line"), ("Write a report\u2028on this ECG.", "one line"),
    ("Write a report on this ECG.\u202e", "one line"), ("Write a report on this ECG \ud800", "one line"),
    ("Write a report on this ECG.\x00", "one line"), ("Write a rep\u200bort on this ECG.", "one line"),
    ("<|assistant|> Write a report on this ECG.", "chat tag"), ("Write a report on this <unk> ECG.", "chat tag"),
    ("Write a report on this ECG: {report}", "chat tag"), ("[INST] Write a report on this ECG.", "chat tag"),
    ("Write a report on this ECG. Assistant: no", "chat tag"), ("Write a report on this ECG https://a.b", "chat tag"),
    ("As an AI, I would rather not report this ECG.", "refusal"), ("I cannot write a report on this ECG.", "refusal"),
    ("I\u2019m sorry, but I can\u2019t write a report on this ECG.", "refusal"),
    ("Write a report on this ECG with atrial fibrillation.", "speaks of"),
    ("Write a report on this ECG with ATRIAL FIBRILLATION.", "speaks of"),
    ("Describe the left bundle branch block in this ECG report.", "speaks of"),
    ("Report this normal ECG in a few words.", "speaks of"), ("Report this ECG, which shows LVH.", "speaks of"),
    ("Write a report on this ECG with ST elevation.", "speaks of"), ("Report the MI in this ECG.", "speaks of"),
    ("Write a report on this ECG at seventy beats per minute.", "speaks of"),
    ("Write a report on this ECG; the rate is 72.", "speaks of"), ("Report this 15-lead ECG, please.", "speaks of"),
    ("Write a report on this ECG; the rate is \u0667\u0662.", "speaks of"),
    ("Report this \uff11\uff15-lead ECG, please.", "speaks"),
    ("Write a report on this radiograph.", "does not mention the ECG"),
    ("Write a poem about this ECG.", "does not ask"),
    ("This ECG is a fine one.", "does not ask"), ("Report findings; no electrogram here.", "does not mention"),
    ("Напишите report on this ECG.", "Latin"), ("请 write a report on this ECG.", "Latin"),
    ("Write a report on this \u0415CG, an ECG.", "Latin"),
])
def test_prompts_that_do_not_pass(text: object, why: str) -> None:
    assert why in str(check_prompt(text))


def test_offline_pools() -> None:
    pool = offline.rephrase(SEED_PROMPTS, 2048, seed=0)
    assert pool[:32] == list(SEED_PROMPTS)
    assert len({normalise(prompt) for prompt in pool}) == len(pool) == 2048
    for size in (1, 32, 33, 128, 256, 512):
        assert offline.rephrase(SEED_PROMPTS, size, seed=0) == pool[:size]
    other = offline.rephrase(SEED_PROMPTS, 256, seed=1)
    assert len(set(other[32:]) & set(pool[32:256])) < 40


def test_offline_sentences_are_well_formed() -> None:
    """Every composed sentence obeys the rules, not only those that are kept, and has the outer form of English."""
    for prompt in offline.rephrase(SEED_PROMPTS, 2048, seed=3)[32:]:
        assert check_prompt(prompt) is None
        assert re.fullmatch(r"[A-Z][^.?]*[.?]( [A-Z][^.?]*[.?]){0,2}", prompt), prompt
        assert "  " not in prompt and not re.search(r"\b(\w+) \1\b", prompt), prompt
        assert not re.search(r"\ba [aeio]|\ban [^aeiouAEIOU]|\ba ECG", prompt), prompt
        questions = re.findall(r"([^.?]*)\?", prompt)
        assert all(re.match(r" ?(Could|Can|Would|Will|What|How)\b", question) for question in questions), prompt


def test_offline_is_the_same_everywhere() -> None:
    """A golden value: changing the parts or the draw changes what a seed means for everyone."""
    pool = offline.rephrase(SEED_PROMPTS, 40, seed=0)
    assert [draw(10, "a", 1), draw(256, "record", 0, "r000")] == [6, 176]  # printf 'a\x1f1' | sha256sum, modulo 10
    assert pool[32:34] == [
        "Put together a diagnostic report on this twelve-lead electrocardiogram in clear medical terms.",
        "Would you generate a clinical report on this tracing? Use the wording of a clinical report."]


def test_offline_says_when_it_runs_dry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offline, "FAMILIES", (lambda pick: "write a report on this ECG.",))
    with pytest.raises(MedReportError, match="found 33 of 40"):
        offline.rephrase(SEED_PROMPTS, 40, seed=0)
