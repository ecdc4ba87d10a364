"""The formats decoded here against their definition, and files that are not what they seem."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import wfdb
from ptbxl_fixture import twelve_leads, write_record

from emgecg_cli.core.datasets.formats import wfdb_formats
from emgecg_cli.core.datasets.formats.wfdb_formats import is_plain, read_stored
from emgecg_cli.core.datasets.formats.wfdb_headers import LARGEST_HEADER, Header, RecordError, find_records, read_header
from emgecg_cli.core.datasets.formats.wfdb_records import read_leads
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.signals.leads import LEADS, MISSING


def write_212(path: Path, stored: np.ndarray, whole_triples: bool = False) -> None:
    """Format 212 by its definition, number by number, from (n, L), with header and checksums."""
    n_signals, sig_len = stored.shape
    numbers = [int(value) % 4096 for value in stored.T.reshape(-1)]
    content = bytearray()
    for at in range(0, len(numbers), 2):
        first, second = numbers[at], numbers[at + 1] if at + 1 < len(numbers) else 0
        content += bytes([first % 256, first // 256 + 16 * (second // 256), second % 256])
    if len(numbers) % 2 and not whole_triples:
        del content[-1]
    path.with_suffix(".dat").write_bytes(bytes(content))
    lines = [f"{path.name} {n_signals} 360 {sig_len}"]
    lines += [f"{path.name}.dat 212 200(-3)/mV 12 0 {row[0]} {int(row.sum())} 0 {name}"
              for row, name in zip(stored, LEADS, strict=False)]
    path.with_suffix(".hea").write_text("\n".join(lines) + "\n")


def write_mat(path: Path, signal: np.ndarray, fmt: str = "16x1+24", start: bytes | None = None) -> None:
    """A MATLAB v4 matrix `val` as in the Challenge sets, with header and checksums."""
    start = start if start is not None else mat_start(len(signal), signal.shape[1])
    path.with_suffix(".mat").write_bytes(start + signal.T.astype("<i2").tobytes())
    lines = [f"{path.name} {len(signal)} 500 {signal.shape[1]}"]
    lines += [f"{path.name}.mat {fmt} 1000.0(0)/mV 16 0 {row[0]} {int(row.sum()) & 0xFFFF} 0 {name}"
              for row, name in zip(signal, LEADS, strict=True)]
    path.with_suffix(".hea").write_text("\n".join([*lines, "# Age: 61", "#Sex: Male", " # Dx: 426783006,164934002 "]))


def mat_start(rows: int, columns: int, kind: int = 30, imaginary: int = 0, name: bytes = b"val\0") -> bytes:
    return struct.pack("<5i", kind, rows, columns, imaginary, len(name)) + name


def header_of(root: Path, record: str = "a") -> Header:
    header = read_header(root, record)
    assert is_plain(header)
    return header


def refusal(root: Path, record: str = "a") -> str:
    with pytest.raises(RecordError) as caught:
        read_leads(read_header(root, record))
    assert str(root.parent) not in caught.value.detail
    return caught.value.reason


@pytest.mark.parametrize("content, expected", [
    (b"\x01\x00\x02", [1, 2]), (b"\xff\xff\xff", [-1, -1]), (b"\x00\x08\x00", [-2048, 0]),
    (b"\x00\x80\x00", [0, -2048]), (b"\xff\x07\x00", [2047, 0]), (b"\x00\x70\xff", [0, 2047]),
    (b"\x34\x52\x67", [0x234, 0x567]),
    (b"\x01\x00\x02\xfe\x0f", [1, 2, -2]), (b"\x01\x00\x02\xfe\xaf", [1, 2, -2]), (b"\x05\x07", [0x705]),
])
def test_format_212_by_hand(tmp_path: Path, content: bytes, expected: list[int]) -> None:
    (tmp_path / "a.dat").write_bytes(content)
    (tmp_path / "a.hea").write_text(f"a 1 360 {len(expected)}\na.dat 212 200 12 0 0 {sum(expected)} 0 I\n")
    assert read_stored(header_of(tmp_path)).signals.tolist() == [expected]


@pytest.mark.parametrize("n_signals, sig_len", [(1, 1), (1, 999), (3, 333), (2, 500), (12, 77), (5, 1)])
@pytest.mark.parametrize("whole_triples", [False, True])
def test_format_212_equals_wfdb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_signals: int, sig_len: int,
                                whole_triples: bool) -> None:
    monkeypatch.setattr(wfdb_formats, "PAIRS_AT_ONCE", 7)
    stored = np.random.default_rng(sig_len).integers(-2048, 2048, (n_signals, sig_len))
    stored[:, 0] = 2047
    write_212(tmp_path / "a", stored, whole_triples)
    assert np.array_equal(read_stored(header_of(tmp_path)).signals, stored)
    expected = wfdb.rdrecord(str(tmp_path / "a"))
    microvolts = np.where(np.isnan(expected.p_signal), float(MISSING), np.rint(expected.p_signal * 1000))
    found = read_leads(header_of(tmp_path))
    assert np.array_equal(found.signal[:n_signals], microvolts.T) and found.absent_leads == list(LEADS[n_signals:])
    text = (tmp_path / "a.hea").read_text()
    (tmp_path / "a.hea").write_text(text.replace(f" 360 {sig_len}\n", " 360\n"))
    if not (whole_triples and n_signals * sig_len % 2):  # else the last sample may be one or padding
        assert np.array_equal(read_stored(header_of(tmp_path)).signals, stored)


def test_a_212_file_that_is_cut_is_refused(tmp_path: Path) -> None:
    write_212(tmp_path / "a", np.ones((2, 50), int))
    (tmp_path / "a.dat").write_bytes((tmp_path / "a.dat").read_bytes()[:-1])
    assert refusal(tmp_path) == "wrong length"


def test_each_format_has_its_own_missing_code(tmp_path: Path) -> None:
    signal = twelve_leads(1, 100)[:2]
    signal[0, 5], signal[0, 6] = MISSING, -2048
    write_record(tmp_path / "a", signal, 100, LEADS[:2])
    stored = np.clip(twelve_leads(2, 100)[2:4], -2047, 2047)
    stored[1, 7] = -2048
    write_212(tmp_path / "b", stored)
    lines = (tmp_path / "a.hea").read_text().splitlines() + (tmp_path / "b.hea").read_text().splitlines()[1:]
    lines = [line.replace("dat 212 200(-3)/mV 12 0", "dat 212 1000(0)/mV 12 0") for line in lines]
    lines[0] = "a 4 100 1000"
    lines[3], lines[4] = lines[3].removesuffix(" I") + " V1", lines[4].removesuffix(" II") + " V2"
    (tmp_path / "a.hea").write_text("\n".join(lines))
    found = read_leads(header_of(tmp_path)).signal
    assert (found[0, 5], found[0, 6], found[7, 7]) == (MISSING, -2048, MISSING)
    stored[1, 7] = MISSING
    assert np.array_equal(found[[0, 1, 6, 7]], np.concatenate([signal, stored]))


@pytest.mark.parametrize("fmt", ["16x1+24", "16+24"])
def test_a_mat_file_is_the_matrix_it_holds(tmp_path: Path, fmt: str) -> None:
    write_mat(tmp_path / "a", twelve_leads(1, 500), fmt)
    header = header_of(tmp_path)
    assert np.array_equal(read_leads(header).signal, twelve_leads(1, 500))
    assert header.comments == ("Age: 61", "Sex: Male", "Dx: 426783006,164934002")
    assert np.array_equal(wfdb.rdrecord(str(tmp_path / "a"), physical=False).d_signal, twelve_leads(1, 500).T)
    write_mat(tmp_path / "a", twelve_leads(1, 500), "16+27", mat_start(12, 5000, name=b"signal\0"))
    assert np.array_equal(read_leads(header_of(tmp_path)).signal, twelve_leads(1, 500))


@pytest.mark.parametrize("start", [
    mat_start(12, 999), mat_start(11, 1000), mat_start(1000, 12), mat_start(12, 1000, kind=0),
    mat_start(12, 1000, kind=1030), mat_start(12, 1000, imaginary=1), mat_start(12, 1000, name=b"")+b"val\0",
    b"MATLAB 5.0 MAT-file, Plat", mat_start(-12, -1000), bytes(24),
])
def test_a_mat_header_that_says_otherwise_is_refused(tmp_path: Path, start: bytes) -> None:
    write_mat(tmp_path / "a", twelve_leads(1, 100), start=start[:24])
    assert refusal(tmp_path) == "bad mat header"


def test_a_cut_mat_file_is_refused(tmp_path: Path) -> None:
    write_mat(tmp_path / "a", twelve_leads(1, 100))
    content = (tmp_path / "a.mat").read_bytes()
    for size in (0, 10, 24, 100, len(content) - 1):
        (tmp_path / "a.mat").write_bytes(content[:size])
        assert refusal(tmp_path) == "wrong length"


def test_a_byte_offset_skips_what_lies_before(tmp_path: Path) -> None:
    write_record(tmp_path / "a", twelve_leads(1, 100), 100)
    (tmp_path / "a.dat").write_bytes(b"preamble!" + (tmp_path / "a.dat").read_bytes())
    text = (tmp_path / "a.hea").read_text()
    (tmp_path / "a.hea").write_text(text.replace("a.dat 16 ", "a.dat 16+9 "))
    assert np.array_equal(read_leads(header_of(tmp_path)).signal, twelve_leads(1, 100))
    for offset in ("8", "10", "99999", "999999999999999999"):
        (tmp_path / "a.hea").write_text(text.replace("a.dat 16 ", f"a.dat 16+{offset} "))
        assert refusal(tmp_path) == ("bad checksum" if offset == "8" else "wrong length")


def test_several_files_make_one_record(tmp_path: Path) -> None:
    signal = twelve_leads(1, 100)
    write_record(tmp_path / "b", signal[:5], 100, LEADS[:5])
    write_record(tmp_path / "a", signal[5:], 100, LEADS[5:])
    first, second = ((tmp_path / f"{name}.hea").read_text().splitlines()[1:] for name in "ba")
    (tmp_path / "a.hea").write_text("\n".join(["a 12 100 1000", *first, *second]))
    assert np.array_equal(read_leads(header_of(tmp_path)).signal, signal)
    assert np.array_equal(wfdb.rdrecord(str(tmp_path / "a"), physical=False).d_signal, signal.T)
    (tmp_path / "a.hea").write_text("\n".join(["a 12 100 1000", *first[:2], *second, *first[2:]]))
    assert refusal(tmp_path) == "unreadable header"
    (tmp_path / "a.hea").write_text("\n".join(["a 12 100 1000", first[0].replace("16", "212", 1), *first[1:], *second]))
    assert refusal(tmp_path) == "unreadable header"
    (tmp_path / "b.dat").write_bytes((tmp_path / "b.dat").read_bytes()[:-10])
    (tmp_path / "a.hea").write_text("\n".join(["a 12 100", *first, *second]))
    assert refusal(tmp_path) == "wrong length"


@pytest.mark.parametrize("write", [
    lambda text: text.replace("\n", "\r\n"), lambda text: text.replace("\n", "\r"), lambda text: text.rstrip("\n"),
    lambda text: "# first\n\n" + text.replace("\n", "\n\n# between\n", 3),
    lambda text: text.replace(" 1000.0", "\t1000.0"),
    lambda text: text.replace("\n", "  \n"), lambda text: text + "# \0\x01 \u2028", lambda text: text + "#" * 5000,
])
def test_headers_as_people_save_them(tmp_path: Path, write: object) -> None:
    write_record(tmp_path / "a", twelve_leads(1, 100), 100)
    text = (tmp_path / "a.hea").read_text()
    (tmp_path / "a.hea").write_bytes(write(text).encode())  # type: ignore[operator]
    assert np.array_equal(read_leads(header_of(tmp_path)).signal, twelve_leads(1, 100))


def test_latin_1_and_binary_headers(tmp_path: Path) -> None:
    write_record(tmp_path / "a", twelve_leads(1, 100), 100)
    content = (tmp_path / "a.hea").read_bytes()
    (tmp_path / "a.hea").write_bytes(content + "# Größe: 180 µm\n".encode("latin-1"))
    assert read_header(tmp_path, "a").comments == ("Größe: 180 µm",)
    (tmp_path / "a.hea").write_bytes(content.replace(b"1000.0(0)/mV", "1000.0(0)/µV".encode("latin-1")))
    assert np.array_equal(read_leads(header_of(tmp_path)).signal, np.rint(twelve_leads(1, 100) / 1000))
    for junk in (bytes(range(256)), b"", b"\0" * 5000, b"\n" * 50, b"# only a comment\n", content.replace(b" ", b"\0")):
        (tmp_path / "a.hea").write_bytes(junk)
        assert refusal(tmp_path) == "unreadable header"
    (tmp_path / "a.hea").write_bytes(content + b"#" * LARGEST_HEADER)
    assert refusal(tmp_path) == "file too large"


def test_a_pipe_or_a_folder_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    write_record(tmp_path / "a", twelve_leads(1, 100), 100)
    for extension in ("dat", "hea"):
        path = tmp_path / f"a.{extension}"
        path.unlink()
        os.mkfifo(path)
        assert refusal(tmp_path) == "not a file"
        path.unlink()
        path.mkdir()
        assert refusal(tmp_path) == "not a file"
        path.rmdir()
        path.symlink_to("/dev/zero")
        assert refusal(tmp_path) == "path outside root"
        path.unlink()
        assert refusal(tmp_path) == "missing file"
        write_record(tmp_path / "a", twelve_leads(1, 100), 100)


def test_links_are_followed_inside_the_root_only(tmp_path: Path) -> None:
    root = tmp_path / "root"
    write_record(root / "data" / "a", twelve_leads(1, 100), 100)
    write_record(tmp_path / "away" / "a", twelve_leads(1, 100), 100)
    (root / "inner").symlink_to("data")
    (root / "outer").symlink_to(tmp_path / "away")
    (root / "loop").symlink_to("loop")
    assert np.array_equal(read_leads(read_header(root, "inner/a")).signal, twelve_leads(1, 100))
    assert refusal(root, "outer/a") == "path outside root"
    assert refusal(root, "loop/a") in ("missing file", "unreadable file")
    for extension in ("dat", "hea"):
        path = root / "data" / f"a.{extension}"
        path.rename(root / f"kept.{extension}")
        path.symlink_to(f"../kept.{extension}")
        assert read_leads(read_header(root, "data/a")).n_clipped == 0
        path.unlink()
        path.symlink_to(tmp_path / "away" / f"a.{extension}")
        assert refusal(root, "data/a") == "path outside root"
        path.unlink()
        path.symlink_to(f"a.{extension}")
        assert refusal(root, "data/a") == "unreadable file"
        path.unlink()
        (root / f"kept.{extension}").rename(path)
    linked = tmp_path / "linked"
    linked.symlink_to(root)
    assert read_leads(read_header(linked, "data/a")).absent_leads == []


def test_records_are_found_in_the_order_people_count_in(tmp_path: Path) -> None:
    names = ["10", "9", "b/s2/x", "b/s10/x", "b/s2", "p10/a", "p2/a1b10", "p2/a1b9", "007", "7"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{name}.hea").touch()
    for junk in ("x.dat", "._9.hea", ".git/a.hea", "hea", "p2/a.HEA.txt"):
        (tmp_path / junk).parent.mkdir(exist_ok=True)
        (tmp_path / junk).touch()
    (tmp_path / "p3").symlink_to("p2")
    (tmp_path / "up").symlink_to("..")
    assert list(find_records(tmp_path)) == ["007", "7", "9", "10", "b/s2", "b/s2/x", "b/s10/x", "p2/a1b9", "p2/a1b10",
                                            "p10/a"]
    with pytest.raises(MedReportError, match="cannot be listed"):
        list(find_records(tmp_path / "none"))
    (tmp_path / "empty").mkdir()
    assert list(find_records(tmp_path / "empty")) == []
