"""Mutated headers, signal files and tables: each is read, or refused in one line, and nothing else happens."""

from __future__ import annotations

import os
import random
import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import wfdb
from ptbxl_fixture import table_row, twelve_leads, write_record, write_table
from wfdb_files import Signal, write

from emgecg_cli.core.datasets.formats.csv_tables import iterate_rows, read_columns
from emgecg_cli.core.datasets.formats.wfdb_headers import RecordError, read_header
from emgecg_cli.core.datasets.formats.wfdb_records import read_leads
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.signals.leads import LEADS

N_HEADERS, N_SIGNALS, N_TABLES = 2400, 600, 2000
SIG_LEN = 50
NAMES = ("a", "m", "b", "two", "many", "frames", "layout")
HEADER_WORDS = (b"0", b"-1", b"1e999", b"nan", b"-inf", b"99999999999999999999", b"16x1+24", b"212", b"16:3", b"16x4",
                b"516", b"8", b"~", b"-", b"../a.dat", b"/etc/passwd", b"a\\b", b"a.dat", b"m.mat", b"pipe.dat",
                b"away.dat", b"0(0)/mV", b"/mV", b"200(5)/uV", b"1000.0(99999999999)/mV", b"#", b"\n", b"\r\n", b"\r",
                b"\0", b"\xff\xfe", b"\xe2\x80\xa8", b"\x85", b"  ", b"I", b"V1", b"a/2", b"x" * 300)
TABLE_WORDS = (b",", b'"', b'""', b"\n", b"\r", b"\r\n", b"\0", b"\xff", b"\xe2\x80\xa8", b"ecg_id", b"\xef\xbb\xbf",
               b"-1", b"1e999", b"x" * 500, b"{'NORM':", b"#", b";", b"\t", b"", b"\n\n\n")


def mutate(content: bytes, words: tuple[bytes, ...], rng: random.Random) -> bytes:
    """A few changes of all the kinds that happen to files: to bytes, digits, words, lines, and the end."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        kind, at = rng.randrange(9), rng.randrange(len(content) + 1)
        if kind == 0:
            content = content[:at] + rng.randbytes(rng.randint(0, 3)) + content[at + rng.randint(0, 2):]
        elif kind == 1:
            digits = [i for i, byte in enumerate(content) if byte in b"0123456789"] or [0]
            at = rng.choice(digits)
            content = content[:at] + rng.choice((b"0", b"9", b"-", b"", b"12", b".")) + content[at + 1:]
        elif kind in (2, 3, 4):
            lines = content.split(b"\n")
            row = rng.randrange(len(lines))
            pieces = lines[row].split(b" ")
            pieces[rng.randrange(len(pieces))] = rng.choice(words)
            lines[row] = b" ".join(pieces)
            content = b"\n".join(lines)
        elif kind == 5:
            content = content[:at] + rng.choice(words) + content[at:]
        elif kind == 6:
            lines = content.split(b"\n")
            row = rng.randrange(len(lines))
            moved = lines.pop(row)
            for _ in range(rng.choice((0, 1, 1, 1, 2))):
                lines.insert(rng.randint(0, len(lines)), moved)
            content = b"\n".join(lines)
        elif kind == 7:
            content = content.replace(rng.choice(content.split() or [b" "]), rng.choice(words))
        else:
            content = content[:at]
    return content


def write_mat(folder: Path, signal: np.ndarray) -> None:
    start = struct.pack("<5i4s", 30, len(signal), signal.shape[1], 0, 4, b"val\0")
    (folder / "m.mat").write_bytes(start + signal.T.astype("<i2").tobytes())
    lines = [f"m 12 100 {signal.shape[1]}"]
    lines += [f"m.mat 16x1+24 1000.0(0)/mV 16 0 {row[0]} {int(row.sum()) & 0xFFFF} 0 {name}"
              for name, row in zip(LEADS, signal, strict=True)]
    (folder / "m.hea").write_text("\n".join([*lines, "# Age: 61", "# Sex: Male", "# Dx: 426783006"]) + "\n")


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """A root of one record of each kind, a pipe, and a link that leaves it."""
    root = tmp_path / "root"
    signal = twelve_leads(1, 100, seconds=SIG_LEN / 100)
    write_record(root / "a", signal, 100)
    write_mat(root, signal)
    wfdb.wrsamp("b", fs=100, units=["mV"] * 3, sig_name=["I", "II", "V1"], d_signal=signal.T[:, [0, 1, 6]].astype(int),
                fmt=["212"] * 3, adc_gain=[200.0] * 3, baseline=[0] * 3, write_dir=str(root))
    write_record(root / "half", signal[6:], 100, LEADS[6:])
    text = (root / "half.hea").read_text().splitlines()[1:]
    other = [line.replace("a.dat", "h.dat") for line in (root / "a.hea").read_text().splitlines()[1:7]]
    (root / "h.dat").write_bytes(signal[:6].T.astype("<i2").tobytes())
    (root / "two.hea").write_text("\n".join([f"two 12 100 {SIG_LEN}", *other, *text]) + "\n")
    (root / "many.hea").write_text(f"many/2 12 100 {2 * SIG_LEN}\na {SIG_LEN}\na {SIG_LEN}\n")
    leads = [Signal(name, row, 10) if name[0] == "V" else Signal(name, row[::2], 5)
             for name, row in zip(LEADS, signal, strict=True)]
    write(root, "frames", leads, 10)
    (root / "names.hea").write_text("names 2 10 0\n~ 0x10 1000 16 0 0 0 0 I\n~ 0x10 1000 16 0 0 0 0 V6\n")
    (root / "layout.hea").write_text("layout/4 2 10 9\nnames 0\n~ 2\nframes 3\nframes\t4\n")
    write_record(tmp_path / "away", signal, 100)
    (root / "away.dat").symlink_to(tmp_path / "away.dat")
    os.mkfifo(root / "pipe.dat")
    return root


def test_the_originals_are_read(records: Path) -> None:
    assert [outcome(read_record, records, name) for name in NAMES] == ["read"] * len(NAMES)


def outcome(read: Callable[..., object], *given: object) -> str:
    """"read", or the reason of a refusal, which is one printable line; any other exception goes on."""
    try:
        read(*given)
    except RecordError as error:
        assert str(error).isprintable() and len(str(error)) < 400, error
        return error.reason
    except MedReportError as error:
        assert str(error).isprintable() and len(str(error)) < 900, error
        return "refused"
    return "read"


def read_record(root: Path, name: str) -> None:
    leads = read_leads(read_header(root, name))
    assert leads.signal.dtype == np.int16 and leads.signal.shape[0] == 12 and leads.signal.shape[1] > 0


def test_mutated_headers(records: Path) -> None:
    rng = random.Random(0)
    originals = {name: (records / f"{name}.hea").read_bytes() for name in NAMES}
    found: Counter[str] = Counter()
    for i in range(N_HEADERS):
        name = rng.choice(NAMES)
        mutated = mutate(originals[name], HEADER_WORDS, rng)
        (records / "f.hea").write_bytes(mutated)
        try:
            found[outcome(read_record, records, "f")] += 1
        except Exception as error:
            raise AssertionError(f"mutant {i}, of {name}: {mutated!r}") from error
    assert {"read", "unreadable header", "bad checksum", "unknown units", "missing file", "path outside root",
            "wrong length", "no calibration", "unreadable signal"} <= set(found), found
    assert N_HEADERS // 10 < found["read"] < N_HEADERS // 2, found


def test_mutated_real_headers(shared_data: Path, tmp_path: Path) -> None:
    rng = random.Random(1)
    signals = sorted((shared_data / "cinc2021").glob("*/*.mat")) + sorted((shared_data / "ludb/data").glob("?.dat"))
    found: Counter[str] = Counter()
    for signal in signals:
        (tmp_path / signal.name).write_bytes(signal.read_bytes())
        for _ in range(10):
            (tmp_path / "f.hea").write_bytes(mutate(signal.with_suffix(".hea").read_bytes(), HEADER_WORDS, rng))
            found[outcome(read_record, tmp_path, "f")] += 1
    assert {"read", "unreadable header", "bad checksum"} <= set(found), found


def test_mutated_signal_files(records: Path) -> None:
    rng = random.Random(2)
    originals = {name: (records / name).read_bytes() for name in ("a.dat", "m.mat", "b.dat", "h.dat")}
    record_of = {"h.dat": "two"}
    found: Counter[str] = Counter()
    for name in NAMES:  # as half the world's headers are: without checksums
        text = (records / f"{name}.hea").read_text()
        (records / f"bare-{name}.hea").write_text("\n".join(" ".join(line.split()[:3]) for line in text.split("\n")))
    for _ in range(N_SIGNALS):
        name = rng.choice(tuple(originals))
        content = bytearray(mutate(originals[name], HEADER_WORDS, rng))
        if rng.random() < 0.5:
            content = bytearray(originals[name])
            content[rng.randrange(min(40, len(content)))] = rng.randrange(256)
        (records / name).write_bytes(content)
        record = record_of.get(name, name[0])
        found[outcome(read_record, records, record)] += 1
        found[outcome(read_record, records, f"bare-{record}")] += 1
        (records / name).write_bytes(originals[name])
    assert {"bad checksum", "wrong length", "bad mat header", "no standard leads"} <= set(found), found


def test_mutated_tables(tmp_path: Path) -> None:
    rng = random.Random(3)
    write_table(tmp_path, [table_row(ecg_id) for ecg_id in range(1, 6)])
    original = (tmp_path / "ptbxl_database.csv").read_bytes()
    table, columns = tmp_path / "t.csv", ("ecg_id", "report", "scp_codes")

    def read_rows() -> None:
        for number, row in iterate_rows(table, columns, ("age",)):
            assert number > 1 and set(columns) <= set(row) and all(isinstance(cell, str) for cell in row.values())

    def read_all() -> None:
        cells = read_columns(table, columns)
        assert len({len(column) for column in cells.values()}) == 1 and set(cells) == set(columns)

    found: Counter[str] = Counter()
    for i in range(N_TABLES):
        mutated = mutate(original, TABLE_WORDS, rng)
        table.write_bytes(mutated)
        try:
            found[outcome(read_rows if i % 2 else read_all)] += 1
        except BaseException as error:  # polars' panics are no Exception
            raise AssertionError(f"mutant {i}: {mutated!r}") from error
    assert min(found["read"], found["refused"]) > N_TABLES // 10, found
