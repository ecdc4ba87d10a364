"""Two short texts by which a recording is recognised: `signal_hash` for equal bytes, `fingerprint` for nearly equal
signals.

The fingerprint is a random-projection hash (Charikar, "Similarity estimation techniques from rounding algorithms", STOC
2002): each of eight leads is multiplied with 16 fixed random waves between 2 and 20 Hz over its first five seconds, and
each sign is a bit. Signs do not change with gain, offset, baseline wander or resampling, and seldom with noise.
"""

from __future__ import annotations

import hashlib
import zlib
from functools import lru_cache

import numpy as np

from emgecg_cli.core.signals.leads import MISSING

# The leads from which the others follow, so that the way those were made does not count.
_LEADS = (0, 1, 6, 7, 8, 9, 10, 11)
BITS_PER_LEAD = 16
SECONDS = 5.0
LOWEST_HZ, HIGHEST_HZ = 2, 20
FEWEST_LEADS = 4
# Distances in bits, of real recordings: one change alone (rate, gain, offset, rounding, noise of 20 uV, a high-pass
# filter without phase) at most 7, the 100 Hz and 500 Hz copies of PTB-XL at most 11, an absent lead at most 14, all at
# once 11 in the median and 17 in 99 %. Of 455,000 pairs of others the nearest are 20 apart, the median 64.
NEAR_BITS = 18
_RATE = 100
_SCALE = 8


def signal_hash(signal: np.ndarray) -> str:
    """The first 16 hex digits of SHA-256 over int16 samples, (C, L) in C order: equal for equal recordings.

    "" for a signal in which no lead ever changes, which would equal others by chance.
    """
    first = signal[:, :1]
    if not signal.size or ((first[:, 0] == signal[:, -1]).all() and (first == signal).all()):
        return ""
    return hashlib.sha256(np.ascontiguousarray(signal, dtype="<i2").data).hexdigest()[:16]


def checksum(signal: np.ndarray) -> int:
    """CRC-32 of the same bytes: not an identity, but a check, in a third of the time, that a recording is
    unchanged."""
    return zlib.crc32(np.ascontiguousarray(signal, dtype="<i2").data)


def fingerprint(signal: np.ndarray, fs: int) -> str | None:
    """128 bits as 32 hex digits, nearly the same for the same recording at another rate, gain, offset or filtering.

    `signal` is int16 microvolts (12, L), missing = `MISSING`; four digits stand for each of I, II, V1 to V6. It covers
    the first five seconds: a window that begins elsewhere in a recording has another one. None when fewer than four of
    the leads change at all. The sums are exact whole numbers, so that every machine finds the same bits.
    """
    step = max(1, fs // _RATE)
    waves = _waves(fs, step)
    n = min(waves.shape[2], signal.shape[1] // step)
    leads = signal[_LEADS, :n * step]
    if not leads.size:
        return None
    if leads.min() == MISSING:
        leads = _without_gaps(leads)
    # Whole sums of `step` samples: the waves' own band leaves little of what this aliases.
    coarse = leads[:, ::step].astype(np.float64)
    for offset in range(1, step):
        coarse += leads[:, offset::step]
    if n < waves.shape[2]:
        waves = waves[:, :, :n]
        coarse -= np.rint(coarse.mean(axis=1, keepdims=True))
    sums = np.matmul(waves, coarse[:, :, None])[:, :, 0]
    if np.count_nonzero(sums.any(axis=1)) < FEWEST_LEADS:
        return None
    return np.packbits(sums > 0).tobytes().hex()


@lru_cache(maxsize=16)
def _waves(fs: int, step: int) -> np.ndarray:
    """The random waves, (8, 16, n) whole numbers as float64, at the middles of groups of `step` samples.

    Products with sums of int16 stay far below 2**53, where float64 adds whole numbers exactly in any order.
    """
    n = round(SECONDS * fs / step)
    times = (step * np.arange(n) + (step - 1) / 2) / fs
    cycles = np.arange(round(LOWEST_HZ * SECONDS), round(HIGHEST_HZ * SECONDS) + 1)
    draw = np.random.RandomState(2002)  # its stream is frozen for good
    weights = draw.standard_normal((2, len(_LEADS), BITS_PER_LEAD, len(cycles)))
    phase = 2 * np.pi * cycles[:, None] * times / SECONDS
    waves = (weights[0] @ np.cos(phase) + weights[1] @ np.sin(phase)) * np.sqrt(np.sin(np.pi * times / SECONDS))
    whole = np.rint(_SCALE * (waves - waves.mean(axis=-1, keepdims=True)))
    for wave in whole.reshape(-1, n):  # sums of exactly 0 make offsets count for nothing
        excess = int(wave.sum())
        wave[np.linspace(0, n - 1, abs(excess)).astype(int)] -= np.sign(excess)
    whole.flags.writeable = False
    return whole


def _without_gaps(leads: np.ndarray) -> np.ndarray:
    """Missing samples set to the mean of their lead, which then says nothing there."""
    gap = leads == MISSING
    values = np.where(gap, 0, leads).astype(np.int64)
    means = values.sum(axis=1) // np.maximum((~gap).sum(axis=1), 1)
    return np.where(gap, means[:, None], values)
