"""Paraphrases without a network: sentences composed from parts that fit together, in an order set by the seed."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.instructions.pool import draw
from emgecg_cli.core.instructions.validate import check_prompt, normalise

SIGNALS = (
    "this ECG", "this electrocardiogram", "this ECG recording", "this ECG signal", "this 12-lead ECG", "this tracing",
    "this ECG tracing", "the attached ECG", "the provided ECG", "the present electrocardiogram", "the given ECG",
    "the provided ECG recording", "this twelve-lead electrocardiogram", "the recorded ECG signal", "the enclosed ECG",
)
# What is asked for: with the recording named in it, and when the recording was named before.
REPORTS = (
    ("a report on {s}", "a report"),
    ("a clinical report on {s}", "a clinical report"),
    ("a diagnostic report on {s}", "a diagnostic report"),
    ("a full interpretation of {s}", "a full interpretation"),
    ("a description of {s}", "a description of what it shows"),
    ("a summary of the findings in {s}", "a summary of the findings"),
    ("a report of the findings in {s}", "a report of the findings"),
    ("an account of what {s} shows", "an account of what it shows"),
    ("a formal reading of {s}", "a formal reading"),
    ("an expert assessment of {s}", "an expert assessment"),
    ("a cardiology report on {s}", "a cardiology report"),
    ("an accurate description of {s}", "an accurate description of the findings"),
    ("a short interpretation of {s}", "a short interpretation"),
    ("a brief report of what {s} shows", "a brief report of what can be seen"),
)
VERBS = ("write", "draft", "prepare", "compose", "produce", "generate", "provide", "give me", "formulate",
         "put together")
LOOKS = ("look at", "read", "examine", "study", "review", "analyse", "go through", "look over", "consider",
         "work through")
TELLS = (
    ("describe", "what {s} shows"), ("summarise", "the findings in {s}"), ("explain", "what can be seen in {s}"),
    ("state", "the findings of {s}"), ("set out", "what {s} reveals"), ("note down", "what {s} shows"),
    ("outline", "what there is to see in {s}"), ("tell me", "what {s} shows"),
)
FORMS = (
    "in the form of a report", "in a clinical report", "in a short report", "in a cardiology report", "in report form",
    "in the form of a diagnostic report", "in a concise report",
)
GIVEN = ("given", "based on", "working from", "with reference to", "on the basis of", "starting from", "relying on")
WISHES = ("I need", "I would like", "we need", "I would appreciate", "the ward asks for", "my colleague would like",
          "what I need is", "the referring doctor requests")
ASKS = ("could you", "can you", "would you", "could you please", "would you please", "can you please",
        "will you please")
ROLES = ("as a cardiologist", "as the reporting physician", "as an experienced ECG reader",
         "in the role of a cardiologist",
         "as the cardiologist on duty", "as an expert in electrocardiography")
OPENINGS = ("what does {s} show?", "what can be seen in {s}?", "what do you find in {s}?", "how would you report {s}?",
            "what is there to say about {s}?", "how do you read {s}?")
COURTESIES = ("", "", "please ")
STYLES = (
    "in concise clinical language", "in standard ECG terminology", "for the medical record",
    "for the treating physician", "for the patient's file", "in clear medical terms", "in customary clinical wording",
    "in the style of a hospital report",
)
REMARKS = (
    "Keep it concise.", "Use standard ECG terminology.", "Report only what the signal shows.", "Be precise and brief.",
    "Stay with what can be seen.", "Leave out anything the recording does not support.", "Do not speculate.",
    "Use the wording of a clinical report.", "Mention what matters clinically.",
)

Pick = Callable[[Sequence[Any]], Any]


def rephrase(seed_prompts: Sequence[str], size: int, *, seed: int,
             progress: Callable[[int, int], None] | None = None) -> list[str]:
    """The seed prompts and then composed paraphrases, `size` in all, no two the same but for case and punctuation.

    Nothing is sent anywhere. The same seed gives the same prompts, and a smaller pool is the start of a larger one.
    Raises MedReportError when the parts give fewer sentences than asked for.
    """
    pool = list(seed_prompts[:size])
    known = {normalise(prompt) for prompt in pool}
    for sentence in itertools.islice(_sentences(seed), 50 * size):
        if len(pool) == size:
            break
        if normalise(sentence) not in known and check_prompt(sentence) is None:
            known.add(normalise(sentence))
            pool.append(sentence)
    if len(pool) < size:
        raise MedReportError(f"the offline rephraser found {len(pool)} of {size} prompts", "ask for a smaller pool")
    if progress is not None:
        progress(size, size)
    return pool


def _sentences(seed: int) -> Iterator[str]:
    """Endless sentences, the families in turn, so that every start of the pool is varied."""
    for number in itertools.count():
        yield _compose(FAMILIES[number % len(FAMILIES)], seed, number)


def _compose(family: Callable[[Pick], str], seed: int, number: int) -> str:
    slots = itertools.count()
    text = family(lambda options: options[draw(len(options), "offline", seed, number, next(slots))])
    return re.sub(r"(^|[.?] )([a-z])", lambda start: start[1] + start[2].upper(), text)


def _end(pick: Pick, text: str, mark: str) -> str:
    """The sentence with a style or a remark of its own, or neither.

    Both would repeat each other, and a style after "what it shows" would belong to the showing.
    """
    extra = pick(("none", "style", "remark"))
    if extra == "style" and " what " not in text:
        return f"{text} {pick(STYLES)}{mark}"
    return f"{text}{mark} {pick(REMARKS)}" if extra == "remark" else f"{text}{mark}"


def _write(pick: Pick, named: bool) -> str:
    """Verb and what is asked for; names the recording itself where the sentence has not done so yet."""
    with_signal, alone = pick(REPORTS)
    return f"{pick(VERBS)} {alone if named else with_signal.format(s=pick(SIGNALS))}"


def _tell(pick: Pick) -> str:
    verb, findings = pick(TELLS)
    return f"{verb} {pick(FORMS)} {findings.format(s=pick(SIGNALS))}"


def _order(pick: Pick) -> str:
    return _end(pick, f"{pick(COURTESIES)}{_write(pick, named=False)}", ".")


def _question(pick: Pick) -> str:
    return _end(pick, f"{pick(ASKS)} {_write(pick, named=False)}", "?")


def _given(pick: Pick) -> str:
    return _end(pick, f"{pick(GIVEN)} {pick(SIGNALS)}, {pick(COURTESIES)}{_write(pick, named=True)}", ".")


def _look(pick: Pick) -> str:
    return _end(pick, f"{pick(COURTESIES)}{pick(LOOKS)} {pick(SIGNALS)} and {_write(pick, named=True)}", ".")


def _look_question(pick: Pick) -> str:
    return _end(pick, f"{pick(ASKS)} {pick(LOOKS)} {pick(SIGNALS)} and {_write(pick, named=True)}", "?")


def _tell_order(pick: Pick) -> str:
    return f"{pick(COURTESIES)}{_tell(pick)}. {pick(('', *REMARKS))}".rstrip()


def _tell_question(pick: Pick) -> str:
    return f"{pick(ASKS)} {_tell(pick)}? {pick(('', *REMARKS))}".rstrip()


def _wish(pick: Pick) -> str:
    with_signal, _ = pick(REPORTS)
    return _end(pick, f"{pick(WISHES)} {with_signal.format(s=pick(SIGNALS))}", ".")


def _role(pick: Pick) -> str:
    return _end(pick, f"{pick(ROLES)}, {pick(COURTESIES)}{_write(pick, named=False)}", ".")


def _show(pick: Pick) -> str:
    opening = pick(OPENINGS).format(s=pick(SIGNALS))
    return _end(pick, f"{opening} {pick(COURTESIES)}{_write(pick, named=True)}", ".")


FAMILIES = (_order, _question, _given, _look, _tell_order, _wish, _role, _show, _tell_question, _look_question)
