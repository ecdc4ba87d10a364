"""From int16 microvolts at any rate to two filtered signals on one time grid.

Everything after this file runs at 250 samples per second whatever the recording has, so that no constant depends on the
rate. One forward FFT of the recording gives both bands, cut or padded to the grid's spectrum: that is resampling and
filtering with zero phase at once. Below 0.67 Hz a zero-phase filter does not move the ST segment (Kligfield et al.,
"Recommendations for the standardization and interpretation of the electrocardiogram, part I", Circulation 2007).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from emgecg_cli.core.signals.leads import MISSING

GRID_FS = 250
DETECTION_FS = 125
SHORTEST_S = 1.1
FLAT_UV = 15  # a lead that never leaves a band this narrow has no QRS complex in it
MOST_MISSING = 0.5
LONGEST_MISSING_S = 0.2  # what interpolation may bridge; more is time in which nothing can be said
LONGEST_STILL_S = 2.0  # between slow beats drawn without noise no lead moves for this long
_PAD_S = 1.0
_BEAT_BAND = (0.5, 45.0)
_DETECTION_BAND = (6.0, 22.0)
_MAINS_HZ = (50.0, 60.0)
_MAINS_WIDTH_HZ = 0.5
# Pacing spikes: curvature over neighbouring samples, beside the recording's own curvature over 8 ms.
_SPIKE_UV = 60.0
_SPIKE_RATIO = 1.25
_SPIKE_SPAN_S = 0.008
_LONE_S, _LONE_RATIO = 0.014, 9.0
_MOST_SPIKY = 0.1  # of all samples: more is noise and not a pacemaker
SPIKE_BEFORE_S, SPIKE_AFTER_S = 0.006, 0.016


@dataclass(frozen=True)
class Filtered:
    """A recording on the grid. `leads` are the rows of `LEADS` in use; `values` (C, L) float32 microvolts at the
    recording's own rate, unfiltered, but without pacing spikes and gaps; `beats` (C, n) float32 microvolts at GRID_FS,
    0.5 to 45 Hz; `detection` (C, n / 2) at DETECTION_FS, 6 to 22 Hz; `gap` (n,) bool, where no lead has a signal;
    `spikes` (s,) places of the pacing spikes that were taken out, in samples of the grid."""

    leads: np.ndarray
    values: np.ndarray
    beats: np.ndarray
    detection: np.ndarray
    gap: np.ndarray
    spikes: np.ndarray


def filter_recording(signal: np.ndarray, fs: int) -> Filtered | None:
    """Filter int16 microvolts (12, L); None where the recording is too short or no lead has a signal."""
    sig_len = signal.shape[1]
    if sig_len < SHORTEST_S * fs:
        return None
    missing = signal == MISSING if signal.min() == MISSING else None
    leads = _leads_in_use(signal, missing)
    if not leads.size:
        return None
    values = signal[leads].astype(np.float32)
    if missing is not None:
        missing = missing[leads]
        _interpolate(values, missing)
    gap = _gaps(signal[leads], missing, fs)
    values, spikes = _remove_spikes(values, fs)
    beats, detection = _to_grid(values, fs)
    return Filtered(leads, values, beats, detection, _on_grid(gap, fs, beats.shape[1]), spikes * (GRID_FS / fs))


def _leads_in_use(signal: np.ndarray, missing: np.ndarray | None) -> np.ndarray:
    if missing is None:
        span = signal.max(axis=1).astype(np.int32) - signal.min(axis=1)
        return np.flatnonzero(span > FLAT_UV)
    high = np.where(missing, -32767, signal).max(axis=1).astype(np.int32)
    low = np.where(missing, 32767, signal).min(axis=1)
    return np.flatnonzero((high - low > FLAT_UV) & (missing.mean(axis=1) <= MOST_MISSING))


def _interpolate(values: np.ndarray, missing: np.ndarray) -> None:
    for row, absent in zip(values, missing, strict=True):
        if absent.any():
            at = np.flatnonzero(~absent)
            row[absent] = np.interp(np.flatnonzero(absent), at, row[at])


def _gaps(signal: np.ndarray, missing: np.ndarray | None, fs: int) -> np.ndarray | None:
    """Where every lead is missing, or none moves by a single bit, for too long to be part of a beat."""
    gap = np.zeros(signal.shape[1], bool)
    if missing is not None:
        _mark_runs(gap, np.all(missing, axis=0), int(LONGEST_MISSING_S * fs) + 1)
    longest = int(LONGEST_STILL_S * fs)
    if _longest_run(np.diff(signal[0]) == 0) > longest:
        _mark_runs(gap, np.all(np.diff(signal, axis=1) == 0, axis=0), longest + 1)
    return gap if gap.any() else None


def _mark_runs(gap: np.ndarray, flags: np.ndarray, shortest: int) -> None:
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flags.astype(np.int8), [0]))))
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        gap[start:end] |= end - start >= shortest


def _longest_run(flags: np.ndarray) -> int:
    ends = np.flatnonzero(np.concatenate(([True], ~flags, [True])))
    return int(np.diff(ends).max()) - 1


def _on_grid(gap: np.ndarray | None, fs: int, n: int) -> np.ndarray:
    if gap is None:
        return np.zeros(n, bool)
    return gap[np.minimum(np.arange(n) * fs // GRID_FS, len(gap) - 1)]


def _remove_spikes(values: np.ndarray, fs: int) -> tuple[np.ndarray, np.ndarray]:
    """Replace pacing spikes by straight lines; a spike bends more in one sample than the QRS complex does in 8 ms.

    (C, L) -> (C, L), and where the spikes were.
    """
    none = np.zeros(0, np.int64)
    span = round(_SPIKE_SPAN_S * fs)
    if span < 2:
        return values, none
    slope = np.diff(values, axis=1)
    sharp = _rms(slope[:, 1:] - slope[:, :-1])
    if np.partition(sharp, -3)[-3] < _SPIKE_UV:
        return values, none
    smooth = _rms(values[:, 2 * span:] - 2 * values[:, span:-span] + values[:, :-2 * span])
    lone = _lone(sharp, fs)
    if lone.size:
        reach = round(_LONE_S * fs)
        beside = (lone - (span - 1))[:, None] + np.arange(-reach, reach + 1)
        smooth = np.delete(smooth, np.unique(beside[(beside >= 0) & (beside < len(smooth))]))
    rank = max(1, len(smooth) // 100)
    limit = max(_SPIKE_UV, _SPIKE_RATIO * float(np.partition(smooth, -rank)[-rank]))
    at = np.flatnonzero(sharp > limit) + 1
    if not 0 < len(at) < _MOST_SPIKY * len(sharp):
        return values, none
    at = at[np.diff(at, prepend=-fs) > 0.02 * fs]
    before, after = int(SPIKE_BEFORE_S * fs), int(SPIKE_AFTER_S * fs)
    for i in at.tolist():
        start, end = max(1, i - before), min(values.shape[1] - 1, i + after)
        line = np.linspace(0, 1, end - start + 2, dtype=np.float32)[1:-1]
        values[:, start:end] = values[:, start - 1:start] * (1 - line) + values[:, end:end + 1] * line
    return values, at


def _lone(sharp: np.ndarray, fs: int) -> np.ndarray:
    """Where a signal bends without bending to either side: frequent or broad spikes must not pass for the QRS complexes
    that they are held against."""
    at = np.flatnonzero(sharp > _SPIKE_UV)
    near, half = round(_LONE_S * fs), round(_LONE_S * fs) // 2
    beside = np.arange(near - half, near + half + 1)
    around = sharp[np.clip(at[:, None] + np.concatenate((-beside, beside)), 0, len(sharp) - 1)].max(axis=1)
    return at[sharp[at] > _LONE_RATIO * around]


def _rms(rows: np.ndarray) -> np.ndarray:
    return np.sqrt(np.einsum("ij,ij->j", rows, rows) / len(rows))


def _to_grid(values: np.ndarray, fs: int) -> tuple[np.ndarray, np.ndarray]:
    from scipy.fft import irfft, rfft

    n_leads, sig_len = values.shape
    pad, total, responses = _plan(sig_len, fs)
    padded = np.empty((n_leads, total), np.float32)
    first, last = values[:, :1], values[:, -1:]
    padded[:, pad:pad + sig_len] = values
    np.subtract(2 * first, values[:, pad:0:-1], out=padded[:, :pad])
    end = 2 * pad + sig_len
    np.subtract(2 * last, values[:, -2:-pad - 2:-1], out=padded[:, pad + sig_len:end])
    padded[:, end:] = padded[:, end - 1:end]
    spectrum: np.ndarray = rfft(padded, axis=1)
    bands = []
    for rate, response in zip((GRID_FS, DETECTION_FS), responses, strict=True):
        n_bins = min(len(response), spectrum.shape[1])
        band = irfft(spectrum[:, :n_bins] * response[:n_bins], total * rate // fs, axis=1)
        start = pad * rate // fs
        bands.append(band[:, start:start + (sig_len * rate) // fs])
    return bands[0], bands[1]


@lru_cache(maxsize=16)
def _plan(sig_len: int, fs: int) -> tuple[int, int, tuple[np.ndarray, np.ndarray]]:
    """Samples of padding, samples in all, and the two responses on the bins of the grids' spectra."""
    from scipy.fft import next_fast_len

    step = fs // int(np.gcd(fs, DETECTION_FS))  # the shortest stretch that is whole samples on every grid
    pad = max(1, int(_PAD_S * fs) // step) * step
    pad = min(pad, (sig_len - 1) // step * step)
    n_steps = int(next_fast_len(-(-(sig_len + 2 * pad) // step), real=True))
    total = step * n_steps
    frequency = np.arange(total // 2 + 1) * (fs / total)
    notch = np.ones_like(frequency)
    for mains in _MAINS_HZ:
        notch *= 1 - np.exp(-0.5 * ((frequency - mains) / _MAINS_WIDTH_HZ) ** 2)
    responses = []
    for rate, band, mask in ((GRID_FS, _BEAT_BAND, notch), (DETECTION_FS, _DETECTION_BAND, None)):
        n_grid = total * rate // fs
        bins = frequency[:n_grid // 2 + 1]
        response = _band_pass(bins, *band) * (rate / fs)
        responses.append((response if mask is None else response * mask[:len(bins)]).astype(np.float32))
    return pad, total, (responses[0], responses[1])


def _band_pass(frequency: np.ndarray, low: float, high: float) -> np.ndarray:
    above = 1 / (1 + (low / np.maximum(frequency, 1e-9)) ** 4)
    return above / (1 + (frequency / high) ** 8)
