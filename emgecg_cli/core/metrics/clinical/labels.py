"""Which SCP-ECG statements a generated report makes: against those of its reference, and against the record's codes.

What a text states is read by the rules of `reports.ecg`, in the hypothesis as in the reference, so that neither the
habits of those who coded a data set nor the wording decide. Against the codes the reference itself does not score 1:
what the labeler reads in the references has the score that a perfect report would, the ceiling.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np

from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.metrics import Declared, Given, Table, ratio
from emgecg_cli.core.metrics.clinical.label_matrix import CODES, ITEMS, Reader, rules_hash, truth_of
from emgecg_cli.core.reports.ecg.statements import statements

FEWEST = 10   # a statement counts in macro averages where as many references of the set state it
_NORMAL = ("NORM", "SR")   # what is said of a normal ECG
_SUPERCLASSES = {"NORM": "normal ECG", "MI": "myocardial infarction", "STTC": "ST and T changes",
                 "CD": "conduction disturbance", "HYP": "hypertrophy"}
_SPOKEN_OF = 0.1   # the share of references that must state more than "normal" for this to be about ECGs
_REPORTS = ("exact", "strict exact", "unread", "unread reference", "reports")
_OF_ITEM = ("tp", "fp", "fn", "same")   # "same": both, and as sure
_OF_CODE = ("codes tp", "codes fp", "codes fn", "ceiling tp", "ceiling fp", "ceiling fn")


class Labels:
    """Precision, recall and F1 of statements that are present or possible, micro over the corpus and macro over the
    statements that at least FEWEST references make; "strict" where a statement must also be as sure as in the
    reference; of the abnormal ones alone; of the five diagnostic superclasses; the share of reports that are right in
    every statement, and of those in which none could be read.

    Where the data set has codes, the same against them ("codes"), and what the references score there ("ceiling").
    All lie in 0-1. A ratio without any count in its denominator is 0; a macro average over nothing is undefined.
    """

    name = "labels"
    declared = Declared(frozenset({"text"}), lower_is_better=frozenset({
        "labels-unread", "labels-unread-references"}), kind="clinical", decisive=frozenset({"labels-abnormal-F1"}),
        ranked={"labels-F1": "labels-exact"},
        descriptive=frozenset({"labels-unread-references", "codes-ceiling-F1", "codes-ceiling-macro-F1"}))

    def __init__(self, support: np.ndarray | None = None, code_support: np.ndarray | None = None,
                 reader: Reader | None = None) -> None:
        """`support` (76,) says how many references make each statement and superclass, `code_support` (71,) how many
        records have a code for it, None where there are no codes to compare with."""
        self._support, self._code_support = support, code_support
        self._reader = reader or Reader()

    @classmethod
    def of(cls, given: Given) -> Self:
        """For the references and the codes of these rows."""
        reader = Reader()
        truth = truth_of(given.rows)
        if not given.rows or cls(reader=reader).applicable(given.rows):
            return cls(reader=reader)
        said = reader.matrix([row.reference or "" for row in given.rows], [row.language or "" for row in given.rows])
        return cls((said > 0).sum(axis=0), None if truth is None else truth[0].sum(axis=0), reader)

    @classmethod
    def restored(cls, columns: Sequence[str], sums: np.ndarray) -> Self:
        """From the sums of the whole set."""
        counts = dict(zip(columns, np.asarray(sums, np.float64), strict=True))
        support = np.array([counts[f"{item} tp"] + counts[f"{item} fn"] for item in _titles()])
        if f"{CODES[0]} codes tp" not in counts:
            return cls(support)
        return cls(support, np.array([counts[f"{code} codes tp"] + counts[f"{code} codes fn"] for code in CODES]))

    def applicable(self, rows: Sequence[PredictionRow]) -> str | None:
        """Needs references that state something of an ECG."""
        spoken = sum(bool(self._reader.labels(row.reference or "", row.language or "").keys() - {"NORM"})
                     for row in rows)
        return None if spoken and spoken >= _SPOKEN_OF * len(rows) else "the references state nothing of an ECG"

    def columns(self) -> tuple[str, ...]:
        """Counts of reports, of each statement and superclass, and of each statement against the codes."""
        of_codes = () if self._code_support is None else tuple(f"{code} {count}" for code in CODES for count in
                                                               _OF_CODE)
        return (*_REPORTS, *(f"{item} {count}" for item in _titles() for count in _OF_ITEM), *of_codes)

    def segment_statistics(self, hypotheses: Sequence[str], references: Sequence[str],
                           rows: Sequence[PredictionRow]) -> np.ndarray:
        """Counts per report, uint8 (n, 309), or (n, 735) with codes."""
        languages = [row.language or "" for row in rows]
        said, true = (self._reader.matrix(texts, languages) for texts in (hypotheses, references))
        stated, known = said > 0, true > 0
        same = stated & (said == true)
        of_items = np.stack([stated & known, stated & ~known, ~stated & known, same], axis=-1)
        codes = slice(0, len(CODES))
        exact = (stated[:, codes] == known[:, codes]).all(axis=1)
        strict = exact & (same[:, codes] == known[:, codes]).all(axis=1)
        of_reports = np.stack([exact, strict, ~stated.any(axis=1), ~known.any(axis=1), np.ones(len(rows), bool)],
                              axis=1)
        parts = [of_reports, of_items.reshape(len(rows), -1)]
        if self._code_support is not None:
            parts.append(self._against_codes(hypotheses, references, rows))
        return np.concatenate(parts, axis=1).view(np.uint8)

    def _against_codes(self, hypotheses: Sequence[str], references: Sequence[str],
                       rows: Sequence[PredictionRow]) -> np.ndarray:
        """Both texts against the codes, of the statements alone that these can stand for, bool (n, 426)."""
        found = truth_of(rows)
        assert found is not None
        truth, reach = found
        counts = []
        for texts in (hypotheses, references):
            coded = self._reader.coded(texts, rows) & reach
            counts += [coded & truth, coded & ~truth, ~coded & truth]
        return np.stack(counts, axis=-1).reshape(len(rows), -1)

    def aggregate(self, sums: np.ndarray) -> dict[str, np.ndarray]:
        """Corpus values from column sums (..., k), each of shape (...)."""
        reports, items, codes = self._parted(sums)
        exact, strict, unread, unread_references, n = np.moveaxis(reports, -1, 0)
        of_codes, of_superclasses = items[..., :len(CODES), :], items[..., len(CODES):, :]
        counted = None if self._support is None else self._support[:len(CODES)] >= FEWEST
        abnormal = np.array([code not in _NORMAL for code in CODES])
        values = _scores("labels", of_codes[..., :3])
        values |= {"labels-abnormal-F1": _scores("", of_codes[..., abnormal, :3])["-F1"]}
        values |= _macro("labels-macro", of_codes[..., :3], counted)
        values |= _scores("labels-strict", _strict(of_codes))
        values |= {"labels-strict-macro-F1": _macro("", _strict(of_codes), counted)["-F1"]}
        values |= {"superclass-F1": _scores("", of_superclasses[..., :3])["-F1"],
                   "superclass-macro-F1": _macro("", of_superclasses[..., :3], None if self._support is None else
                                                 self._support[len(CODES):] >= FEWEST)["-F1"],
                   "superclass-strict-F1": _scores("", _strict(of_superclasses))["-F1"],
                   "labels-exact": ratio(exact, n), "labels-strict-exact": ratio(strict, n),
                   "labels-unread": ratio(unread, n), "labels-unread-references": ratio(unread_references, n)}
        if codes is not None and self._code_support is not None:
            coded = self._code_support >= FEWEST
            values |= _scores("codes", codes[..., :3])
            values |= {"codes-macro-F1": _macro("", codes[..., :3], coded)["-F1"],
                       "codes-ceiling-F1": _scores("", codes[..., 3:])["-F1"],
                       "codes-ceiling-macro-F1": _macro("", codes[..., 3:], coded)["-F1"]}
        return values

    def tabulate(self, sums: np.ndarray) -> list[Table]:
        """Precision, recall, F1 and strict F1 of each statement and superclass; against the codes, beside the
        ceiling."""
        _, items, codes = self._parted(sums)
        parts = ((CODES, 0, "statements", "Statements against those of the reference"),
                 (tuple(_SUPERCLASSES), len(CODES), "superclasses", "Diagnostic superclasses"))
        tables = [_table(name, title, chosen, items[..., start:, :3], {"strict F1": _strict(items[..., start:, :])})
                  for chosen, start, name, title in parts]
        if codes is not None:
            tables.append(_table("codes", "Statements against the codes of the record", CODES, codes[..., :3],
                                 {"ceiling F1": codes[..., 3:]}))
        return tables

    def notes(self, hypotheses: Sequence[str], rows: Sequence[PredictionRow]) -> list[str]:
        """Sentences on what could not be read, on macro averages, and on the codes."""
        unread = sum(not self._reader.labels(text, row.language or "") for text, row in
                     zip(hypotheses, rows, strict=True))
        silent = sum(not self._reader.labels(row.reference or "", row.language or "") for row in rows)
        notes = [f"labels: no statement could be read in {unread} of {len(rows)} predictions and in {silent} of their "
                 "references"] if unread or silent else []
        counted = 0 if self._support is None else int((self._support[:len(CODES)] >= FEWEST).sum())
        notes.append(f"labels: macro averages are over the {counted} statements that {FEWEST} references or more make")
        if self._code_support is None:
            notes.append("labels are not compared with codes: the records have none of a vocabulary that is known")
        return notes

    def signature(self) -> str:
        """What the values depend on; `reader` is the hash of the rules."""
        return (f"unit:SCP-ECG statement|reader:rules@{rules_hash()}|possible:as present, strict:apart|average:micro"
                f"|macro:support>={FEWEST}|zero-division:0|version:1")

    def _parted(self, sums: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Counts of reports (..., 5), of items (..., 76, 4) and against the codes (..., 71, 6)."""
        sums = np.asarray(sums, np.float64)
        start, end = len(_REPORTS), len(_REPORTS) + len(ITEMS) * len(_OF_ITEM)
        items = sums[..., start:end].reshape(*sums.shape[:-1], len(ITEMS), len(_OF_ITEM))
        codes = sums[..., end:].reshape(*sums.shape[:-1], len(CODES), len(_OF_CODE)) if sums.shape[-1] > end else None
        return sums[..., :start], items, codes


def _titles() -> tuple[str, ...]:
    """The names of items in columns: superclasses share some of theirs with statements."""
    return (*CODES, *(f"class {name}" for name in _SUPERCLASSES))


def _strict(items: np.ndarray) -> np.ndarray:
    """tp, fp and fn where a statement that is not as sure is wrong, (..., 3) from (..., 4)."""
    tp, fp, fn, same = np.moveaxis(items, -1, 0)
    return np.stack([same, fp + tp - same, fn + tp - same], axis=-1)


def _prf(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision, recall and F1 from (..., 3) of tp, fp, fn."""
    tp, fp, fn = np.moveaxis(counts, -1, 0)
    return ratio(tp, tp + fp), ratio(tp, tp + fn), ratio(2 * tp, 2 * tp + fp + fn)


def _scores(name: str, counts: np.ndarray) -> dict[str, np.ndarray]:
    """Micro averages from (..., statements, 3)."""
    precision, recall, f1 = _prf(counts.sum(axis=-2))
    return {f"{name}-F1": f1, f"{name}-precision": precision, f"{name}-recall": recall}


def _macro(name: str, counts: np.ndarray, counted: np.ndarray | None) -> dict[str, np.ndarray]:
    """Means over the statements that are counted; NaN where there are none."""
    values = [np.full(counts.shape[:-2], np.nan)] * 3 if counted is None or not counted.any() else \
        [found.mean(axis=-1) for found in _prf(counts[..., counted, :])]
    return dict(zip((f"{name}-precision", f"{name}-recall", f"{name}-F1"), values, strict=True))


def _table(name: str, title: str, items: Sequence[str], counts: np.ndarray,
           more: Mapping[str, np.ndarray]) -> Table:
    """Of each item what it is made of, (..., items, 3), its three values, and the F1 of other counts."""
    tp, fp, fn = np.moveaxis(counts, -1, 0)
    columns = dict(zip(("precision", "recall", "F1"), _prf(counts), strict=True))
    columns |= {column: _prf(others)[2] for column, others in more.items()}
    meanings = {code: one.description for code, one in statements().items()} if items is CODES else _SUPERCLASSES
    support, stated = tp + fn, tp + fp
    return Table(name, title, {item: {column: values[..., i] for column, values in columns.items()}
                               for i, item in enumerate(items)},
                 {item: {"support": support[..., i], "stated": stated[..., i]} for i, item in enumerate(items)},
                 meanings)
