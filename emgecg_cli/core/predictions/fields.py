"""Which field of somebody else's file is which of ours. Nothing is guessed: a file is read as it is told to be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any

from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.json_lines import row_of

# What others call the fields that every prediction has; a hint names those that a file has.
_OTHER_NAMES = {
    "record_id": ("id", "ecg_id", "study_id", "image_id", "sample_id", "record", "uid", "name", "index", "idx"),
    "prediction": ("output", "response", "text", "generated", "generated_text", "generation", "pred", "hypothesis",
                   "candidate", "answer", "model_output", "predicted", "Model_generated", "GEM_generated"),
    "reference": ("ground_truth", "label", "target", "gt", "gold", "report", "references", "expected",
                  "GPT4o_generated"),
}
_NAMES = tuple(field.name for field in fields(PredictionRow) if field.name != "more_references")
_REQUIRED = tuple(field.name for field in fields(PredictionRow) if field.default is MISSING
                  and field.default_factory is MISSING)
_SHOWN = 12  # fields of a file that an error names


def parse_fields(given: Iterable[str]) -> dict[str, str]:
    """`["prediction=output,reference=report", …]` as our name -> theirs; raises MedReportError for what is not that."""
    found: dict[str, str] = {}
    for word in (word.strip() for text in given for word in text.split(",")):
        name, equals, theirs = (part.strip() for part in word.partition("="))
        if not (name and equals and theirs):
            raise MedReportError(f"--field {word or '(empty)'}: not NAME=FIELD",
                                 "our name first, e.g. --field prediction=output,record_id=id")
        if name not in _NAMES:
            raise MedReportError(f"--field {word}: no field '{name}' of a prediction",
                                 f"they are {', '.join(_NAMES)}; ours comes first, as in prediction=output")
        if found.setdefault(name, theirs) != theirs:
            raise MedReportError(f"--field gives {name} as {found[name]} and as {theirs}", "give it once")
    return found


def to_row(values: Mapping[str, Any], mapping: Mapping[str, str], where: str) -> PredictionRow:
    """The prediction that a JSON object at `where` holds; `mapping` says which of its fields is which of ours.

    Ids may be whole numbers, and there may be several references; a prediction that is a list is a dialogue, and so are
    its reference and its question, if it has one. Raises MedReportError for a field that is missing or of another type,
    naming those there are.
    """
    own = {name: values[theirs] for name, theirs in mapping.items() if theirs in values}
    row = {name: value for name, value in values.items() if name not in mapping} | own
    if missing := [name for name in _REQUIRED if name not in row]:
        raise _lacks(missing, values, mapping, where)
    for name in ("record_id", "subject_id"):
        row[name] = _id(row.get(name))
    if isinstance(row["prediction"], list):
        for name in ("prediction", "reference", *(["question"] if row.get("question") is not None else [])):
            row[name] = _dialogue(row[name], name, where)
    if isinstance(row["reference"], list):
        row["reference"], row["more_references"] = _several(row["reference"], where)
    return row_of(row, PredictionRow, where)


def _id(value: Any) -> Any:
    """A number as text; 17.0, which tables make of 17, is 17."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return str(int(value)) if isinstance(value, int) or value.is_integer() else value


def _dialogue(turns: Any, name: str, where: str) -> Any:
    """The turns of a dialogue as one text."""
    if not isinstance(turns, list) or not turns or not all(isinstance(text, str) for text in turns):
        raise MedReportError(f"{where}: its prediction is a list of turns, its {name} is not",
                             "of a dialogue both are lists of texts, a turn each")
    return "\n\n".join(f"Turn {number}: {text.strip()}" for number, text in enumerate(turns, 1))


def _several(references: Sequence[Any], where: str) -> tuple[str, list[str] | None]:
    if not references or not all(isinstance(text, str) for text in references):
        raise MedReportError(f"{where}: reference is a list that is empty or holds more than texts",
                             "several references are a list of texts; null where there is none")
    if any(not text.strip() for text in references):
        raise MedReportError(f"{where}: one of its {len(references)} references is empty", "leave that one out")
    different = list(dict.fromkeys(references))
    return different[0], different[1:] or None


def _lacks(missing: Sequence[str], values: Mapping[str, Any], mapping: Mapping[str, str], where: str) -> MedReportError:
    told = [f"{mapping[name]} (--field {name}={mapping[name]})" if name in mapping else name for name in missing]
    there = ", ".join(list(values)[:_SHOWN]) or "nothing"
    more = f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else ""
    likely = {name: next((other for other in _OTHER_NAMES[name] if other in values), "FIELD") for name in missing}
    hint = "say which is which: --field " + ",".join(f"{name}={theirs}" for name, theirs in likely.items())
    return MedReportError(f"{where}: lacks {', '.join(told)}; it has {there}{more}", hint)
