"""The mapping file: under which names a folder of EMG tables keeps its columns, and further spellings of terms."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from emgecg_cli.core.emg.terms import KINDS, fold, halves, names
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.names import unknown_name

SHIPPED = "data/etm_mapping.json"
LARGEST = 1 << 20
GROUPS = ("record", "llm", "emg_columns", "ncv_columns")
# These may lack without a word; that another one is not found is an error as soon as some column is unknown.
OPTIONAL = frozenset(("record_id", "subject_id", "split", "language", "side", "item"))
HINT = "write the missing names into a mapping file, such as {%s}, and give it as --mapping FILE"

Names = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class EtmMapping:
    """Names of columns per group (GROUPS), each a tuple in order of preference, () = not there; and spellings of terms:
    kind of `terms.KINDS` -> folded spelling -> canonical name."""

    groups: Mapping[str, Names]
    terms: Mapping[str, Mapping[str, str]]

    def __getitem__(self, group: str) -> Names:
        return self.groups[group]


@dataclass(frozen=True)
class Columns:
    """Which column of a file each wanted one is (`of`), and what was found besides."""

    of: Mapping[str, str]
    unmapped: tuple[str, ...]


def load_mapping(path: Path | None = None) -> EtmMapping:
    """The mapping that medreport ships, with what the file at `path` adds: names that go before the shipped ones, and
    [] for a column that is not there.

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
        groups[group] = {key: _with(mine[key], listed) if key in mine else tuple(listed)
                         for key, listed in shipped[group].items()}
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


def _with(mine: str | list[str] | None, shipped: Sequence[str]) -> tuple[str, ...]:
    given = [mine] if isinstance(mine, str) else mine
    return (*given, *shipped) if given else ()


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


def _keys(text: str) -> set[str]:
    """What of a heading may be known: the whole, the part behind the last point, and each half of a bilingual one."""
    last = text.rpartition(".")[2]
    return {fold(part) for part in (text, last, *halves(last)) if fold(part)}


def find_columns(found: Sequence[str], wanted: Names) -> Columns:
    """Match the columns of a file or table to the wanted ones, by name only.

    An equal name goes before a half of a bilingual one. A heading whose halves mean two columns matches none.
    """
    return _find_columns(tuple(found), tuple(wanted.items()))


@lru_cache(maxsize=256)  # one record has the columns of the one before it
def _find_columns(found: tuple[str, ...], names: tuple[tuple[str, tuple[str, ...]], ...]) -> Columns:
    wanted = dict(names)
    known = {fold(name): key for key, listed in wanted.items() for name in listed}
    of: dict[str, str] = {}
    for exact in (True, False):
        for column in found:
            if column in of.values():
                continue
            keys = {fold(column)} if exact else _keys(column)
            hits = {known[key] for key in keys if key in known}
            if len(hits) == 1 and (hit := hits.pop()) not in of:
                of[hit] = column
    return Columns(of, tuple(column for column in found if column not in of.values() and fold(column)))


def refuse_columns(where: str, found: Sequence[str], columns: Columns, wanted: Names, group: str,
                   essential: Sequence[str] = ()) -> MedReportError:
    """The error for columns that do not map, with both sides in one line."""
    lacking = [key for key in wanted if key not in columns.of and (key not in OPTIONAL or key in essential)
               and (wanted[key] or key in essential)]
    sides = (f"found {', '.join(str(name)[:40] for name in list(found)[:30]) or 'none'}"
             f" (unknown: {', '.join(name[:40] for name in columns.unmapped[:30]) or 'none'}); wanted "
             + ", ".join(f"{key} ({' / '.join(wanted[key][:2])})" for key in lacking))
    first = lacking[0] if lacking else "age"
    guess = columns.unmapped[0][:40] if columns.unmapped else ""
    listed = json.dumps([guess] if guess else [], ensure_ascii=False)
    return MedReportError(" ".join(f"{where}: columns that do not map; {sides}".split()),
                          HINT % f'"{group}": {{"{first}": {listed}}}')


def lacks(columns: Columns, wanted: Names) -> list[str]:
    """The wanted columns that were not found although some column is unknown: one may be the other."""
    if not columns.unmapped:
        return []
    return [key for key in wanted if key not in columns.of and wanted[key] and key not in OPTIONAL]
