"""What a perturbation did to a recording, measured on the samples before and after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from emgecg_cli.core.artifacts import PerturbedRow
from emgecg_cli.core.signals.leads import to_float_uv


def achieved_snr_db(before: np.ndarray, after: np.ndarray) -> float | None:
    """10 log10 of signal power to noise power, both summed over all leads, of two int16 signals (12, L).

    The signal's power is about each lead's own mean. None when nothing was changed, or there was no signal.
    """
    values, noise = to_float_uv(before).astype(np.float64), to_float_uv(after).astype(np.float64)
    present = np.isfinite(values) & np.isfinite(noise)  # what was dropped is no noise
    mean = np.where(present, values, 0).sum(axis=1, keepdims=True) / np.maximum(present.sum(axis=1, keepdims=True), 1)
    n = np.maximum(present.sum(axis=1), 1)
    signal_power = float((np.where(present, values - mean, 0) ** 2).sum(axis=1).dot(1 / n))
    noise_power = float((np.where(present, noise - values, 0) ** 2).sum(axis=1).dot(1 / n))
    if signal_power == 0 or noise_power == 0:
        return None
    return round(float(10 * np.log10(signal_power / noise_power)), 4)


def changed_share(before: np.ndarray, after: np.ndarray) -> float:
    """The share of time in which any lead differs."""
    return round(float(np.mean((before != after).any(axis=0))), 6)


def summary(rows: Sequence[PerturbedRow]) -> dict[str, Any]:
    """What the manifest says about the perturbed records."""
    reached = [row.snr_db for row in rows if row.snr_db is not None]
    quantiles = {f"p{q}": round(float(np.percentile(reached, q)), 2) for q in (5, 50, 95)} if reached else None
    return {"perturbed": len(rows), "unchanged": sum(not row.changed for row in rows),
            "achieved_snr_db": quantiles, "mean_changed": round(float(np.mean([row.changed for row in rows])), 4),
            "clipped_samples": sum(row.n_clipped for row in rows)}
