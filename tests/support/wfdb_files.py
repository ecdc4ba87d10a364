"""Write WFDB records of any format, samples a frame, skew and baseline, from the numbers to store."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

BITS = {"16": 16, "212": 12, "80": 8, "160": 16, "61": 16, "24": 24, "32": 32, "8": 8, "310": 10, "311": 10}


@dataclass
class Signal:
    """A signal: its numbers (frames * samples a frame) and what its header line says."""

    name: str
    stored: np.ndarray
    per_frame: int = 1
    gain: str = "1000/mV"
    skew: int = 0


def pack(flat: np.ndarray, fmt: str) -> bytes:
    """Numbers as the bytes of a file, by the definitions of signal(5)."""
    if fmt == "212":
        numbers = [int(value) % 4096 for value in flat]
        content = bytearray()
        for at in range(0, len(numbers), 2):
            first, second = numbers[at], numbers[at + 1] if at + 1 < len(numbers) else 0
            content += bytes([first % 256, first // 256 + 16 * (second // 256), second % 256])
        return bytes(content[:(3 * len(numbers) + 1) // 2])
    if fmt in ("310", "311"):
        numbers = [int(value) % 1024 for value in flat] + [0] * (-len(flat) % 3)
        content = bytearray()
        for a, b, c in zip(*(numbers[i::3] for i in range(3)), strict=True):
            if fmt == "310":
                content += bytes([a % 128 * 2, a // 128 + c % 32 * 8, b % 128 * 2, b // 128 + c // 32 * 8])
            else:
                content += bytes([a % 256, a // 256 + b % 64 * 4, b // 64 + c % 16 * 16, c // 16])
        return bytes(content)
    if fmt == "24":
        return b"".join(int(value).to_bytes(3, "little", signed=True) for value in flat)
    if fmt in ("80", "160"):
        return (flat + 2 ** (BITS[fmt] - 1)).astype("<u1" if fmt == "80" else "<u2").tobytes()
    return flat.astype({"16": "<i2", "61": ">i2", "32": "<i4", "8": "<i1"}[fmt]).tobytes()


def interleave(signals: Sequence[Signal]) -> np.ndarray:
    """The samples as they lie in a file, frame by frame."""
    return np.concatenate([one.stored.reshape(-1, one.per_frame) for one in signals], axis=1).reshape(-1)


def write(folder: Path, name: str, signals: Sequence[Signal], fs: object, fmt: str = "16", *, mat: bool = False,
          beyond: bytes = b"", frames: int | None = None, stated: bool = True) -> None:
    """Write NAME.hea and its file; `frames` is what the header says, `beyond` lies after the samples."""
    folder.mkdir(parents=True, exist_ok=True)
    there = len(signals[0].stored) // signals[0].per_frame
    frames = there if frames is None else frames
    file = f"{name}.mat" if mat else f"{name}.dat"
    rows = sum(one.per_frame for one in signals)
    start = struct.pack("<5i", 30, rows, there, 0, 4) + b"val\0" if mat else b""
    flat = interleave(signals)
    if fmt == "8":
        flat = np.concatenate([np.diff(one.stored, prepend=0).reshape(-1, one.per_frame) for one in signals],
                              axis=1).reshape(-1)
    (folder / file).write_bytes(start + pack(flat, fmt) + beyond)
    lines = [f"{name} {len(signals)} {fs}" + (f" {frames}" if stated else "")]
    for one in signals:
        kept = one.stored[:frames * one.per_frame]
        form = f"{fmt}x{one.per_frame}" + (f":{one.skew}" if one.skew else "") + ("+24" if mat else "")
        lines.append(f"{file} {form} {one.gain} {BITS[fmt]} 0 0 {int(kept.sum()) % 65536} 0 {one.name}")
    (folder / f"{name}.hea").write_text("\n".join(lines) + "\n")
