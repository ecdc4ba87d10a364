"""Read one struct of a MATLAB 5 file: its fields that are plain numbers or text, and nothing else.

Reference: MAT-File Format, MathWorks, "Level 5 MAT-File Format". Less than `scipy.io.loadmat` on purpose: what is not
a number or text is skipped, no array is made that the bytes do not hold, and unpacking stops at a limit, so that
neither a claimed size nor a compressed one can fill the memory.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np

LARGEST_UNPACKED = 2 ** 26

_MATRIX, _COMPRESSED = 14, 15
_STRUCT, _CHAR, _NUMERIC, _COMPLEX = 2, 4, range(6, 16), 0x0800
# type of an element -> its numbers
_TYPES = {1: "i1", 2: "u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8", 12: "<i8", 13: "<u8",
          16: "u1", 17: "<u2"}


def read_struct(content: bytes, name: str) -> dict[str, np.ndarray | str | None]:
    """The fields of the 1 x 1 struct variable `name`: numbers as (rows, columns), text as text, anything else None.

    Raises ValueError, saying why, when the file is none, is cut short, unpacks to more than LARGEST_UNPACKED bytes or
    holds no such variable.
    """
    if len(content) < 128 or content[124:128] != b"\x00\x01IM":
        raise ValueError("not a MATLAB 5 file (little-endian)")
    for kind, data in _elements(memoryview(content)[128:]):
        if kind == _COMPRESSED:
            kind, data = next(_elements(_unpack(data)), (0, data))
        if kind == _MATRIX:
            fields = _fields(data, name)
            if fields is not None:
                return fields
    raise ValueError(f"no variable {name}")


def _unpack(data: memoryview) -> memoryview:
    stream = zlib.decompressobj()
    try:
        unpacked = stream.decompress(data, LARGEST_UNPACKED + 1)
    except zlib.error as error:
        raise ValueError(f"damaged ({error})") from None
    if len(unpacked) > LARGEST_UNPACKED:
        raise ValueError(f"unpacks to more than {LARGEST_UNPACKED} bytes")
    return memoryview(unpacked)


def _elements(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The type and the bytes of each element in turn; raises ValueError where one reaches past the end."""
    at = 0
    while at + 8 <= len(data):
        kind, size = struct.unpack_from("<II", data, at)
        start, step = at + 8, size if kind == _COMPRESSED else -(-size // 8) * 8
        if kind >> 16:  # up to four bytes beside the type, in place of the size
            kind, size, start, step = kind & 0xFFFF, kind >> 16, at + 4, 0
            if size > 4:
                raise ValueError("damaged (a small element of more than four bytes)")
        if start + size > len(data):
            raise ValueError("cut short")
        yield kind, data[start:start + size]
        at = at + 8 + step


def _fields(data: memoryview, wanted: str) -> dict[str, np.ndarray | str | None] | None:
    """The fields of a matrix element that is the struct `wanted`; None when it is something else."""
    parts = _elements(data)
    try:
        class_, _, shape, name = _heading(parts)
        if name != wanted:
            return None
        if class_ != _STRUCT or shape != (1, 1):
            raise ValueError(f"{wanted} is no 1 x 1 struct")
        width = int(np.frombuffer(next(parts)[1], "<i4")[0])
        names = bytes(next(parts)[1])
        if not 0 < width <= 64 or len(names) % width:
            raise ValueError("damaged (names of fields)")
        keys = [_ascii(names[i:i + width].split(b"\0")[0]) for i in range(0, len(names), width)]
        return {key: _value(next(parts)[1]) for key in keys}
    except (StopIteration, IndexError):
        raise ValueError("cut short") from None


def _heading(parts: Iterator[tuple[int, memoryview]]) -> tuple[int, int, tuple[int, ...], str]:
    """Class, flags, shape and name of a matrix element."""
    flags = int(np.frombuffer(next(parts)[1][:4], "<u4")[0])
    shape = tuple(int(n) for n in np.frombuffer(next(parts)[1], "<i4"))
    return flags & 0xFF, flags, shape, _ascii(bytes(next(parts)[1]))


def _ascii(text: bytes) -> str:
    return text.decode("ascii", "replace")


def _value(data: memoryview) -> np.ndarray | str | None:
    if not data:
        return None
    parts = _elements(data)
    class_, flags, shape, _ = _heading(parts)
    if (class_ != _CHAR and class_ not in _NUMERIC) or flags & _COMPLEX or len(shape) != 2 or min(shape) < 0:
        return None
    kind, stored = next(parts)
    if kind not in _TYPES:
        raise ValueError(f"damaged (numbers of type {kind})")
    if class_ == _CHAR:
        return bytes(stored).decode("utf-16-le" if kind in (4, 17) else "utf-8", "replace")
    values = np.frombuffer(stored, _TYPES[kind])
    if len(values) != shape[0] * shape[1]:
        raise ValueError(f"damaged ({len(values)} numbers for {shape[0]} x {shape[1]})")
    return values.reshape(shape, order="F")
