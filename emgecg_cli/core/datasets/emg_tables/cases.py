"""What a folder of EMG tables yields: a case with its report, in the form in which the source has it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from emgecg_cli.core.datasets.formats.wfdb_files import RecordError
from emgecg_cli.core.emg.case import Case
from emgecg_cli.core.emg.reading import Flag

LONGEST_ID = 200
LONGEST_REPORT = 1 << 16
_SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
           "test": "test", "testing": "test", "": None}
_WHOLE = re.compile(r"(\d+)\.0")  # how a whole number comes out of a column with gaps
_CJK = re.compile("[\u3400-\u9fff]")
_LANGUAGES = {"zh": "zh", "chinese": "zh", "cn": "zh", "zh-cn": "zh", "中文": "zh", "en": "en", "english": "en"}


@dataclass(frozen=True)
class ItemMatrix:
    """A value with its references: `rows` are seven upper references, the value seven times, seven lower ones."""

    item: str
    rows: tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True)
class RawExamination:
    """One examination with its report, as a file has it. `case` is None in the form for language models, which has the
    prompt instead: `instruction` with one `<unk>` for each of `tensors`, and the whole answer in `output`.

    `split` is the official one, None where the source names none. `findings` may hold two parts, "EMG:" and "NCV:".
    `language` is "zh" or "en". `source` is the file. `flags` are faults of the tables that did not set the record
    aside, each with a countable reason and one line with file, row and column; `unused` are columns that stand for
    nothing known, each with the name of its table or file before it.
    """

    record_id: str
    subject_id: str
    split: str | None
    source: str
    language: str
    findings: str
    impression: str
    case: Case | None = None
    instruction: str | None = None
    output: str | None = None
    tensors: tuple[ItemMatrix, ...] = ()
    flags: tuple[tuple[str, str], ...] = ()
    unused: tuple[str, ...] = ()


def read_text(value: Any) -> str:
    """A text of a record; the parts of a list or group ("EMG": …, "NCV": …) become lines."""
    if value is None or value != value:
        return ""
    if isinstance(value, dict):
        return "\n".join(f"{key}: {read_text(part)}" for key, part in value.items() if read_text(part))
    if isinstance(value, list):
        return "\n".join(filter(None, map(read_text, value)))
    text = str(value).strip()
    if len(text) > LONGEST_REPORT:
        raise RecordError("too large", f"a text of {len(text)} characters")
    return "" if text.lower() in ("nan", "none", "null") else text


def read_id(value: Any) -> str:
    """An id as one line; "" where there is none."""
    text = "" if value is None or value != value or isinstance(value, dict | list) else " ".join(str(value).split())
    if text.lower() in ("nan", "none", "null"):
        return ""
    found = _WHOLE.fullmatch(text)
    return (found[1] if found else text)[:LONGEST_ID]


def read_split(value: Any) -> str | None:
    """train, val or test; raises RecordError for another word."""
    word = read_id(value).lower()
    if word not in _SPLITS:
        raise RecordError("unknown split", f"'{word[:40]}' is neither train, val nor test")
    return _SPLITS[word]


def language_of(*texts: str, told: Any = None) -> str:
    """"zh" or "en", as told, else by the characters of the texts."""
    return _LANGUAGES.get(read_id(told).lower()) or ("zh" if any(map(_CJK.search, texts)) else "en")


def flag_lines(flags: tuple[Flag, ...], where: str, headings: Mapping[str, Mapping[str, str]]) -> list[tuple[str, str]]:
    """Each flag as (reason, one line), with the table's own headings."""
    return [(flag.reason, f"{where}, {flag.table} row {flag.row}, column "
             f"'{headings.get(flag.table, {}).get(flag.column, flag.column)}': {flag.detail}") for flag in flags]
