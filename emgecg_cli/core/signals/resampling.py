"""The time contract: polyphase, anti-aliased resampling that keeps missing samples missing.

The filter is scipy's: a Kaiser-windowed (beta 5) low-pass of 20 * max(up, down) + 1 taps at the lower Nyquist rate.
Rates need not be whole numbers: those that are not are resampled by the nearest fraction of small numbers.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache

import numpy as np

from emgecg_cli.core.signals.leads import LARGEST_UV, MISSING, to_int16_uv

# Numbers in the matrix of a rate pair; a pair that needs a larger one is left to scipy, which is slower but for those.
LARGEST_MATRIX = 2 ** 17


# Of the smaller term of a fraction for rates that are not whole: at worst a recording of 10 s ends half a millisecond
# off, and rates that a header rounds ("249.999872") become those they stand for.
LARGEST_TERM = 10_000

Rate = int | Fraction


@lru_cache(maxsize=1024)
def resampling_ratio(fs_from: Rate, fs_to: Rate) -> Fraction:
    """Output samples per input sample: `fs_to / fs_from` as it is between whole rates, else the nearest fraction."""
    if fs_from <= 0 or fs_to <= 0:
        raise ValueError(f"rates must be positive, not {fs_from} and {fs_to} Hz")
    exact = Fraction(fs_to) / fs_from
    if min(exact.as_integer_ratio()) <= LARGEST_TERM or (isinstance(fs_from, int) and isinstance(fs_to, int)):
        return exact
    return exact.limit_denominator(LARGEST_TERM) if exact > 1 else 1 / (1 / exact).limit_denominator(LARGEST_TERM)


def resampled_length(sig_len: int, fs_from: Rate, fs_to: Rate) -> int:
    """round(L * fs_to / fs_from), halves up."""
    up, down = resampling_ratio(fs_from, fs_to).as_integer_ratio()
    return (2 * sig_len * up + down) // (2 * down)


def reach(fs_from: Rate, fs_to: Rate) -> int:
    """How many input samples on either side of its place an output sample depends on at most."""
    up, down = resampling_ratio(fs_from, fs_to).as_integer_ratio()
    return 10 * max(up, down) // up + 1


def resample(signal: np.ndarray, fs_from: Rate, fs_to: Rate) -> tuple[np.ndarray, int]:
    """Resample int16 microvolts (C, L) from `fs_from` to `fs_to` Hz; also return how many samples were clipped.

    The numbers are those of `scipy.signal.resample_poly(..., padtype="line")` in float64: beyond its ends a signal goes
    on along the line from its first to its last sample, so that the ends do not ring. Gaps are filled by straight lines
    for the filter only: an output sample is missing when a missing input sample lies within half a step (of the
    coarser rate) of it.
    """
    up, down = resampling_ratio(fs_from, fs_to).as_integer_ratio()
    if up == down:
        return signal.copy(), 0
    length = resampled_length(signal.shape[1], fs_from, fs_to)
    if signal.size == 0 or length == 0:
        return np.empty((len(signal), length), np.int16), 0
    if signal.min() > MISSING:
        return _rounded(_filter(signal, up, down, length))
    missing = signal == MISSING
    there = np.flatnonzero(~missing.all(axis=1))
    values = signal[there].astype(np.float64)
    for row, absent in zip(values, missing[there], strict=True):
        if absent.any():
            row[absent] = np.interp(np.flatnonzero(absent), np.flatnonzero(~absent), row[~absent])
    whole = np.full((len(signal), length), np.nan)
    whole[there] = _filter(values, up, down, length)
    for row in there:
        if missing[row].any():
            whole[row, _covered(missing[row], up, down, length)] = np.nan
    return to_int16_uv(np.rint(whole))


def _rounded(values: np.ndarray) -> tuple[np.ndarray, int]:
    """`to_int16_uv` of numbers that are all there, which are rarely clipped."""
    np.rint(values, out=values)
    if max(-values.min(), values.max()) <= LARGEST_UV:
        return values.astype(np.int16), 0
    return to_int16_uv(values)


def _filter(values: np.ndarray, up: int, down: int, length: int) -> np.ndarray:
    """Filter (C, L) to float64 (C, length), by one product of a matrix with blocks of the input.

    A block of `step` input samples meets the outputs that lie over it and those over the block before, whose filters
    reach into it: each output is the sum of two parts. Float64, since the order of its sums, which differs between
    machines, then hardly ever shows in whole microvolts.
    """
    n_leads, sig_len = values.shape
    if sig_len == 1:
        return np.repeat(values.astype(np.float64), length, axis=1)
    n_blocks = _blocks(up, down)
    step, per_block = n_blocks * down, n_blocks * up
    if 2 * step * per_block > LARGEST_MATRIX:
        from scipy.signal import resample_poly  # slow to import
        whole = resample_poly(values.astype(np.float64), up, down, axis=1, window=_taps(up, down), padtype="line")
        return np.ascontiguousarray(whole[:, :length])
    before = 10 * max(up, down) // up
    n_out = -(-length // per_block)
    padded = np.empty((n_leads, (n_out + 1) * step))
    end = min(before + sig_len, padded.shape[1])
    padded[:, before:end] = values[:, :end - before]
    first, last = (values[:, [at]].astype(np.float64) for at in (0, -1))
    slope = (last - first) / (sig_len - 1)
    padded[:, :before] = first + slope * np.arange(-before, 0)
    padded[:, end:] = last + slope * np.arange(1, padded.shape[1] - end + 1)
    parts = padded.reshape(-1, step) @ _matrix(up, down)
    parts = parts.reshape(n_leads, n_out + 1, 2 * per_block)
    outputs = parts[:, :-1, :per_block] + parts[:, 1:, per_block:]
    return outputs.reshape(n_leads, n_out * per_block)[:, :length]


@lru_cache(maxsize=64)
def _blocks(up: int, down: int) -> int:
    """The fewest periods (`up` outputs to `down` inputs) whose filters reach no further than the block after theirs."""
    half, n_blocks = 10 * max(up, down), 1
    while half // up + ((n_blocks * up - 1) * down + half) // up + 1 > 2 * n_blocks * down:
        n_blocks += 1
    return n_blocks


@lru_cache(maxsize=8)
def _taps(up: int, down: int) -> np.ndarray:
    """The low-pass at the common rate, with a gain of 1: scipy's `firwin`, bit by bit, without the second that it takes
    to import `scipy.signal`."""
    from scipy.special import i0
    half, cutoff = 10 * max(up, down), 1 / max(up, down)
    at = np.arange(2 * half + 1, dtype=np.float64) - half
    window = i0(5.0 * np.sqrt(1 - (at / half) ** 2)) / i0(5.0)
    taps: np.ndarray = cutoff * np.sinc(cutoff * at) * window
    return taps / taps.sum()


@lru_cache(maxsize=8)
def _matrix(up: int, down: int) -> np.ndarray:
    """(step, 2 * per_block): what an input sample gives to the outputs over its block, and over the block before."""
    half = 10 * max(up, down)
    taps = up * _taps(up, down)
    n_blocks = _blocks(up, down)
    step, per_block = n_blocks * down, n_blocks * up
    # Input k of the two blocks lies at (k - before) * up of the common rate, output m at m * down.
    at = half + down * np.arange(per_block)[None] - up * (np.arange(2 * step)[:, None] - half // up)
    weights = np.where((at >= 0) & (at <= 2 * half), taps[np.clip(at, 0, 2 * half)], 0)
    return np.ascontiguousarray(np.concatenate([weights[:step], weights[step:]], axis=1))


def _covered(missing: np.ndarray, up: int, down: int, length: int) -> np.ndarray:
    """Which of `length` output samples, at input times j * down / up, a missing input sample touches."""
    # In units of 1 / (2 up) input samples everything is a whole number.
    time, half = 2 * down * np.arange(length), max(up, down)
    first = np.clip(-((half - time) // (2 * up)), 0, missing.size)
    last = np.clip((time + half) // (2 * up) + 1, 0, missing.size)
    before = np.concatenate([[0], np.cumsum(missing)])
    return before[last] > before[first]
