"""Records made for a language model, the form of ETM-17k-LLM: a prompt with `<unk>`, an answer, and the matrices."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

from emgecg_cli.core.datasets.emg_tables.cases import (
    ItemMatrix,
    RawExamination,
    language_of,
    read_id,
    read_split,
    read_text,
)
from emgecg_cli.core.datasets.emg_tables.columns import find_columns
from emgecg_cli.core.datasets.emg_tables.mapping import EtmMapping
from emgecg_cli.core.datasets.formats.wfdb_files import RecordError

PLACEHOLDER = "<unk>"
ROWS, COLUMNS = 3, 7
_ROW_NAMES = ("upper", "value", "lower")
# No blanks but spaces between the anchors; otherwise a text of nothing but line ends would take quadratic time.
_IMPRESSION = re.compile(r"(?:^|[\n。;；])[ \t]*(?:#+[ \t]*|\*\*)?(?:Impression|印象|诊断意见|诊断|结论)"
                         r"(?:\*\*)?[ \t]*[:：]", re.I)
_FINDINGS = re.compile(r"\s*(?:#+\s*|\*\*)?(?:Findings?|检查所见|所见)(?:\*\*)?\s*[:：]", re.I)


def case_of(fields: Mapping[str, Any], where: str, source: str, split: str | None, default_id: str,
            mapping: EtmMapping) -> RawExamination:
    """The case of a record whose fields go by canonical names; raises RecordError when it is to be set aside: no
    answer, a number of `<unk>` other than that of the tensors, a tensor that is not 3 x 7 finite numbers."""
    instruction, output = str(fields.get("instruction") or ""), read_text(fields.get("output"))
    if not output and mapping.reports:
        raise RecordError("no report", f"{where}, column 'output': empty")
    entries = _entries(fields.get("tensor"), where)
    n_places = instruction.count(PLACEHOLDER)
    if n_places != len(entries):
        raise RecordError("placeholders and tensors differ", f"{where}, column 'instruction': {n_places} "
                          f"{PLACEHOLDER}, and {len(entries)} tensors")
    flags: list[tuple[str, str]] = []
    tensors = tuple(_matrix(entry, f"{where}, tensor {number}", mapping, flags)
                    for number, entry in enumerate(entries, 1))
    record_id = read_id(fields.get("record_id")) or default_id
    findings, impression = split_answer(output)
    return RawExamination(record_id, read_id(fields.get("subject_id")) or record_id,
                   read_split(fields.get("split")) or split, source,
                   language_of(output or instruction, told=fields.get("language")), findings, impression, None,
                   instruction, output, tensors, tuple(flags))


def split_answer(output: str) -> tuple[str, str]:
    """Findings and impression of an answer; all of it is findings where no heading tells the two apart."""
    found = _IMPRESSION.search(output)
    head, tail = (output[:found.start()] + output[found.start()].strip(), output[found.end():]) if found else (
        output, "")
    return _FINDINGS.sub("", head, count=1).strip() if _FINDINGS.match(head) else head.strip(), tail.strip()


def _entries(value: Any, where: str) -> list[Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else []
        except (ValueError, RecursionError) as error:
            raise RecordError("bad tensor", f"{where}, column 'tensor': not JSON ({str(error)[:60]})") from None
    if value is None:
        return []
    if isinstance(value, dict) and all(isinstance(part, list) for part in value.values()):
        # A list of groups comes out of some files as a group of lists.
        value = [dict(zip(value, parts, strict=False)) for parts in zip_longest(*value.values())]
    if not isinstance(value, list):
        raise RecordError("bad tensor", f"{where}, column 'tensor': a {type(value).__name__}, no list")
    return value


def _matrix(entry: Any, where: str, mapping: EtmMapping, flags: list[tuple[str, str]]) -> ItemMatrix:
    if not isinstance(entry, dict):
        raise RecordError("bad tensor", f"{where}: not a group of item and tensor")
    names = find_columns(list(map(str, entry)), {key: mapping["llm"][key] for key in ("item", "tensor")}).of
    item = read_id(entry.get(names.get("item", "item")))
    where = f"{where} ('{item[:60]}')"
    rows = entry.get(names.get("tensor", "tensor"))
    if isinstance(rows, list) and len(rows) == 1 and isinstance(rows[0], list) and len(rows[0]) == ROWS:
        rows = rows[0]
    if not isinstance(rows, list) or len(rows) != ROWS or any(
            not isinstance(row, list) or len(row) != COLUMNS for row in rows):
        raise RecordError("bad tensor", f"{where}: {_shape(rows)}, where {ROWS} x {COLUMNS} is needed")
    values = tuple(tuple(_number(value, f"{where}, row {_ROW_NAMES[i]}, column {j}")
                         for j, value in enumerate(row, 1)) for i, row in enumerate(rows))
    if len(set(values[1])) > 1:
        flags.append(("value row not constant", f"{where}, row value: holds {len(set(values[1]))} different numbers"))
    if sum(values[0]) < sum(values[2]):
        flags.append(("references upside down", f"{where}, row upper: lies below row lower"))
    return ItemMatrix(item, (values[0], values[1], values[2]))


def _shape(rows: Any) -> str:
    if not isinstance(rows, list):
        return f"a {type(rows).__name__}"
    widths = sorted({len(row) if isinstance(row, list) else 0 for row in rows})
    return f"{len(rows)} x {' or '.join(map(str, widths[:4])) or '0'}"


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RecordError("bad tensor", f"{where}: '{str(value)[:40]}' is no number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise RecordError("nan tensor", f"{where}: {number} where a finite number is needed")
    return number
