"""What the comments of a WFDB header say about the person: `# Age: 78`, `# Sex: Female`, `# Dx: 426783006,164889003`.

That is how the PhysioNet/CinC Challenges write them; `#<age>: 51`, as LUDB has it, is read as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from emgecg_cli.core.datasets.snomed import WRAPPED
from emgecg_cli.core.person import read_age, read_sex

NO_LABEL = {"", "unknown", "nan", "none"}


def read_comments(lines: Sequence[str]) -> dict[str, str]:
    """`Age: 78` and the like by key in lower case; lines of one key are joined by commas."""
    said: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        key, value = key.strip(" \t<>").lower(), value.strip()
        said[key] = f"{said[key]},{value}" if key in said else value
    return said


def age_of(said: Mapping[str, str]) -> float | None:
    """The age in years, of "54", "54Y" or "6 months"; None if there is none."""
    return read_age(said.get("age", ""))


def sex_of(said: Mapping[str, str]) -> str | None:
    """"M" or "F", None if neither is given."""
    return read_sex(said.get("sex"))


def codes_of(said: Mapping[str, str]) -> list[str]:
    """The codes of Dx, sorted, each once."""
    stated = {code.strip() for code in said.get("dx", "").split(",")}
    return sorted({WRAPPED.get(code, code) for code in stated if code.lower() not in NO_LABEL})
