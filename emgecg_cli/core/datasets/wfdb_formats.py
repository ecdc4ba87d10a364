"""Decode the plain signal files of WFDB: format 16, with or without the header of a MATLAB v4 matrix, and format 212.

References: signal(5) and header(5) of WFDB; "MAT-File Level 4" of MATLAB's file format description.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from emgecg_cli.core.datasets.wfdb_files import RecordError, read_file
from emgecg_cli.core.datasets.wfdb_headers import LARGEST_RECORD, Header, SignalLine

# format -> the stored number that means "no sample"
MISSING_CODES = {"16": -32768, "212": -2048}

# as many as the processor's cache holds
PAIRS_AT_ONCE = 2 ** 16

_MAT_HEADER = struct.Struct("<5i")
# MOPT: little-endian, reserved, int16, full matrix
_MAT_INT16 = 30


@dataclass(frozen=True)
class _Group:
    """Signals that share one file, which holds them interleaved."""

    file_name: str
    fmt: str
    byte_offset: int
    n_signals: int


def is_plain(header: Header) -> bool:
    """Whether every signal of a record is stored in a format that `read_stored` decodes."""
    return bool(header.signals) and all(
        line.fmt in MISSING_CODES and line.samples_per_frame == 1 and not line.skew for line in header.signals)


def read_stored(header: Header) -> np.ndarray:
    """The stored numbers of a plain record's signals, int16 (n_signals, L); raises RecordError.

    Files are as long as the header says, to the byte; a length it leaves out follows from the file's. The sums are
    checked against the header's checksums, where it gives them.
    """
    groups = _groups(header.signals)
    blocks = [_read_group(header, group) for group in groups]
    if len({block.shape[1] for block in blocks}) > 1:
        raise RecordError("wrong length", "the files of the record differ in length")
    stored = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
    verify_checksums(header.signals, np.add.reduce(stored, axis=1, dtype=np.int16).tolist())
    return stored


def verify_checksums(lines: tuple[SignalLine, ...], sums: list[int]) -> None:
    """Compare the sums of the stored numbers, modulo 2 ** 16, with those announced; raises RecordError."""
    for line, found in zip(lines, sums, strict=True):
        if line.checksum is not None and line.checksum != found & 0xFFFF:
            raise RecordError("bad checksum", f"lead {line.name}: {found & 0xFFFF}, the header says {line.checksum}")


def _groups(lines: tuple[SignalLine, ...]) -> list[_Group]:
    groups: list[_Group] = []
    for file_name, members in groupby(lines, key=lambda line: line.file_name):
        layouts = [(line.fmt, line.byte_offset) for line in members]
        if len(set(layouts)) > 1 or any(group.file_name == file_name for group in groups):
            raise RecordError("unreadable header", f"the signals of {file_name} differ in format or lie apart")
        groups.append(_Group(file_name, *layouts[0], len(layouts)))
    return groups


def _read_group(header: Header, group: _Group) -> np.ndarray:
    """The signals of one file, int16 (n_signals, L), contiguous."""
    path = os.path.join(os.path.dirname(header.path), group.file_name)
    largest = group.byte_offset + 2 * LARGEST_RECORD
    content = read_file(header.root, path, largest)
    n_bytes = len(content) - group.byte_offset
    n_samples = n_bytes // 2 if group.fmt == "16" else n_bytes * 2 // 3
    sig_len = header.sig_len or n_samples // group.n_signals
    needed = _bytes_needed(group.fmt, sig_len * group.n_signals)
    if n_bytes not in needed or not sig_len:
        raise RecordError("wrong length", f"{group.file_name} holds {n_bytes} bytes of samples, {group.n_signals} "
                                          f"signals of {sig_len} samples need {needed[0]}")
    if group.file_name.lower().endswith(".mat"):
        _check_mat_header(content, group, sig_len)
    if group.fmt == "16":
        stored = np.frombuffer(content, "<i2", sig_len * group.n_signals, group.byte_offset)
        return stored.reshape(sig_len, group.n_signals).T.astype(np.int16, order="C")
    return _decode_212(content[group.byte_offset:], group.n_signals, sig_len)


def _bytes_needed(fmt: str, n_samples: int) -> tuple[int, ...]:
    """The sizes a file of that many samples may have: format 212 may fill its last three bytes or not."""
    if fmt == "16":
        return (2 * n_samples,)
    return (3 * n_samples + 1) // 2, (n_samples + 1) // 2 * 3


def _decode_212(content: bytes, n_signals: int, sig_len: int) -> np.ndarray:
    """Two samples in three bytes: the low eight bits of either in the outer ones, the high four of both in between."""
    n_samples = n_signals * sig_len
    n_pairs = n_samples // 2
    triples = np.frombuffer(content, np.uint8, 3 * n_pairs).reshape(-1, 3)
    pairs = np.empty((2, n_pairs), np.int16)
    for start in range(0, n_pairs, PAIRS_AT_ONCE):
        part = slice(start, start + PAIRS_AT_ONCE)
        middle = triples[part, 1].astype(np.int16)
        # Up to the sign bit, and down again with it.
        high = middle << 12
        high >>= 4
        np.bitwise_or(high, triples[part, 0], out=pairs[0, part])
        middle >>= 4
        middle <<= 12
        middle >>= 4
        np.bitwise_or(middle, triples[part, 2], out=pairs[1, part])
    if n_signals % 2 == 0:
        by_signal = pairs.reshape(2, sig_len, n_signals // 2).transpose(2, 0, 1)
        return np.ascontiguousarray(by_signal).reshape(n_signals, sig_len)
    stored = pairs.T.reshape(-1)
    if n_samples % 2:
        last = content[3 * n_pairs] | (content[3 * n_pairs + 1] & 0x0F) << 8
        stored = np.append(stored, np.int16(last - 4096 if last > 2047 else last))
    return np.ascontiguousarray(stored.reshape(sig_len, n_signals).T)


def _check_mat_header(content: bytes, group: _Group, sig_len: int) -> None:
    """A MATLAB v4 file starts with five numbers and a name, which must say what the WFDB header says."""
    if len(content) < _MAT_HEADER.size or group.fmt != "16":
        raise RecordError("bad mat header", f"{group.file_name} holds no MATLAB v4 matrix of int16")
    kind, rows, columns, imaginary, name_length = _MAT_HEADER.unpack_from(content)
    if kind != _MAT_INT16 or imaginary:
        raise RecordError("bad mat header", f"{group.file_name} holds no MATLAB v4 matrix of int16")
    if (rows, columns, name_length) != (group.n_signals, sig_len, group.byte_offset - _MAT_HEADER.size):
        raise RecordError("bad mat header", f"{group.file_name} says {rows} signals of {columns} samples from byte "
                                            f"{_MAT_HEADER.size + name_length}, the WFDB header {group.n_signals} of "
                                            f"{sig_len} from byte {group.byte_offset}")

