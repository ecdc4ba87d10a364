"""The rows of a user's own table of reports, one recording a row: what its cells may hold, and what they say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from emgecg_cli.core.artifacts import SPLITS
from emgecg_cli.core.datasets.formats.csv_tables import column_names
from emgecg_cli.core.datasets.formats.wfdb_files import RecordError
from emgecg_cli.core.delimited.headings import SHOWN, plain_heading
from emgecg_cli.core.person import read_sex, read_years

UNREAD = "unread_columns"  # of a source's details: what of its CSV was not used, which decides nothing
OPTIONAL = ("subject_id", "split", "language", "codes", "age", "sex")
NUMBERS = ("age",)
# of a recording that no row is about
NOTHING_SAID: Mapping[str, Any] = {"report": None, "language": None, "age": None, "sex": None, "codes": []}


def unread_columns(path: Path, columns: Sequence[str]) -> dict[str, Any]:
    """For the details of a source: the headings of its CSV that are none of the `columns`, which would be of use; a
    patient's id under another name than `subject_id` is one. Empty where there is none."""
    known = {plain_heading(name) for name in columns}
    left = [name for name in column_names(path, columns) if plain_heading(name) and plain_heading(name) not in known]
    return {UNREAD: {path.name: {"columns": left[:SHOWN], "known": list(columns)}}} if left else {}


def check_cells(row: Mapping[str, str]) -> None:
    """Raise RecordError for a cell that cannot be what its heading says, with the heading it may have been meant for.
    """
    for name, why in (("split", f"is none of {', '.join(SPLITS)}"), ("language", "is no code such as en"),
                      ("age", "is no age in years"), ("sex", "is neither M nor F")):
        text = row.get(name, "").strip()
        if not _IS[name](text):
            like = [other for other in _IS if other != name and _IS[other](text)
                    and not _IS[other](row.get(other, "").strip())]
            also = f"; are the headings '{name}' and '{like[0]}' exchanged?" if like else ""
            raise RecordError(f"bad {name}", f"'{text[:40]}' {why}{also}")


def details_of(row: Mapping[str, str]) -> dict[str, Any]:
    """What a row says of its recording, as a `RecordRef` keeps it: report, language, age, sex and codes."""
    report, language = row.get("report", ""), row.get("language", "").strip()
    codes = [code.strip() for code in row.get("codes", "").split(";")]
    return {"report": report if report.strip() else None, "language": language or None,
            "age": read_years(row.get("age", "")), "sex": read_sex(row.get("sex", "")),
            "codes": list(dict.fromkeys(code for code in codes if code))}


def _is_language(text: str) -> bool:
    return not text or (text.isascii() and text.isalpha() and text.islower() and len(text) < 4)


# what a cell of these columns may hold; an empty one says nothing
_IS: Mapping[str, Callable[[str], bool]] = {
    "split": lambda text: not text or text in SPLITS, "language": _is_language,
    "age": lambda text: not text or read_years(text) is not None,
    "sex": lambda text: not text or read_sex(text) is not None}
