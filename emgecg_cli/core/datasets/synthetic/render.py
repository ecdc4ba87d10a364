"""From hearts and beats to twelve leads: the dipole over time, seen through Dower's matrix, plus noise.

Waves are evaluated in continuous time, so that a record is the same ECG at any sampling rate; only the noise differs.
The eight leads I, II and V1 to V6 are measured (Dower, Machado, Osborne 1980); III and the augmented leads are computed
from the measured I and II, so that Einthoven's and Goldberger's equations hold to the rounding of one microvolt.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from emgecg_cli.core.datasets.synthetic.heart import Hearts, P, Q, S, T
from emgecg_cli.core.datasets.synthetic.rhythm import SECONDS, Beats

# I, II, V1 ... V6 from Frank's x, y, z
DOWER = np.array(
    [
        [0.632, -0.235, 0.059],
        [0.235, 1.066, -0.132],
        [-0.515, 0.157, -0.917],
        [0.044, 0.164, -1.387],
        [0.882, 0.098, -1.277],
        [1.213, 0.127, -0.601],
        [1.125, 0.127, -0.086],
        [0.831, 0.076, 0.230],
    ],
    np.float32,
)
MAINS_HZ = 50
LOWEST_FS_WITH_MAINS = 120  # below, an acquisition filter would have removed it

# the beats that can reach a sample, counted from the next one, and which of their waves can
_REACH = ((-2, slice(T, None)), (-1, slice(Q, None)), (0, slice(P, S + 1)))
_ECTOPIC_CENTRE = np.array([0.0, 0.05, 0.30], np.float32)
_ECTOPIC_WIDTH = np.array([0.028, 0.030, 0.060], np.float32)
_FIBRILLATION_VECTOR = np.array([0.2, 0.6, -0.9], np.float32)
_FAR = np.float32(9)  # seconds from any wave: its Gaussian is exactly zero


def render(
    hearts: Hearts, beats: Beats, rows: slice, fs: int, noise: Sequence[np.random.Generator] | None
) -> np.ndarray:
    """Render the records `rows`: int16 microvolts (n, 12, SECONDS * fs), leads in the order of `signals.leads.LEADS`.

    `noise` holds a generator for each of the records; None renders them without wander, muscle noise and mains.
    """
    t = np.arange(SECONDS * fs, dtype=np.float64) / fs
    dipole = _dipole(hearts, beats, rows, t)
    dipole += _fibrillation(hearts, rows, t)
    leads = DOWER @ dipole
    if noise is not None:
        _add_noise(leads, hearts, rows, t, fs, noise)
    return _twelve_leads(leads)


def _dipole(hearts: Hearts, beats: Beats, rows: slice, t: np.ndarray) -> np.ndarray:
    """The heart vector (n, 3, L) in millivolts, float32."""
    times, ectopic = beats.times[rows], beats.ectopic[rows]
    n = len(times)
    record = np.arange(n)[:, None]
    upcoming = np.stack([np.searchsorted(own, t) for own in times])
    dipole = np.zeros((n, 3, len(t)), np.float32)
    for offset, waves in _REACH:
        beat = upcoming + offset
        since = (t - times[record, beat]).astype(np.float32)
        of_ectopic = ectopic[record, beat]
        dipole += _gaussians(
            np.where(of_ectopic, _FAR, since),
            hearts.amplitude[rows, waves],
            hearts.centre[rows, waves],
            hearts.width[rows, waves],
        )
        some = np.flatnonzero(ectopic.any(axis=1))
        dipole[some] += _gaussians(
            np.where(of_ectopic, since, _FAR)[some],
            hearts.ectopic_amplitude[rows][some],
            np.tile(_ECTOPIC_CENTRE, (len(some), 1)),
            np.tile(_ECTOPIC_WIDTH, (len(some), 1)),
        )
    return dipole


def _gaussians(since: np.ndarray, amplitude: np.ndarray, centre: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Sum of J waves: times (n, L), amplitudes (n, J, 3), centres and widths (n, J) -> (n, 3, L)."""
    height = since[:, None, :] - centre[:, :, None]
    height *= 1 / width[:, :, None]
    height *= height
    height *= np.float32(-0.5)
    np.exp(height, out=height)
    return amplitude.transpose(0, 2, 1) @ height


def _fibrillation(hearts: Hearts, rows: slice, t: np.ndarray) -> np.ndarray:
    """Fibrillatory waves (n, 3, L): an unsteady oscillation, strongest over the right atrium (V1)."""
    every_size = hearts.fibrillation_size[rows]
    waves = np.zeros((len(every_size), 3, len(t)), np.float32)
    some = np.flatnonzero(every_size)
    size = every_size[some, None]
    rate = hearts.fibrillation_rate[rows][some, None]
    phase = hearts.fibrillation_phase[rows][some, None]
    angle = 2 * np.pi * rate * t + 1.5 * np.sin(2 * np.pi * (0.9 * t + phase))
    course = size * (np.sin(angle) + 0.4 * np.sin(1.7 * angle + 1))
    waves[some] = course.astype(np.float32)[:, None, :] * _FIBRILLATION_VECTOR[:, None]
    return waves


def _add_noise(
    leads: np.ndarray, hearts: Hearts, rows: slice, t: np.ndarray, fs: int, noise: Sequence[np.random.Generator]
) -> None:
    """Add baseline wander, muscle noise and mains hum to (n, 8, L) in place, millivolts."""

    def turning(rate: np.ndarray, phase: np.ndarray) -> np.ndarray:
        turns = (rate[:, :, None] * t + phase[:, :, None]) % 1.0
        return np.sin((2 * np.pi * turns).astype(np.float32))

    wander = turning(hearts.wander_rate[rows], hearts.wander_phase[rows])
    leads += hearts.wander_size[rows].astype(np.float32)[:, :, None] * wander
    for lead, size, rng in zip(leads, hearts.muscle[rows], noise, strict=True):
        lead += np.float32(size) * rng.standard_normal(lead.shape, np.float32)
    if fs > LOWEST_FS_WITH_MAINS:
        phase = hearts.mains_phase[rows]
        hum = turning(np.full(phase.shape, MAINS_HZ), phase)
        leads += hearts.mains_size[rows].astype(np.float32)[:, None, None] * hum


def _twelve_leads(measured: np.ndarray) -> np.ndarray:
    """Millivolts in I, II, V1 ... V6 (n, 8, L) to int16 microvolts in all twelve leads (n, 12, L)."""
    microvolts = np.rint(1000 * measured)
    one, two = microvolts[:, 0], microvolts[:, 1]
    out = np.empty((len(microvolts), 12, microvolts.shape[-1]), np.int16)
    out[:, 0], out[:, 1], out[:, 2] = one, two, two - one
    out[:, 3] = np.rint(-(one + two) / 2)
    out[:, 4] = np.rint(one - two / 2)
    out[:, 5] = np.rint(two - one / 2)
    out[:, 6:] = microvolts[:, 2:]
    return out
