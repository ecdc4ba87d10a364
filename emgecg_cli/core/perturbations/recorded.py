"""Noise as it was recorded: the three records of the MIT-BIH Noise Stress Test Database, in place of what is modelled.

`bw`, `em` and `ma` are half an hour each of baseline wander, electrode motion and muscle artefact, two channels at 360
Hz, recorded on limbs where no ECG is seen (Moody, Muldrow and Mark 1984).
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from emgecg_cli.core.datasets.formats.wfdb_files import RecordError
from emgecg_cli.core.datasets.formats.wfdb_formats import read_stored
from emgecg_cli.core.datasets.formats.wfdb_headers import read_header
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.perturbations.levels import ELECTRODES
from emgecg_cli.core.signals.resampling import resample

RECORDS = {"baseline-wander": "bw", "electrode-motion": "em", "muscle": "ma"}
_PER_UNIT = 5.0  # microvolts: the records say 200 units per millivolt, and nothing depends on it but rounding


def read_noise(root: Path, kind: str, fs: int) -> np.ndarray:
    """The recorded noise of a kind at `fs` Hz, int16 (channels, T).

    Raises MedReportError where the record is not there or cannot be read, and for a kind that has none.
    """
    record = RECORDS.get(kind)
    if record is None:
        raise MedReportError(f"--noise-root has no effect on {kind}", f"it serves {', '.join(RECORDS)}")
    try:
        header = read_header(root, record)
        stored = np.stack([np.asarray(signal, np.float64) for signal in read_stored(header).signals])
    except (RecordError, ValueError, OSError) as error:
        why = f"{error.reason}, {error.detail}" if isinstance(error, RecordError) else str(error)
        raise MedReportError(f"{root / record}: no recorded noise can be read ({why})",
                             "--noise-root is the folder of the MIT-BIH Noise Stress Test Database with bw, em and ma "
                             "(physionet.org/content/nstdb); without it noise is modelled") from None
    noise = np.clip(_PER_UNIT * (stored - stored.mean(axis=1, keepdims=True)), -32767, 32767).round().astype(np.int16)
    return resample(noise, header.rate(), fs)[0]


def digest(noise: np.ndarray) -> str:
    """SHA-256 of the samples."""
    return hashlib.sha256(np.ascontiguousarray(noise).tobytes()).hexdigest()


def excerpts(noise: np.ndarray, length: int, rng: np.random.Generator) -> np.ndarray:
    """Potentials of the nine electrodes, (9, length): each another stretch of one of the channels (channels, T), either
    way up, about its mean. A recording that is longer than the noise goes through it again."""
    starts, channels = rng.integers(noise.shape[1], size=ELECTRODES), rng.integers(len(noise), size=ELECTRODES)
    signs = rng.choice([-1.0, 1.0], ELECTRODES)
    at = (starts[:, None] + np.arange(length)) % noise.shape[1]
    drawn = noise[channels[:, None], at] * signs[:, None]
    return drawn - drawn.mean(axis=1, keepdims=True)
