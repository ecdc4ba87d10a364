"""The lead contract: twelve leads by name, in one order, in int16 microvolts, missing samples marked."""

from __future__ import annotations

import numpy as np

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
MISSING = np.int16(-32768)
LARGEST_UV = 32767


def to_int16_uv(microvolts: np.ndarray) -> tuple[np.ndarray, int]:
    """Round float microvolts, NaN = missing, to int16 with `MISSING`; also return how many samples were clipped."""
    finite = np.isfinite(microvolts)
    whole = np.rint(np.where(finite, microvolts, 0))  # first, since 32767 / 1000 * 1000 is a little more than 32767
    clipped = int(np.count_nonzero(np.abs(whole) > LARGEST_UV))
    rounded = np.clip(whole, -LARGEST_UV, LARGEST_UV).astype(np.int16)
    rounded[~finite] = MISSING
    return rounded, clipped


def to_float_uv(signal: np.ndarray) -> np.ndarray:
    """int16 microvolts with `MISSING` to float32 microvolts with NaN."""
    values = signal.astype(np.float32)
    values[signal == MISSING] = np.nan
    return values


def count_clipped(signal: np.ndarray) -> int:
    """Samples of int16 microvolts at either end of their scale."""
    return int(np.count_nonzero(np.abs(signal, dtype=np.int32) == LARGEST_UV))
