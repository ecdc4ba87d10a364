"""Prompts of EMG and nerve-conduction tables, in the layout EMGLLM published: pipe tables in which numbers are parts.

There is no pool to draw from: the words around the tables are fixed, in English or Chinese, and a record of the form
for language models brings its own. Age, sex and height are not in the published prompt and not in this one. Not taken
over: the newline that the published code leaves behind every number, and the misprints of its headings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from emgecg_cli.core.artifacts import InstructionRow
from emgecg_cli.core.emg import terms
from emgecg_cli.core.emg.case import READING_ORDER, Case, EmgRow, Item, NcvRow, item_of
from emgecg_cli.core.emg.cells import Cell
from emgecg_cli.core.emg.examination import Examination
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.instructions.render import show_number
from emgecg_cli.core.references import References
from emgecg_cli.core.reports.sections import join_sections

LANGUAGES = ("record", "en", "zh")
# prompt id -> what every prompt of that id begins with, and where it is from; the last stands for many
PROMPTS = ("As a physician, your task is to provide a diagnosis for the patient based on the EMG and NCV examination "
           "tables.", "作为一名医生，你的任务是根据患者的EMG和NCV检查表格给出诊断。",
           "The instruction that came with the record.")
ORIGINS = ("published", "published", "record")
OWN = 2
PUBLISHED, LABELLED = LAYOUTS = ("published", "labelled")
_ASK = {"en": "Please generate your diagnosis:", "zh": "请给出你的诊断："}
_HEADINGS = {"en": ("### EMG Test:", "### NCV Test:"), "zh": ("### EMG检查：", "### NCV检查：")}
_ABSENT = {"en": "absent", "zh": "未引出"}
_MISSING = "NaN"
_MUSCLE_WORDS = {"fibs": "grade", "psw": "grade", "fascics": "grade", "others": "other", "polyph": "grade",
                 "form": "form", "recruitment": "recruitment"}
_PLACE = "<unk>"  # stands for a number in the form for language models
_SHAPE = (3, 7)
_LARGEST = float(np.finfo(np.float32).max)
_REPAIR = "prepare the store again"

Part = dict[str, Any]


def table_rows(store: Any, references: References | None, language: str = "record",
               layout: str = PUBLISHED) -> Iterator[InstructionRow]:
    """The instruction of each record of a store of tables, in store order, one at a time; `references` say which of its
    numbers are values.

    `language` is that of the words around and in the tables, "record": each record's own. Reports keep their language.
    `layout` is one of LAYOUTS, see `case_parts`.
    Raises MedReportError naming the record for one whose prompt and matrices do not fit.
    """
    for index in range(len(store)):
        row, stored = store.row(index), store.case(index)
        words = row.language if language == "record" else language
        if stored.case is None:
            prompt_id, parts = OWN, _own_parts(stored, f"{store.path}, record '{row.record_id}'")
        else:
            words = words if words in _ASK else "en"
            prompt_id, parts = int(words == "zh"), case_parts(stored.case, references, words, layout)
        messages: list[dict[str, Any]] = [{"role": "user", "content": parts}]
        if row.report is not None:
            messages.append({"role": "assistant",
                             "content": join_sections(stored.findings, stored.impression, row.language)})
        yield InstructionRow(row.record_id, prompt_id, messages)


def case_parts(case: Case, references: References | None, language: str, layout: str = PUBLISHED) -> list[Part]:
    """The prompt of a case as parts in reading order, to be joined inline.

    A number that `references` know is a part {"type": "value", "item": key, "side", "value"}; any other is text, and so
    is a missing cell (NaN), an absent response, and a number that is implausible or censored, which stays as given.
    The published layout has a column for each measure and side, so that a reader must count cells; in the labelled one
    each cell says its measure and side, and missing cells are left out.
    """
    return _merged([_text(f"{PROMPTS[language == 'zh']}\n"), *tables_of(case, references, language, layout),
                    _text(_ASK[language])])


def tables_of(case: Case, references: References | None, language: str, layout: str = PUBLISHED) -> list[Part]:
    """The tables of a prompt alone, see `case_parts`, each ended by a newline."""
    parts = []
    if case.emg:
        parts.append(_text(f"{_HEADINGS[language][0]}\n{_header(terms.EMG_COLUMNS, language)}\n"))
        parts += [_text(f"{_muscle_row(row, language)}\n") for row in case.emg]
    return _merged([*parts, *conduction_parts(case.ncv, references, language, layout)])


def conduction_parts(rows: Sequence[NcvRow], references: References | None, language: str,
                     layout: str = PUBLISHED) -> list[Part]:
    """The nerve-conduction table of a prompt, see `case_parts`: heading, columns and rows, each ended by a newline."""
    if not rows:
        return []
    labelled = layout == LABELLED
    columns = terms.NCV_COLUMNS[:-len(READING_ORDER)] if labelled else terms.NCV_COLUMNS
    parts = [_text(f"{_HEADINGS[language][1]}\n{_header(columns, language)}\n")]
    for row in rows:
        parts.append(_text(_nerve_names(row, language)))
        for (measure, side), column in zip(READING_ORDER, terms.NCV_COLUMNS[-len(READING_ORDER):], strict=True):
            cell, item = row.cells.get((measure, side)), Item(row.nerve, row.type, row.stim, row.rec, measure)
            if labelled and (cell is None or cell.state == "missing"):
                continue
            parts.append(_text(f"|{_header((column,), language)} " if labelled else "|"))
            if cell is None or cell.value is None or references is None or references.of(item) is None:
                parts.append(_text(_cell_text(cell, language)))
            else:
                parts.append({"type": "value", "item": item.key, "side": side, "value": cell.value})
        parts.append(_text("\n"))
    return _merged(parts)


def why_not_a_row(row: InstructionRow) -> str | None:
    """What is wrong with the instruction of a table, in a few words; None when it is as `table_rows` writes them."""
    shapes = [set(message) == {"role", "content"} and message["role"] for message in row.messages]
    if shapes not in (["user"], ["user", "assistant"]) or not all(isinstance(message["content"], str)
                                                                  for message in row.messages[1:]):
        return "not a prompt and a report"
    parts = row.messages[0]["content"]
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        return "not a prompt of parts"
    for number, part in enumerate(parts, 1):
        why = why_not_a_part(part, row.prompt_id == OWN)
        if why:
            return f"part {number} of its prompt {why}"
    opening = parts[0].get("text", "") if parts else ""
    if row.prompt_id != OWN and not opening.startswith(f"{PROMPTS[row.prompt_id]}\n"):
        return "not its prompt"
    return None


def count_values(row: InstructionRow) -> int:
    """How many numbers of a prompt are parts of their own."""
    return sum(part["type"] == "value" for part in row.messages[0]["content"])


def why_not_a_part(part: Mapping[str, Any], own: bool = False) -> str | None:
    """What is wrong with a part of a table; `own`: of a record in the form for language models."""
    kind = part.get("type")
    if kind == "text":
        return None if set(part) == {"type", "text"} and isinstance(part["text"], str) else "is no text"
    if kind != "value" or set(part) != {"type", "item"} | ({"matrix"} if own else {"side", "value"}):
        return "is neither text nor a value"
    if not isinstance(part["item"], str):
        return "is a value of no item"
    if own:
        return None if _is_matrix(part["matrix"]) else "has no matrix of 3 x 7 finite numbers"
    try:
        item_of(part["item"])
    except MedReportError as error:
        return f"is a value of no item: {error.message}"
    if part["side"] not in terms.SIDES or not _is_number(part["value"]):
        return "is a value without a side, or no finite number"
    return None


def _is_matrix(rows: object) -> bool:
    return (isinstance(rows, list) and len(rows) == _SHAPE[0]
            and all(isinstance(row, list) and len(row) == _SHAPE[1] and all(map(_is_number, row)) for row in rows))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST


def _text(text: str) -> Part:
    return {"type": "text", "text": text}


def _merged(parts: Iterable[Part]) -> list[Part]:
    """The same parts with each run of texts as one."""
    merged: list[Part] = []
    for part in parts:
        if merged and part["type"] == "text" == merged[-1]["type"]:
            merged[-1] = _text(merged[-1]["text"] + part["text"])
        else:
            merged.append(part)
    return merged


def _own_parts(stored: Examination, where: str) -> list[Part]:
    """The parts of a record in the form for language models; one matrix for each `<unk>`."""
    first, *rest = (stored.instruction or "").split(_PLACE)
    if len(rest) != len(stored.matrices):
        raise MedReportError(f"{where}: {len(rest)} {_PLACE} and {len(stored.matrices)} matrices", _REPAIR)
    parts: list[Part] = [{"type": "text", "text": first}] if first else []
    for number, ((item, matrix), text) in enumerate(zip(stored.matrices, rest, strict=True), 1):
        if np.shape(matrix) != _SHAPE or not np.isfinite(matrix).all():
            raise MedReportError(f"{where}, matrix {number} ('{item[:60]}'): not 3 x 7 finite numbers", _REPAIR)
        rows = [[_shortest(value) for value in row] for row in np.asarray(matrix, np.float32)]
        parts.append({"type": "value", "item": item, "matrix": rows})
        parts += [{"type": "text", "text": text}] if text else []
    return parts


def _shortest(value: np.float32) -> float:
    """The shortest decimal number that is this one in float32: 6.2, not 6.199999809265137."""
    return float(str(value))


@lru_cache(maxsize=8)
def _header(columns: tuple[str, ...], language: str) -> str:
    return "|".join(terms.display("column", name, language).replace(" (", "(") for name in columns)


def _muscle_row(row: EmgRow, language: str) -> str:
    side = f"{terms.display('side', row.side, language)} " if row.side else ""
    words = [_word(kind, getattr(row, column), language) for column, kind in _MUSCLE_WORDS.items()]
    return "|".join([side + _word("muscle", row.muscle, language), *words])


def _nerve_names(row: NcvRow, language: str) -> str:
    return "|".join((_word("nerve", row.nerve, language), _word("type", row.type, language),
                     _word("place", row.stim, language), _word("place", row.rec, language)))


@lru_cache(maxsize=1 << 12)
def _word(kind: str, name: str, language: str) -> str:
    return _one_cell(terms.display(kind, name, language)) or _MISSING


def _cell_text(cell: Cell | None, language: str) -> str:
    if cell is None or cell.state == "missing":
        return _MISSING
    if cell.state == "absent":
        return _ABSENT[language]
    return show_number(cell.value) if cell.value is not None else _one_cell(cell.text) or _MISSING


def _one_cell(text: str) -> str:
    """A text that cannot look like two cells or two rows."""
    kept = "".join(letter if letter.isprintable() else " " for letter in text.replace("|", "/"))
    return " ".join(kept.split())
