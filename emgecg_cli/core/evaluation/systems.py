"""Several systems on the same records: whose predictions stand side by side, in one order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.evaluation.caveats import plain

_EXAMPLES = 3  # records that an error names
_RESERVED = "baseline: "
_Key = tuple[str | None, str]


@dataclass(frozen=True)
class Aligned:
    """The rows of each system by name, the same records in the order of the first; and what was left out."""

    rows: dict[str, list[PredictionRow]]
    caveats: list[str]


def names_of(sources: Sequence[str], given: Sequence[str]) -> list[str]:
    """The names of the systems of some predictions files: those given, else what the files are called.

    Raises MedReportError where there are not as many names as files, or two are the same.
    """
    if given and len(given) != len(sources):
        raise MedReportError(f"--name is given {len(given)} times for {len(sources)} predictions files",
                             "give one for each file, in their order, or none")
    names = list(given) or ["stdin" if source == "-" else Path(source).stem for source in sources]
    for name in names:
        if not name.strip() or name.startswith(_RESERVED):
            raise MedReportError(f"--name {name!r}: no name of a system", "a word or two, such as --name resnet50")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise MedReportError(f"two systems are called '{twice}'", "say what each is called: --name A --name B")
    return names


def aligned(systems: Mapping[str, Sequence[PredictionRow]], common: bool) -> Aligned:
    """Put the systems on the same records, which with `common` are those that all have.

    Raises MedReportError, with counts and examples, for systems that wrote about different records or against different
    references.
    """
    dated = all(row.dataset for rows in systems.values() for row in rows)
    known = {name: _by_key(name, rows, dated) for name, rows in systems.items()}
    first = next(iter(known))
    shared = [key for key in known[first] if all(key in rows for rows in known.values())]
    _check_records(known, first, len(shared), common)
    found = {name: [rows[key] for key in shared] for name, rows in known.items()}
    for name in list(found)[1:]:
        _check_references(first, found[first], name, found[name])
    left = {name: len(rows) - len(shared) for name, rows in known.items() if len(rows) > len(shared)}
    return Aligned(found, [f"{len(shared)} records that all systems have are scored; left out: "
                           f"{', '.join(f'{count} of {name}' for name, count in left.items())}"] if left else [])


def _by_key(name: str, rows: Sequence[PredictionRow], dated: bool) -> dict[_Key, PredictionRow]:
    found: dict[_Key, PredictionRow] = {}
    for row in rows:
        key = (row.dataset if dated else None, row.record_id)
        if key in found:
            raise MedReportError(f"{name}: record {row.record_id} is predicted twice",
                                 "a system has one prediction per record")
        found[key] = row
    return found


def _check_records(known: Mapping[str, Mapping[_Key, PredictionRow]], first: str, shared: int, common: bool) -> None:
    differing = [name for name, rows in known.items() if rows.keys() != known[first].keys()]
    if not differing or (common and shared):
        return
    parts = []
    for name in differing:
        for one, other in ((first, name), (name, first)):
            only = [record for key, record in ((key, key[1]) for key in known[one]) if key not in known[other]]
            if only:
                more = ", …" if len(only) > _EXAMPLES else ""
                parts.append(f"{len(only)} only in {one} ({', '.join(only[:_EXAMPLES])}{more})")
    hint = "--common scores the records that all have, and says how many are left out" if shared else \
        "there is no record that all have: score each by itself"
    raise MedReportError(f"the systems wrote about different records: {'; '.join(parts)}; {shared} in all", hint)


def _check_references(first: str, own: Sequence[PredictionRow], name: str, others: Sequence[PredictionRow]) -> None:
    differ = [row.record_id for row, other in zip(own, others, strict=True)
              if (row.reference != other.reference and plain(row.reference or "") != plain(other.reference or ""))
              or (row.more_references or []) != (other.more_references or [])]
    if differ:
        raise MedReportError(f"{len(differ)} of {len(own)} references of {name} are not those of {first}, first that "
                             f"of record {differ[0]}", "systems are compared on the same references")


def said_by(sentences: Mapping[str, Sequence[str]]) -> list[str]:
    """Sentences on each system as one list: what is true of all stands once, the rest behind the name of its system."""
    of_all = set.intersection(*map(set, sentences.values()))
    return list(dict.fromkeys(sentence if sentence in of_all else f"{name}: {sentence}"
                              for name, own in sentences.items() for sentence in own))
