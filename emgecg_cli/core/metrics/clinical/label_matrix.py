"""Reports as rows of statements: what a text states, what the codes of a record stand for, one column a statement.

A statement is 0 where the text does not state it or denies it, 1 where it is possible, 2 where it is present; so are
the diagnostic superclasses, by the strongest of their statements.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from itertools import islice

import numpy as np

from emgecg_cli.core import names
from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.reports.ecg.labels import Status, codes, label, label_all
from emgecg_cli.core.reports.ecg.rules import LANGUAGES
from emgecg_cli.core.reports.ecg.statements import SUPERCLASSES, statements
from emgecg_cli.core.reports.language import UNDETERMINED, detect_language

CODES = tuple(statements())
ITEMS = (*CODES, *SUPERCLASSES)
_STRENGTH = {Status.ABSENT: 0, Status.POSSIBLE: 1, Status.PRESENT: 2}
_PLACE = {code: i for i, code in enumerate(CODES)}


class Reader:
    """Reads each different text once. A text is read in its own language, and where its words do not tell that in the
    language of its row."""

    def __init__(self) -> None:
        self._row: dict[tuple[str, str], int] = {}
        self._strengths = np.zeros((0, len(ITEMS)), np.int8)   # of the texts by number

    def labels(self, text: str, language: str) -> dict[str, Status]:
        """Code -> status; empty where nothing is stated, or the language has no rules."""
        return read(text, language)[0]

    def matrix(self, texts: Sequence[str], languages: Sequence[str]) -> np.ndarray:
        """The strength of every statement and superclass in each text, int8 (n, 76)."""
        known, old = self._row, len(self._row)
        rows = [known.setdefault(key, len(known)) for key in zip(texts, languages, strict=True)]
        if len(known) > old:
            new = _strengths([self.labels(*key) for key in islice(known, old, None)])
            self._strengths = np.concatenate([self._strengths, new])
        return self._strengths[rows]

    def coded(self, texts: Sequence[str], rows: Sequence[PredictionRow]) -> np.ndarray:
        """The codes that the data set of each row gives, as a rule, to a report that says this, bool (n, 71): all that
        it states, where no such rule is known."""
        known: dict[tuple[str, str, str | None], np.ndarray] = {}
        keys = [(text, row.language or "", row.dataset) for text, row in zip(texts, rows, strict=True)]
        for text, language, dataset in dict.fromkeys(keys):
            said, own = read(text, language)
            coding = names.resolve("coding", dataset) if dataset in names.CODINGS else None
            known[text, language, dataset] = _flags(coding(said, own, text) if coding else codes(said))
        return np.stack([known[key] for key in keys])


@lru_cache(maxsize=1 << 19)  # of every different text of a large set, which several ask for
def read(text: str, language: str) -> tuple[dict[str, Status], str]:
    """Code -> status of a text, not to be changed, and the language it was read in, which is that of its row where its
    words do not tell."""
    own = detect_language(text)
    own = language if own == UNDETERMINED and language in LANGUAGES else own
    return (label(text, own) if own in LANGUAGES else label_all([text])[0] or {}), own


def truth_of(rows: Sequence[PredictionRow]) -> tuple[np.ndarray, np.ndarray] | None:
    """What the codes of each record stand for, bool (n, 71), and the statements that the codes of its data set can
    stand for at all, of the same shape; None where the codes of a row are of no vocabulary that is known, or it has
    none."""
    if any(row.dataset not in names.VOCABULARIES or row.codes is None for row in rows):
        return None
    tables = {dataset: _vocabulary(dataset) for dataset in {str(row.dataset) for row in rows}}
    known: dict[tuple[str, tuple[str, ...]], np.ndarray] = {}
    reach = {dataset: _flags({code for found in table.values() for code in found}) for dataset, table in tables.items()}
    keys = [(str(row.dataset), tuple(row.codes or ())) for row in rows]
    for dataset, own in dict.fromkeys(keys):
        known[dataset, own] = _flags(code for one in own for code in tables[dataset].get(one, ()))
    return np.stack([known[key] for key in keys]), np.stack([reach[dataset] for dataset, _ in keys])


@lru_cache(maxsize=16)
def _vocabulary(dataset: str) -> dict[str, frozenset[str]]:
    """Each code of a data set -> the SCP-ECG statements it stands for: itself, or what is read in its words."""
    table = names.resolve("vocabulary", dataset)
    table = table() if callable(table) else table
    return {code: frozenset({code}) if code in _PLACE else frozenset(codes(label(words, "en")))
            for code, words in table.items()}


@lru_cache(maxsize=1)
def rules_hash() -> str:
    """The beginning of the SHA-256 of the rules of all languages."""
    digest = hashlib.sha256()
    for name in ("ecg_statements.txt", *(f"ecg_labels_{language}.txt" for language in LANGUAGES)):
        digest.update((files("emgecg_cli") / "data" / name).read_bytes())
    return digest.hexdigest()[:12]


def _strengths(read: Sequence[Mapping[str, Status]]) -> np.ndarray:
    """The strengths of n texts, int8 (n, 76)."""
    found = np.zeros((len(read), len(ITEMS)), np.int8)
    row = np.repeat(np.arange(len(read)), [len(labels) for labels in read])
    place = np.fromiter((_PLACE[code] for labels in read for code in labels), np.int64, len(row))
    strength = np.fromiter((_STRENGTH[status] for labels in read for status in labels.values()), np.int8, len(row))
    found[row, place] = strength
    superclass = np.array([len(CODES) + SUPERCLASSES.index(one.superclass) if one.superclass else -1
                           for one in statements().values()])[place]
    classed = superclass >= 0
    np.maximum.at(found, (row[classed], superclass[classed]), strength[classed])
    return found


def _flags(given: Iterable[str]) -> np.ndarray:
    found = np.zeros(len(CODES), bool)
    for code in given:
        if code in _PLACE:
            found[_PLACE[code]] = True
    return found
