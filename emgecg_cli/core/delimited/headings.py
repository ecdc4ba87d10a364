"""Headings of a CSV: found in any case and with blanks around them, and shown in an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from emgecg_cli.core.errors import MedReportError

SHOWN = 20


def plain_heading(heading: str) -> str:
    """A heading reduced to what counts: without case, and without blanks around and between its words."""
    return " ".join(heading.replace("\ufeff", "").split()).casefold()


def match_headings(path: Path, found: Sequence[str], needed: Sequence[str],
                   optional: Sequence[str] = ()) -> Mapping[str, str]:
    """For each column that is there the heading it has in the file: its own name, else that in any case and with blanks
    around it. Raises MedReportError for a needed one that is not there, with the headings that are, and for one that is
    there twice."""
    hits = {}
    for name in (*needed, *optional):
        hits[name] = [heading for heading in found if heading == name] or [
            heading for heading in found if plain_heading(heading) == plain_heading(name)]
    if missing := [name for name in needed if not hits[name]]:
        raise MedReportError(f"{path}: lacks the column {', '.join(missing)}",
                             f"needed are the columns {', '.join(needed)}; found are {shown(found)}")
    if twice := [name for name, headings in hits.items() if len(headings) > 1]:
        raise MedReportError(f"{path}: has the column {twice[0]} twice", "keep one of the two")
    return {name: headings[0] for name, headings in hits.items() if headings}


def shown(names: Sequence[str]) -> str:
    """Headings in a line, not more than twenty."""
    clean = ("".join(c if c.isprintable() else " " for c in name) for name in names[:SHOWN])
    cut = [" ".join(name.split())[:40] or "''" for name in clean]
    return ", ".join(cut) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
