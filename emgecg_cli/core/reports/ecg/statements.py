"""The SCP-ECG statements of PTB-XL's vocabulary: code, what it means, its kinds and its diagnostic superclass."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

SUPERCLASSES = ("NORM", "MI", "STTC", "CD", "HYP")


@dataclass(frozen=True)
class Statement:
    """One statement: `kinds` is any of diagnostic, form and rhythm; `superclass` is None for what diagnoses nothing;
    statements of one `family` are spoken of together ("possible inferior and lateral infarction")."""

    code: str
    description: str
    kinds: tuple[str, ...]
    superclass: str | None
    family: str


@lru_cache(maxsize=1)
def statements() -> dict[str, Statement]:
    """Code -> statement, in the order of the table."""
    found = {}
    for line in (files("emgecg_cli") / "data" / "ecg_statements.txt").read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            code, kinds, superclass, family, description = (cell.strip() for cell in line.split("|"))
            found[code] = Statement(code, description, tuple(kinds.split()),
                                    None if superclass == "-" else superclass, family)
    return found


def superclasses_of(codes: Iterable[str]) -> set[str]:
    """The diagnostic superclasses of some codes; codes that are not in the vocabulary belong to none."""
    table = statements()
    found = {table[code].superclass for code in codes if code in table}
    return {superclass for superclass in found if superclass is not None}
