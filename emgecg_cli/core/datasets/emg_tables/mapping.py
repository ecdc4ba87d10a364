"""The mapping file: under which names a folder of EMG tables keeps its columns, and further spellings of terms."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from emgecg_cli.core.emg.terms import KINDS, fold, names
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.names import unknown_name

SHIPPED = "data/etm_mapping.json"
LARGEST = 1 << 20
GROUPS = ("record", "llm", "emg_columns", "ncv_columns")
REPORT = ("findings", "impression")

Names = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class EtmMapping:
    """Names of columns per group (GROUPS), each a tuple in order of preference, () = not there; and spellings of terms:
    kind of `terms.KINDS` -> folded spelling -> canonical name. `reports`: a case without a report is refused."""

    groups: Mapping[str, Names]
    terms: Mapping[str, Mapping[str, str]]
    reports: bool = True

    def __getitem__(self, group: str) -> Names:
        return self.groups[group]


def load_mapping(path: Path | None = None) -> EtmMapping:
    """The mapping that medreport ships, with what the file at `path` adds: names that take precedence over the shipped
    ones, and [] for a column that is not there.

    Raises MedReportError when that file is no mapping, with the key that is wrong.
    """
    shipped = json.loads((files("emgecg_cli") / SHIPPED).read_text(encoding="utf-8"))
    given = _read(path) if path is not None else {}
    for group in given:
        if group not in shipped:
            raise unknown_name("group of a mapping", str(group), list(shipped))
    where = str(path)
    groups = {}
    for group in GROUPS:
        mine = given.get(group, {})
        _check_group(where, group, mine, shipped[group])
        groups[group] = _merged(mine, shipped[group])
    return EtmMapping(groups, _terms(where, given.get("terms", {})))


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > LARGEST:
            raise MedReportError(f"{path}: larger than {LARGEST} bytes, no mapping file", "check the path")
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise MedReportError(f"{path}: cannot be read ({error.strerror})", "check the path") from None
    except (ValueError, RecursionError) as error:
        raise MedReportError(f"{path}: not JSON ({str(error)[:80]})", "a mapping is one JSON object") from None
    if not isinstance(found, dict):
        raise MedReportError(f"{path}: not a JSON object", "a mapping is one JSON object")
    if found.get("version", 1) != 1:
        raise MedReportError(f"{path}: version {str(found['version'])[:20]} of the mapping file", "known is version 1")
    return found


def _merged(mine: Mapping[str, str | list[str] | None], shipped: Mapping[str, Sequence[str]]) -> Names:
    """The names of a group; one that is given for a column does not stand for another any more."""
    given = {key: [names] if isinstance(names, str) else names or [] for key, names in mine.items()}
    taken = {fold(name): key for key, listed in given.items() for name in listed}
    return {key: (*given.get(key, ()), *(name for name in listed if taken.get(fold(name), key) == key))
            if given.get(key, True) else () for key, listed in shipped.items()}


def _check_group(where: str, group: str, given: Any, shipped: Mapping[str, Any]) -> None:
    if not isinstance(given, dict):
        raise MedReportError(f"{where}: '{group}' is not a JSON object", "it maps names to lists of column names")
    for key, value in given.items():
        if key not in shipped:
            raise unknown_name(f"column in '{group}'", key, list(shipped))
        if not (value is None or isinstance(value, str)
                or (isinstance(value, list) and all(isinstance(one, str) for one in value))):
            raise MedReportError(f"{where}: '{group}.{key}' is no list of names", "write a list of column names")


def _terms(where: str, given: Any) -> dict[str, dict[str, str]]:
    if not isinstance(given, dict):
        raise MedReportError(f"{where}: 'terms' is not a JSON object", "it maps kinds to spellings and their names")
    found: dict[str, dict[str, str]] = {}
    for kind, spellings in given.items():
        if kind not in KINDS:
            raise unknown_name("kind of term", kind, KINDS)
        if not isinstance(spellings, dict):
            raise MedReportError(f"{where}: 'terms.{kind}' is not a JSON object", "it maps spellings to names")
        for spelling, name in spellings.items():
            if name not in names(kind):
                raise unknown_name(kind, str(name), names(kind))
            found.setdefault(kind, {})[fold(spelling)] = name
    for kind in ("site", "muscle"):  # both are places where a response is recorded
        found["place"] = {**found.get(kind, {}), **found.get("place", {})}
    return found
