"""Which column of a file is which, and the error when they do not map."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

from emgecg_cli.core.datasets.emg_tables.mapping import GROUPS, Names, load_mapping
from emgecg_cli.core.emg.sides import find_side
from emgecg_cli.core.emg.terms import KINDS, MEASURES, SIDES, canonical, fold, halves
from emgecg_cli.core.errors import MedReportError

# These may be absent. A missing other one is an error as soon as some column is unknown.
OPTIONAL = frozenset(("record_id", "subject_id", "split", "language", "side", "sheet", "item"))
# Numbers of the side that another column names, in place of the columns of both sides.
ONE_SIDED = MEASURES
BOTH_SIDED = tuple(f"{measure}_{side}" for measure in MEASURES for side in SIDES)
VALUE_COLUMNS = (*BOTH_SIDED, *ONE_SIDED)
HINT = ("write the missing names into a mapping file, such as {%s} ([] where a column is not there), and give it as "
        "--mapping FILE")
ALIKE = 0.5
# "Ampl" is an amplitude, not one of the left side, unless there is an "Ampr" as well.
_ABBREVIATED = re.compile("AMPL|[Aa]mpl")


@dataclass(frozen=True)
class Columns:
    """Which column of a file each wanted one is (`of`), and what was found besides."""

    of: Mapping[str, str]
    unmapped: tuple[str, ...]


def find_columns(found: Sequence[str], wanted: Names) -> Columns:
    """Match the columns of a file or table to the wanted ones, by name only.

    An equal name takes precedence over half of a bilingual one. A heading whose halves mean two columns matches none.
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
    alone = "amp" in wanted and not {"amp", "amp_right"} & set(of)
    if alone and _ABBREVIATED.fullmatch(of.get("amp_left", "").strip()):
        of["amp"] = of.pop("amp_left")
    return Columns(of, tuple(column for column in found if column not in of.values() and fold(column)))


def _keys(text: str) -> set[str]:
    """The parts of a heading that may be known: the whole, what follows the last point, each half of a bilingual
    one."""
    last = text.rpartition(".")[2]
    return {fold(part) for part in (text, last, *halves(last)) if fold(part)}


def lacks(columns: Columns, wanted: Names, needless: Sequence[str] = ()) -> list[str]:
    """The wanted columns, but for those `needless`, that were not found although some column is unknown: one may be the
    other."""
    idle = (*OPTIONAL, *needless)
    return [key for key in _asked(columns, wanted) if wanted[key] and key not in idle] if columns.unmapped else []


def _asked(columns: Columns, wanted: Names) -> list[str]:
    """The wanted columns that were not found, of the form that the table has: both sides a row, or one."""
    one, both = (any(key in columns.of for key in keys) for keys in (ONE_SIDED, BOTH_SIDED))
    idle = (*ONE_SIDED, *BOTH_SIDED) if one and both else BOTH_SIDED if one else ONE_SIDED
    return [key for key in wanted if key not in columns.of and key not in idle]


def refuse_columns(where: str, found: Sequence[str], columns: Columns, wanted: Names, group: str,
                   needed: Sequence[Sequence[str]] = ()) -> MedReportError:
    """The error for columns that do not map, with both sides in one line, and the mapping that would do.

    Of each tuple of `needed` one column must be there. What the hint proposes for a column is no word that is known
    for something else; where nothing can be proposed for a needed one, the hint says its names.
    """
    absent = [keys for keys in needed if not any(key in columns.of for key in keys)]
    must = {key for keys in absent for key in keys}
    lacking = [key for key in _asked(columns, wanted) if key in must or (key not in OPTIONAL and wanted[key])]
    lacking = lacking if columns.unmapped else [key for key in lacking if key in must]
    guesses = _guesses(columns.unmapped, lacking, wanted)
    line = (f"{where}: columns that do not map; found "
            f"{', '.join(str(name)[:40] for name in list(found)[:30]) or 'none'} (unknown: "
            f"{', '.join(name[:40] for name in columns.unmapped[:30]) or 'none'}); wanted "
            + ", ".join(f"{key} ({' / '.join(wanted[key][:2])})" for key in lacking))
    for keys in absent:
        if not any(guesses.get(key) for key in keys):
            named = ", ".join(dict.fromkeys(name for key in keys for name in (key, *wanted[key][:3])))
            return MedReportError(" ".join(line.split()), f"a column is needed that is called one of {named}")
    groups: dict[str, dict[str, list[str]]] = {}
    for key in lacking:
        groups.setdefault("record" if key == "record_id" else group, {})[key] = guesses.get(key, [])
    inner = ", ".join(f'"{name}": {json.dumps(given, ensure_ascii=False)}' for name, given in groups.items())
    return MedReportError(" ".join(line.split()), HINT % inner)


def _guesses(unmapped: Sequence[str], lacking: Sequence[str], wanted: Names) -> dict[str, list[str]]:
    """For each lacking column the unknown one that it may be: the most alike by name, or the only one that is left."""
    left, open_ = [column for column in unmapped if not _is_word(column)], list(lacking)
    alike = sorted(((max((_alike(column, name) for name in wanted[key]), default=0.0), key, column)
                    for key in open_ for column in left), key=lambda one: -one[0])
    found: dict[str, list[str]] = {}
    for share, key, column in alike:
        if share >= ALIKE and key in open_ and column in left:
            found[key] = [column]
            open_.remove(key)
            left.remove(column)
    if len(left) == len(open_) == 1:
        found[open_[0]] = left
    return found


def _alike(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, fold(one), fold(other)).ratio()


def _is_word(column: str) -> bool:
    """Whether a heading, or a part of it, stands for something already: a column, a side, a nerve, …"""
    return bool(_keys(column) & _known_headings()) or find_side(column)[1] == "" or any(
        canonical(kind, column) for kind in KINDS)


@cache
def _known_headings() -> frozenset[str]:
    shipped = load_mapping()
    return frozenset(fold(name) for group in GROUPS for key, names in shipped[group].items() for name in (key, *names))
