"""What levels may be, and noise of electrodes brought to a stated signal-to-noise ratio."""

from __future__ import annotations

import numpy as np

from emgecg_cli.core.errors import MedReportError

LARGEST_DB = 100.0
ELECTRODES = 9  # RA, LA, LL, V1–V6
_THIRD = -1 / 3
# the potentials of RA, LA and LL in the six limb leads; precordial leads are against the mean of all three
_LIMBS = np.array([[-1, 1, 0], [-1, 0, 1], [0, -1, 1], [1, -0.5, -0.5], [-0.5, 1, -0.5], [-0.5, -0.5, 1]])
OF_ELECTRODES = np.block([[_LIMBS, np.zeros((6, 6))], [np.full((6, 3), _THIRD), np.eye(6)]])


def check_snr(snr_db: float) -> None:
    """Raise MedReportError for a level beyond ±100 dB, where int16 microvolts hold either no noise or nothing else."""
    if not abs(snr_db) <= LARGEST_DB:
        raise MedReportError(f"a signal-to-noise ratio of {snr_db:g} dB", f"give one within +-{LARGEST_DB:g} dB")


def check_range(level: float, lowest: float, highest: float, what: str) -> None:
    """Raise MedReportError for a level that is no number from `lowest` to `highest`."""
    if not lowest <= level <= highest:
        raise MedReportError(f"{what} of {level:g}", f"give one from {lowest:g} to {highest:g}")


def check_whole(level: float, lowest: int, highest: int, what: str) -> int:
    """The level as a whole number; raises MedReportError for another one, or one out of range."""
    check_range(level, lowest, highest, what)
    if level != int(level):
        raise MedReportError(f"{what} of {level:g}", "give a whole number")
    return int(level)


def add_noise(signal: np.ndarray, potentials: np.ndarray, snr_db: float) -> np.ndarray:
    """Add noise of nine electrodes, (9, L), to a recording, float32 microvolts (12, L) with NaN for missing samples.

    All leads take it through the potentials they are made of, so that Einthoven's law still holds, and it is scaled as
    a whole: 10·log10(P_signal / P_noise) is `snr_db`, both powers summed over leads, that of the signal about each
    lead's mean. A recording without power comes back as it was.
    """
    check_snr(snr_db)
    values, noise = signal.astype(np.float64), OF_ELECTRODES @ potentials
    present = np.isfinite(values)
    count = np.maximum(present.sum(axis=1), 1)
    mean = np.where(present, values, 0).sum(axis=1) / count
    of_signal = (np.where(present, values - mean[:, None], 0) ** 2).sum(axis=1) / count
    of_noise = (np.where(present, noise, 0) ** 2).sum(axis=1) / count
    if not of_signal.sum() or not of_noise.sum():
        return values.astype(np.float32)
    scale = np.sqrt(of_signal.sum() / of_noise.sum() / 10 ** (snr_db / 10))
    return (values + scale * noise).astype(np.float32)


def band_noise(length: int, fs: int, low: float, high: float, slope: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise of each electrode between two frequencies in Hz, power falling as f^-slope; (9, L), zeros where a
    recording is too short, or its rate too low, to have any of them."""
    whole = 4 * length  # finer than the recording itself could tell, so that slow waves need not repeat in it
    frequencies = np.fft.rfftfreq(whole, 1 / fs)
    inside = (frequencies >= low) & (frequencies <= high)
    weights = np.where(inside, np.maximum(frequencies, low) ** (-slope / 2), 0)
    drawn = rng.standard_normal((2, ELECTRODES, len(frequencies)))
    return np.fft.irfft((drawn[0] + 1j * drawn[1]) * weights, whole, axis=1)[:, :length]
