"""Reports written from labels, for sets that come without text. Whoever uses this marks them `report_kind="template"`.

A table maps codes to statements, in the order in which an ECG is read out: rhythm, rate, ectopic beats, pacing, axis,
conduction and intervals, hypertrophy and voltage, infarction and ischaemia, ST-T, other. Reports follow that order
and not that of the labels, so that equal labels always give equal text.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence


def write_report(statements: Sequence[str]) -> str:
    """One sentence per statement, in the order given: first letter upper, one full stop each, one blank between.

    Blanks within a statement become one; an empty statement, and one that was there before, are left out.
    """
    sentences: dict[str, str] = {}
    for statement in statements:
        words = " ".join(statement.split()).rstrip(" .;,")
        if words:
            sentences.setdefault(words.casefold(), words[0].upper() + words[1:] + ".")
    return " ".join(sentences.values())


def report_of(codes: Collection[str], table: Mapping[str, str]) -> str:
    """The report of these codes by the table code -> statement, in the table's order; raises KeyError on another."""
    for code in codes:
        if code not in table:
            raise KeyError(code)
    return write_report([statement for code, statement in table.items() if code in codes])
