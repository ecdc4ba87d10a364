"""`references.json`: the same bytes for the same references; read with suspicion, since any hospital may send one."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from pathlib import Path
from typing import Any

from emgecg_cli.core.emg.case import Item
from emgecg_cli.core.emg.cells import unit, why_implausible
from emgecg_cli.core.emg.terms import canonical
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.files import check_is_plain, write_atomically
from emgecg_cli.core.references.covariates import CHOICES, NAMES, NOTHING, REFERENCE_PERSON
from emgecg_cli.core.references.fit import check_percentiles
from emgecg_cli.core.references.table import ANY, LEVELS, SD_PER_MAD, Reference, References, is_logarithmic

VERSION = 1
LARGEST = 64 << 20  # bytes
LONGEST_NAME = 100
_KEY = ("nerve", "type", "stim", "rec", "measure")
_KINDS = {"nerve": "nerve", "type": "type", "stim": "site", "rec": "place"}
HINT = "`medreport references STORE --out FILE` writes one to compare with"


def serialise(references: References) -> bytes:
    """The file's content: JSON, one entry per line, sorted by key; the same bytes for equal references."""
    head: dict[str, Any] = {"version": VERSION, "percentiles": list(references.percentiles), "rule": references.rule,
                            "covariates": references.covariates, "left_out": references.left_out}
    if references.covariates != "none":
        head["reference_person"] = dict(zip(NAMES, REFERENCE_PERSON, strict=True))
    lines = [json.dumps(_entry(entry, references.covariates != "none"), ensure_ascii=False, allow_nan=False)
             for _, entry in sorted(references.entries.items())]
    start = json.dumps(head, ensure_ascii=False, allow_nan=False)[:-1]
    listed = ",\n".join(lines)
    return f'{start},\n"entries": [\n{listed}\n]}}\n'.encode()


def hash_of(references: References) -> str:
    """SHA-256 of the file they are written as, by which a run knows them."""
    return hashlib.sha256(serialise(references)).hexdigest()


def write_references(path: Path, references: References) -> str:
    """Write the file, whole or not at all; returns its SHA-256."""
    content = serialise(references)
    write_atomically(path, content)
    return hashlib.sha256(content).hexdigest()


def read_references(path: Path) -> References:
    """Read a `references.json`, one's own or another hospital's.

    Names may be any known spelling, in English or Chinese; fields this version does not know are ignored. `mad` may be
    left out, and is then estimated from the outermost percentiles.
    Raises one MedReportError naming file, entry and field for whatever cannot be used.
    """
    check_is_plain(path)
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"it has more than {LARGEST >> 20} MB")
        values = json.loads(path.read_bytes().decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        said = error.strerror if isinstance(error, OSError) else " ".join(str(error).split())[:200]
        raise MedReportError(f"{path}: not a file of references ({said})", HINT) from None
    try:
        return _references(values)
    except ValueError as error:
        raise MedReportError(f"{path}: {error}", HINT) from None


def _entry(entry: Reference, with_slopes: bool) -> dict[str, Any]:
    values = dict(zip(_KEY, entry.item_key.split("|"), strict=True)) | {
        "unit": entry.unit, "n": entry.n, "level": entry.level, "lower": list(entry.lower),
        "upper": list(entry.upper), "median": entry.median, "mad": entry.mad}
    return values | ({"slopes": dict(zip(NAMES, entry.slopes, strict=True))} if with_slopes else {})


def _references(values: Any) -> References:
    if not isinstance(values, dict) or not isinstance(values.get("entries"), list):
        raise ValueError("not a file of references (no list 'entries')")
    if values.get("version") != VERSION or isinstance(values["version"], bool):
        raise ValueError(f"version {_shown(values.get('version'))} of references, this program reads {VERSION}")
    try:
        percentiles = check_percentiles(_numbers(values, "percentiles", None))
    except MedReportError as error:
        raise ValueError(error.message) from None
    covariates, rule = values.get("covariates", "none"), values.get("rule", "")
    if covariates not in CHOICES or not isinstance(rule, str):
        raise ValueError(f"covariates {_shown(covariates)}, rule {_shown(rule)}: covariates are one of "
                         f"{', '.join(CHOICES)}, a rule is text")
    _check_person(values.get("reference_person"))
    entries: dict[str, Reference] = {}
    for number, entry in enumerate(values["entries"], 1):
        try:
            read = _read_entry(entry, len(percentiles), covariates != "none")
            if read.item_key in entries:
                raise ValueError(f"{read.item_key} is there twice")
        except ValueError as error:
            raise ValueError(f"entry {number}: {error}") from None
        entries[read.item_key] = read
    return References(percentiles, rule, dict(sorted(entries.items())), covariates, _count(values, "left_out", 0))


def _read_entry(entry: Any, count: int, with_slopes: bool) -> Reference:
    if not isinstance(entry, dict):
        raise ValueError(f"{_shown(entry)} is no group of fields")
    item = Item(*(_name(entry, part) for part in _KEY))
    key, wanted = item.key, unit(item.measure, item.type)
    if wanted is None:
        raise ValueError(f"{key} has no unit: type {item.type} has no measure {item.measure}")
    if entry.get("unit") != wanted:
        raise ValueError(f"{key} is in {_shown(entry.get('unit'))}, it must be in {wanted}")
    lower, upper = (_numbers(entry, side, count) for side in ("lower", "upper"))
    median = _number(entry, "median")
    rising = (*lower, median, *reversed(upper))
    if any(a > b for a, b in itertools.pairwise(rising)):
        raise ValueError(f"{key}: lower must rise to the median and upper fall to it")
    if reason := why_implausible(median, item.measure, item.type):
        raise ValueError(f"{key}: median {reason}")
    if is_logarithmic(key) and lower[0] <= 0:
        raise ValueError(f"{key}: an amplitude of {lower[0]:g}")
    low, high = (math.log(v) if is_logarithmic(key) else v for v in (lower[0], upper[0]))
    mad = _number(entry, "mad") if "mad" in entry else (high - low) / (4.1 * SD_PER_MAD)
    level = entry.get("level", "item")
    if mad < 0 or level not in LEVELS:
        raise ValueError(f"{key}: mad {mad:g}, level {_shown(level)}: a mad is not negative, levels are "
                         f"{', '.join(LEVELS)}")
    slopes = NOTHING
    if with_slopes:
        group = entry.get("slopes")
        if not isinstance(group, dict):
            raise ValueError(f"{key} lacks slopes")
        slopes = (_number(group, "age"), _number(group, "height"), _number(group, "sex"))
    return Reference(key, wanted, _count(entry, "n", None), level, lower, upper, median, mad, slopes)


def _name(entry: dict[str, Any], part: str) -> str:
    """A part of the key by its canonical name; what the vocabulary lacks stays as it is, but for nerve and type."""
    text = entry.get(part)
    if not isinstance(text, str) or "|" in text or len(text) > LONGEST_NAME or not text.isprintable():
        raise ValueError(f"{part} is {_shown(text)}")
    if part == "measure" or (part == "rec" and text == ANY):
        return text
    known = canonical(_KINDS[part], text)
    if known is None and part in ("nerve", "type"):
        raise ValueError(f"{part} {_shown(text)} is not known")
    return known or text


def _number(entry: dict[str, Any], name: str) -> float:
    return _as_number(entry.get(name), name)


def _numbers(entry: dict[str, Any], name: str, count: int | None) -> tuple[float, ...]:
    listed = entry.get(name)
    if not isinstance(listed, list) or (count is not None and len(listed) != count) or len(listed) > 1000:
        raise ValueError(f"{name} is {_shown(listed)}, not a list of {'numbers' if count is None else count}")
    return tuple(_as_number(value, name) for value in listed)


def _as_number(value: Any, name: str) -> float:
    try:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError
        return float(value)
    except (ValueError, OverflowError):
        raise ValueError(f"{name} is {_shown(value)}, not a finite number") from None


def _count(entry: dict[str, Any], name: str, default: int | None) -> int:
    value = entry.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 53:
        raise ValueError(f"{name} is {_shown(value)}, not a count")
    return value


def _check_person(person: Any) -> None:
    """Slopes are taken from one reference person; a file made for another would be misread."""
    if person is not None and person != dict(zip(NAMES, REFERENCE_PERSON, strict=True)):
        raise ValueError(f"reference_person is {_shown(person)}, this program's is 40 years, 165 cm, male")


def _shown(value: Any) -> str:
    try:
        text = " ".join(f"{value}"[:1000].split())[:40]
    except ValueError:  # a whole number of more digits than Python writes out
        return "a huge number"
    return f"'{text}'" if isinstance(value, str) else text
