"""The lead contract: twelve leads by name, in one order, in int16 microvolts, missing samples marked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
MISSING = np.int16(-32768)
LARGEST_UV = 32767

_INDEX = {name.upper(): i for i, name in enumerate(LEADS)}


def lead_rows(sig_name: Sequence[str]) -> dict[int, int]:
    """Map the row of each standard lead to its row in a file, by name and regardless of case.

    Names that are no standard lead are left out. Raises ValueError when a lead is named twice.
    """
    rows: dict[int, int] = {}
    for source_row, name in enumerate(sig_name):
        lead = _INDEX.get(name.strip().upper().removeprefix("LEAD").strip())
        if lead is None:
            continue
        if lead in rows:
            raise ValueError(f"lead {LEADS[lead]} is named twice")
        rows[lead] = source_row
    return rows


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
