"""The stored numbers of WFDB signals: all of a record of one segment, or any stretch of it.

Formats 16, with or without the header of a MATLAB v4 matrix, 61 and 212 are decoded here, at any number of samples per
frame; other formats by the wfdb library. References: signal(5) and header(5) of WFDB; "MAT-File Level 4" of MATLAB's
file format description.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from emgecg_cli.core.datasets.formats.wfdb_files import RecordError, file_size, read_span
from emgecg_cli.core.datasets.formats.wfdb_headers import LONGER, Header, SignalFile, SignalLine
from emgecg_cli.core.datasets.formats.wfdb_library import KNOWN, frames_by_wfdb, read_by_wfdb

# format of two bytes a sample -> their order
_INT16 = {"16": "<i2", "61": ">i2"}
PLAIN = (*_INT16, "212")
# a signal of this format has no file and no samples
NULL = "0"

# as many as the processor's cache holds
PAIRS_AT_ONCE = 2 ** 16
LONGEST_MAT_START = 2 ** 10

_MAT_HEADER = struct.Struct("<5i")
# MOPT: little-endian, reserved, int16, full matrix
_MAT_INT16 = 30


@dataclass(frozen=True)
class Stored:
    """The numbers of each signal of a header, samples of a frame one after the other, and faults of their files that
    did not keep them from being read. `signals` is a matrix where all lie in
    one file and have the same length."""

    signals: Sequence[np.ndarray] | np.ndarray
    flags: tuple[str, ...] = ()


def is_plain(header: Header) -> bool:
    """Whether every signal of a record is stored in a format that is decoded here."""
    return bool(header.signals) and all(line.fmt in PLAIN for line in header.signals)


def count_frames(header: Header) -> int:
    """How many frames a record of one segment has, by its header or, where that leaves it out, by its files; raises
    RecordError."""
    if header.sig_len is not None:
        return header.sig_len
    lengths = {_frames_in(header.root, file) for file in signal_files(header) if file.fmt != NULL}
    if len(lengths) > 1:
        raise RecordError("wrong length", "the files of the record differ in length")
    if not lengths or 0 in lengths:
        raise RecordError("wrong length", "no samples")
    return lengths.pop()


def read_stored(header: Header, first: int = 0, last: int | None = None) -> Stored:
    """The stored numbers of a record of one segment, of the frames from `first` up to `last`; raises RecordError.

    Nothing is shifted by a skew. A file that ends before the header says is refused, one that goes on is read up to
    there and flagged. With `last` None all frames are read, and checked against the checksums the header gives.
    """
    n_frames = count_frames(header)
    end = n_frames if last is None else last
    flags: list[str] = []
    blocks: list[Sequence[np.ndarray] | np.ndarray] = []
    for file in signal_files(header):
        if file.fmt == NULL:
            blocks.append(np.zeros((len(file.samples), 0), np.int16))
        elif file.fmt in PLAIN:
            blocks.append(_read_plain(header.root, file, n_frames, (first, end), flags))
        else:
            blocks.append(read_by_wfdb(header.root, file, n_frames, (first, end), flags))
    signals = blocks[0] if len(blocks) == 1 else [signal for block in blocks for signal in block]
    if last is None:
        verify_checksums(header.signals, sums_of(signals))
    return Stored(signals, tuple(flags))


def sums_of(signals: Sequence[np.ndarray] | np.ndarray) -> list[int]:
    """The sum of each signal's stored numbers, modulo 2 ** 16 or not."""
    if isinstance(signals, np.ndarray) and signals.dtype == np.int16:
        return np.add.reduce(signals, axis=1, dtype=np.int16).tolist()
    return [int(np.add.reduce(signal, dtype=np.int64)) for signal in signals]


def verify_checksums(lines: tuple[SignalLine, ...], sums: list[int]) -> None:
    """Compare the sums of the stored numbers, modulo 2 ** 16, with those announced; raises RecordError."""
    for line, found in zip(lines, sums, strict=True):
        if line.checksum is not None and line.checksum != found & 0xFFFF and line.fmt != NULL:
            raise RecordError("bad checksum", f"lead {line.name}: {found & 0xFFFF}, the header says {line.checksum}")


def signal_files(header: Header) -> list[SignalFile]:
    """The files of a record, in the order of its signals; raises RecordError."""
    files: list[SignalFile] = []
    for name, group in groupby(header.signals, key=lambda line: line.file_name):
        lines = list(group)
        fmt, byte_offset = lines[0].fmt, lines[0].byte_offset
        if len({(line.fmt, line.byte_offset) for line in lines}) > 1 \
                or (fmt != NULL and any(file.name == name for file in files)):
            raise RecordError("unreadable header", f"the signals of {name} differ in format or lie apart")
        if fmt not in (NULL, *PLAIN, *KNOWN):
            raise RecordError("unreadable signal", f"{name} is in format {fmt}, which WFDB does not have")
        files.append(SignalFile(name, "" if fmt == NULL else header.locate(name), fmt, byte_offset,
                                tuple([line.samples_per_frame for line in lines]),
                                tuple([line.initial for line in lines])))
    return files


def _frames_in(root: str, file: SignalFile) -> int:
    """Frames of a file whose header does not say how many there are."""
    if file.fmt not in PLAIN:
        return frames_by_wfdb(root, file)
    n_bytes = file_size(root, file.path) - file.byte_offset
    n_frames = (n_bytes // 2 if file.fmt in _INT16 else n_bytes * 2 // 3) // file.frame
    if n_bytes not in _bytes_needed(file.fmt, n_frames * file.frame):
        raise RecordError("wrong length", f"{file.name} holds {n_bytes} bytes of samples, which are no whole frames of "
                                          f"{file.frame} samples")
    return n_frames


def _bytes_needed(fmt: str, n_samples: int) -> tuple[int, int]:
    """The smallest and largest size of a file of that many samples: format 212 may fill its last three bytes or not."""
    if fmt in _INT16:
        return 2 * n_samples, 2 * n_samples
    return (3 * n_samples + 1) // 2, (n_samples + 1) // 2 * 3


def _read_plain(root: str, file: SignalFile, n_frames: int, span: tuple[int, int],
                flags: list[str]) -> Sequence[np.ndarray] | np.ndarray:
    """The signals of one file, int16, of the frames of a span."""
    first, end = span[0] * file.frame, span[1] * file.frame
    is_mat = file.name.lower().endswith(".mat")
    # Format 212 is read from a whole pair on.
    start = file.byte_offset + (2 * first if file.fmt in _INT16 else first // 2 * 3)
    before = start if is_mat and not first and start <= LONGEST_MAT_START else 0
    size = 2 * (end - first) if file.fmt in _INT16 else _bytes_needed("212", end)[0] - first // 2 * 3
    content, there = read_span(root, file.path, start - before, before + size)
    smallest, largest = _bytes_needed(file.fmt, n_frames * file.frame)
    n_bytes = there - file.byte_offset
    if n_bytes < smallest:
        raise RecordError("wrong length", f"{file.name} holds {max(0, n_bytes)} bytes of samples, {len(file.samples)} "
                                          f"signals of {n_frames} frames need {smallest}")
    if n_bytes > largest:
        flags.append(f"{LONGER}: {file.name} holds {n_bytes} bytes of samples, {n_frames} frames need {smallest}")
    if is_mat and not first:
        _check_mat_header(content, file, n_frames)
    if file.fmt in _INT16:
        flat = np.frombuffer(content, _INT16[file.fmt], end - first, before)
        return _by_signal(flat, file.samples)
    return _decode_212(content[before:], file.samples, first % 2, end - first)


def _by_signal(flat: np.ndarray, samples: tuple[int, ...]) -> Sequence[np.ndarray] | np.ndarray:
    """Samples as they lie in a file, (frames * frame), as those of each signal, int16 and contiguous."""
    frames = flat.reshape(-1, sum(samples))
    if len(set(samples)) == 1:
        by_signal = frames.reshape(len(frames), len(samples), samples[0]).swapaxes(0, 1)
        return by_signal.astype(np.int16, order="C").reshape(len(samples), -1)
    ends = np.cumsum(samples)
    return [frames[:, end - n:end].astype(np.int16, order="C").reshape(-1)
            for end, n in zip(ends.tolist(), samples, strict=True)]


def _decode_212(content: bytes, samples: tuple[int, ...], skip: int,
                n_samples: int) -> Sequence[np.ndarray] | np.ndarray:
    """Two samples in three bytes: the low eight bits of either in the outer ones, the high four of both in between.
    The first `skip` samples are left out, and the `n_samples` after them given as those of each signal."""
    n_pairs = (skip + n_samples) // 2
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
    n_signals = len(samples)
    if not skip and n_signals % 2 == 0 and max(samples) == 1:
        by_signal = pairs.reshape(2, -1, n_signals // 2).transpose(2, 0, 1)
        return np.ascontiguousarray(by_signal).reshape(n_signals, -1)
    stored = pairs.T.reshape(-1)
    if (skip + n_samples) % 2:
        last = content[3 * n_pairs] | (content[3 * n_pairs + 1] & 0x0F) << 8
        stored = np.append(stored, np.int16(last - 4096 if last > 2047 else last))
    return _by_signal(stored[skip:], samples)


def _check_mat_header(content: bytes, file: SignalFile, n_frames: int) -> None:
    """A MATLAB v4 file starts with five numbers and a name, which must say what the WFDB header says, or hold more."""
    if len(content) < _MAT_HEADER.size or file.fmt != "16":
        raise RecordError("bad mat header", f"{file.name} holds no MATLAB v4 matrix of int16")
    kind, rows, columns, imaginary, name_length = _MAT_HEADER.unpack_from(content)
    if kind != _MAT_INT16 or imaginary:
        raise RecordError("bad mat header", f"{file.name} holds no MATLAB v4 matrix of int16")
    if (rows, name_length) != (file.frame, file.byte_offset - _MAT_HEADER.size) or columns < n_frames:
        raise RecordError("bad mat header", f"{file.name} says {rows} signals of {columns} samples from byte "
                                            f"{_MAT_HEADER.size + name_length}, the WFDB header {file.frame} of "
                                            f"{n_frames} from byte {file.byte_offset}")
