"""A recording as a table of text: one column a lead, one row a sample.

The heading names the leads, in any spelling, and may give their units (`II (mV)`, `V1_uV`); so may a row below it. A
column of times gives the rate, and lines `# fs: 500` before the heading give what else a table lacks.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from emgecg_cli.core.datasets.formats.channels import Channel, check_count, leads_of, microvolts_per, rate_of
from emgecg_cli.core.datasets.formats.recording_files import FileFormat, FileRecording, RecordingFile, refusing
from emgecg_cli.core.datasets.formats.wfdb_files import RecordError
from emgecg_cli.core.datasets.formats.wfdb_records import MICROVOLTS
from emgecg_cli.core.person import read_age, read_sex
from emgecg_cli.core.signals.lead_names import lead_of
from emgecg_cli.core.signals.resampling import Rate

SEPARATORS = ("\t", ";", ",", " ")
MISSING_CELLS = {"", "nan", "na", "n/a", "null", "none", "-", "--"}
LARGEST_TABLE = 2 ** 26  # bytes; its cells take ten times as much while they are read
LARGEST_GAP = 20  # a table of times may have so many samples between its first and last for each that it has
_SAID = re.compile(r"[#%]\s*([\w .]{1,40}?)\s*[:=]\s*(.{1,80})")
_RATE = ("fs", "sampling rate", "sampling frequency", "sample rate", "rate", "frequency")
_UNIT = re.compile(r"[\s_(\[]+([mµμun]?v|microvolts?|millivolts?|volts?)\s*[)\]]?\s*$", re.I)
_TIME = re.compile(r"(?:elapsed[\s_]*)?(?:time|t|seconds|sec|s|ms|millis\w*|timestamp)"
                   r"[\s_]*(?:[(\[]?\s*(s|sec|seconds|ms|milliseconds)?\s*[)\]]?)", re.I)


@dataclass(frozen=True)
class _Table:
    """The cells of a file: what its columns are called ("" without a heading), their units, and its rows."""

    names: list[str]
    units: list[str]
    rows: list[list[str]]
    said: Mapping[str, str]
    first: int  # the line of the first row
    decimal_comma: bool


def _is_table(file: RecordingFile) -> bool:
    """Whether it is text whose first lines have one width above one, or name a lead."""
    text = _decoded(file.head)
    if text is None or text.lstrip()[:1] == "<":
        return False
    lines = [line for line in text.splitlines() if line.strip() and line.lstrip()[:1] not in "#%"][:6]
    if len(lines) > 2:
        lines = lines[:-1]  # the last may be cut
    separator = _separator(lines)
    cells = [_cells(line, separator) for line in lines]
    if not cells or len(cells) < 2:
        return False
    return any(map(_is_number, cells[-1])) and (len(cells[-1]) > 1 or lead_of(_bare(cells[0][0])) is not None)


def _decoded(content: bytes) -> str | None:
    """Text in UTF-8, UTF-16 with its mark, or Windows-1252; None for what is no text."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content[:len(content) // 2 * 2].decode("utf-16", "replace")
    if b"\0" in content[:4096]:
        return None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start >= len(content) - 3 and error.reason == "unexpected end of data":
            return content[:error.start].decode("utf-8-sig")  # a head that ends inside a letter
        return content.decode("cp1252", "replace")


def _separator(lines: Sequence[str]) -> str:
    """The separator that gives the last lines one width, the widest."""
    widths = {one: {len(_cells(line, one)) for line in lines[-3:]} for one in SEPARATORS}
    same = [one for one in SEPARATORS if len(widths[one]) == 1 and max(widths[one]) > 1]
    return max(same, key=lambda one: max(widths[one]), default=",") if "\t" not in same and ";" not in same \
        else "\t" if "\t" in same else ";"


def _cells(line: str, separator: str) -> list[str]:
    if separator == " ":
        return line.split()
    return next(csv.reader([line], delimiter=separator), [])


def _is_number(cell: str) -> bool:
    try:
        float(cell.replace(",", "."))
    except ValueError:
        return False
    return True


def _read(file: RecordingFile) -> FileRecording:
    if len(file.content) > LARGEST_TABLE:
        raise RecordError("file too large", f"{file.name} holds {len(file.content)} bytes of text, {LARGEST_TABLE} are "
                                            "allowed: save it as EDF, WFDB or NumPy")
    table = _table(file)
    columns = _columns(file, table)
    times = next((i for i, name in enumerate(table.names) if _TIME.fullmatch(name.strip())), None)
    chosen = [i for i, name in enumerate(columns) if i != times and lead_of(_bare(name)) is not None]
    if not chosen:
        return FileRecording(leads_of([], [name for name in columns if name.strip()]))  # which refuses it
    check_count(len(chosen) * len(table.rows))
    values = {i: _numbers(file, table, i) for i in chosen}
    fs, places, length = _rate(file, table, times)
    channels = []
    for i in chosen:
        units = table.units[i] or table.said.get("units") or table.said.get("unit") or file.stated.units
        if not units:
            raise RecordError("unknown units", f"{file.name} does not say the units of its numbers: give --file-units "
                                               "mV (or uV, V)")
        signal = values[i] * microvolts_per(units, columns[i])
        if places is not None:
            whole = np.full(length, np.nan)
            whole[places] = signal
            signal = whole
        channels.append(Channel(_bare(columns[i]), signal, fs))
    others = [name for i, name in enumerate(columns) if i not in chosen and i != times and name.strip()]
    return FileRecording(leads_of(channels, others), age=read_age(table.said.get("age")),
                         sex=read_sex(table.said.get("sex")))


def _table(file: RecordingFile) -> _Table:
    text = _decoded(file.content)
    assert text is not None  # or it was not in this format
    lines = text.splitlines()
    said, at = {}, 0
    while at < len(lines) and (not lines[at].strip() or lines[at].lstrip()[:1] in "#%"):
        found = _SAID.match(lines[at].lstrip())
        if found:
            said[found[1].strip().lower()] = found[2].strip().strip(",;")
        at += 1
    separator = _separator([line for line in lines[at:at + 12] if line.strip()])
    body = "\n".join(lines[at:])
    with refusing(file.name, "not a readable CSV"):
        cells = [line.split() for line in lines[at:]] if separator == " " \
            else list(csv.reader(io.StringIO(body), delimiter=separator))
    rows = [(at + 1 + i, [cell.strip().strip("'\"") for cell in row]) for i, row in enumerate(cells)
            if any(cell.strip() for cell in row)]
    heads: list[list[str]] = []
    while rows and len(heads) < 2 and not any(map(_is_number, rows[0][1])):
        heads.append(rows.pop(0)[1])
    if not rows:
        raise RecordError("wrong length", f"{file.name} has no row of numbers")
    width = max(len(row) for _, row in rows)
    uneven = next((number for number, row in rows if len(row) != width), None)
    if uneven is not None:
        raise RecordError("unreadable file", f"{file.name}, line {uneven}: fewer cells than in other lines")
    names = _padded(heads[0] if heads else [], width, file.name)
    under = [cell if cell.strip().lower() in MICROVOLTS else "" for cell in _padded(heads[1] if len(heads) > 1 else [],
                                                                                    width, file.name)]
    inside = [found[1] if (found := _UNIT.search(name)) else "" for name in names]
    decimal_comma = separator != "," and any("," in cell for cell in rows[0][1] + rows[-1][1])
    return _Table(names, [one or other for one, other in zip(inside, under, strict=True)], [row for _, row in rows],
                  said, rows[0][0], decimal_comma)


def _padded(cells: list[str], width: int, name: str) -> list[str]:
    if len(cells) > width:
        raise RecordError("unreadable file", f"{name}: its heading has {len(cells)} cells, its rows {width}")
    return cells + [""] * (width - len(cells))


def _columns(file: RecordingFile, table: _Table) -> list[str]:
    """What the columns are called: by the heading where it names a lead, else as stated."""
    if any(lead_of(_bare(name)) is not None for name in table.names) or not file.stated.leads:
        if not any(name.strip() for name in table.names):
            raise RecordError("no standard leads", f"{file.name} has no heading: give --file-leads with the names of "
                                                   "its columns, in order")
        return table.names
    if len(file.stated.leads) != len(table.names):
        raise RecordError("wrong length", f"{file.name} has {len(table.names)} columns, --file-leads names "
                                          f"{len(file.stated.leads)}")
    return list(file.stated.leads)


def _bare(name: str) -> str:
    return _UNIT.sub("", name.strip())


def _numbers(file: RecordingFile, table: _Table, column: int) -> np.ndarray:
    found = np.empty(len(table.rows))
    for i, row in enumerate(table.rows):
        cell = row[column]
        if cell.lower() in MISSING_CELLS:
            found[i] = np.nan
            continue
        try:
            found[i] = float(cell.replace(",", ".") if table.decimal_comma else cell)
        except ValueError:
            raise RecordError("unreadable file", f"{file.name}, about line {table.first + i}: {cell[:40]!r} is no "
                                                 "number") from None
    return found


def _rate(file: RecordingFile, table: _Table, times: int | None) -> tuple[Rate, np.ndarray | None, int]:
    """The rate, and, where times leave some out, the places of the samples and how many there are with those."""
    said = next((table.said[key] for key in _RATE if key in table.said), None)
    if said is not None:
        number = re.match(r"\d+(?:\.\d+)?", said)
        if not number:
            raise RecordError("unreadable header", f"{file.name}: a rate of {said[:40]!r}")
        return rate_of(float(number[0])), None, len(table.rows)
    if times is not None:
        return _by_times(file, table, times)
    if file.stated.fs is None:
        raise RecordError("unknown rate", f"{file.name} has no column of times and no line '# fs: HZ': give --file-fs "
                                          "HZ")
    return rate_of(file.stated.fs), None, len(table.rows)


def _by_times(file: RecordingFile, table: _Table, column: int) -> tuple[Rate, np.ndarray | None, int]:
    found = _TIME.fullmatch(table.names[column].strip())
    assert found is not None
    unit = (found[1] or table.names[column]).strip().lower()
    at = _numbers(file, table, column) / (1000.0 if unit.startswith(("ms", "milli")) else 1.0)
    steps = np.diff(at)
    if len(at) < 2 or not np.isfinite(at).all() or not (steps > 0).all():
        raise RecordError("unreadable file", f"{file.name}: the times in '{table.names[column][:40]}' do not grow")
    fs = _snapped((len(at) - 1) / (at[-1] - at[0]))
    if np.abs(steps * float(fs) - 1).max() <= 0.6:
        return fs, None, len(at)
    fs = _snapped(1 / float(np.median(steps)))
    places = (at - at[0]) * float(fs)
    if places[-1] > LARGEST_GAP * len(at):
        raise RecordError("unreadable file", f"{file.name}: most of the times it spans have no sample")
    whole = np.rint(places).astype(np.int64)
    if (np.diff(whole) < 1).any() or np.abs(places - whole).max() > 0.3:
        raise RecordError("unreadable file", f"{file.name}: the times in '{table.names[column][:40]}' keep no rate")
    return fs, whole, int(whole[-1]) + 1


def _snapped(rate: float) -> Rate:
    """A rate from rounded times: whole where it is nearly so."""
    return round(rate) if rate > 1 and abs(rate - round(rate)) <= 5e-4 * rate else rate_of(rate)


FORMAT = FileFormat("CSV", _is_table, _read)
