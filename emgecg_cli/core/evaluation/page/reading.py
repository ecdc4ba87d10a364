"""What the texts of a record state, sentence by sentence, so that a page can mark where they differ.

ECG reports are read by the labeler of `reports.ecg`, reports of nerve conduction and needle EMG by the reader of
`reports.emg`. Where neither finds anything in the reference, a sentence stands for what it states.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.emg.terms import display
from emgecg_cli.core.metrics.clinical.labels import Labels
from emgecg_cli.core.metrics.clinical.statements import Statements, read_findings, says_anything
from emgecg_cli.core.reports.ecg.labels import Status, label, label_all
from emgecg_cli.core.reports.ecg.rules import LANGUAGES
from emgecg_cli.core.reports.ecg.statements import statements
from emgecg_cli.core.reports.emg.statements import NeedleFinding, Statement
from emgecg_cli.core.reports.language import UNDETERMINED, detect_language
from emgecg_cli.core.reports.scripts import same_letters, word

SENTENCES = "sentences"
_SENTENCE = re.compile(r".*?(?:[.!?;](?=\s|$)|[。；！？]|\n|$)\s*", re.S)


@dataclass(frozen=True)
class Said:
    """What a text states: `stated` maps statements to how sure they are ("" where that is not told), `pieces` are its
    sentences, which joined are the text, each with the statements it makes by itself. `understood` tells a text that
    states nothing abnormal from one in which nothing could be read."""

    pieces: tuple[tuple[str, frozenset[str]], ...]
    stated: Mapping[str, str]
    understood: bool = True

    def without(self, other: Said) -> list[str]:
        """The statements that only this text makes, in its order."""
        return [one for one in self.stated if one not in other.stated]


Read = Callable[[str, str | None], Said]


@dataclass(frozen=True)
class Reading:
    """How the texts of a page are read, and what its statements are called in words."""

    by: str
    read: Read
    words: Callable[[str], str] = str


def reading_of(rows: Sequence[PredictionRow]) -> Reading:
    """The reader for these rows, by what their references are about."""
    if Labels().applicable(rows) is None:
        return Reading(Labels.name, read_ecg, lambda code: statements()[code].description)
    if Statements().applicable(rows) is None:
        return Reading(Statements.name, read_emg)
    return BY_SENTENCE


def read_ecg(text: str, language: str | None = None) -> Said:
    """The SCP-ECG statements that are present or possible."""
    own = detect_language(text)
    own = language if own == UNDETERMINED and language in LANGUAGES else own

    def labels(part: str) -> dict[str, str]:
        found = label(part, own) if own in LANGUAGES else label_all([part])[0] or {}
        return {code: str(status) for code, status in found.items() if status != Status.ABSENT}

    return _said(text, labels, bool)


def read_emg(text: str, language: str | None = None) -> Said:
    """What is called abnormal of nerves and muscles; `language` is not needed, both are read."""
    def abnormal(part: str) -> dict[str, str]:
        read = read_findings(part)
        called = [(_words(one), one.severity or "") for one in read.abnormal if one.called]
        return dict(sorted([*called, *((_words(one), "") for one in read.needle)]))

    return _said(text, abnormal, lambda _: says_anything(read_findings(text)))


def read_sentences(text: str, language: str | None = None) -> Said:
    """Each sentence as a statement, regardless of case, blanks and punctuation."""
    return _said(text, lambda part: {found: "" for one in sentences(part)
                                     if (found := " ".join(word().findall(same_letters(one).casefold())))})


BY_SENTENCE = Reading(SENTENCES, read_sentences)


def sentences(text: str) -> Iterator[str]:
    """The sentences of a text as they stand, with the blanks behind them."""
    return (found[0] for found in _SENTENCE.finditer(text) if found[0])


def _said(text: str, stated: Callable[[str], dict[str, str]],
          understood: Callable[[dict[str, str]], bool] = lambda said: True) -> Said:
    whole = stated(text)
    return Said(tuple((piece, frozenset(stated(piece)) & whole.keys()) for piece in sentences(text)), whole,
                understood(whole))


def _words(one: Statement | NeedleFinding) -> str:
    side = display("side", one.side) if one.side else ""
    if isinstance(one, NeedleFinding):
        return " ".join(filter(None, (side, display("muscle", one.muscle), one.finding.replace("_", " "))))
    return " ".join(filter(None, (side, display("nerve", one.nerve), display("type", one.type) if one.type else "",
                                  one.measure, one.direction)))
