"""How the heart looks: the waves of each record as Gaussians in time, each with a fixed direction in space.

The heart is one dipole in Frank's coordinates (x left, y down, z back; millivolts). A beat is the sum of P, q, R, S,
R', two bumps that make the ST segment, and T. Between normal and abnormal lies a gap in every parameter (PR 0.12 to
0.185 s against 0.225 to 0.32 s, QTc 0.37 to 0.43 s against 0.49 to 0.56 s, and so on), so that the findings of a record
are never in doubt. Patients keep their morphology: their records differ from each other by a part of the range only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

P, Q, R, S, R2, ST1, ST2, T = range(8)
N_WAVES = 8

# direction of the ST vector that makes each change, in millivolts per millivolt of its size
_ST_VECTORS = {
    "ste_inf": (-0.02, 1.0, 0.0),
    "ste_ant": (0.1, 0.0, -1.0),
    "ste_lat": (1.0, -0.2, 0.1),
    "std_inf": (0.0, -1.0, 0.0),
    "std_ant": (-0.1, 0.0, 1.0),
    "std_lat": (-1.0, 0.1, -0.1),
}
_ALIKE = 0.25  # how far, as a part of its range, a parameter may move between two records of a patient

Has = Mapping[str, np.ndarray]
Uniform = Callable[..., np.ndarray]


@dataclass(frozen=True)
class Hearts:
    """The waves and the disturbances of n records. Amplitudes in millivolts, times in seconds, rates in hertz.

    `amplitude` (n, N_WAVES, 3), `centre` and `width` (n, N_WAVES): one Gaussian per wave, times from the R peak.
    `ectopic_amplitude` (n, 3, 3): QRS in two parts and T of a ventricular ectopic. `fibrillation_*` (n,): waves of the
    fibrillating atria, of no size in sinus rhythm. `wander_*` (n, 8): baseline wander per measured lead. `muscle` (n,):
    size of the white noise. `mains_size` (n,) and `mains_phase` (n, 8): the mains hum. Phases are in turns.
    """

    amplitude: np.ndarray
    centre: np.ndarray
    width: np.ndarray
    ectopic_amplitude: np.ndarray
    fibrillation_size: np.ndarray
    fibrillation_rate: np.ndarray
    fibrillation_phase: np.ndarray
    wander_size: np.ndarray
    wander_rate: np.ndarray
    wander_phase: np.ndarray
    muscle: np.ndarray
    mains_size: np.ndarray
    mains_phase: np.ndarray


def draw_hearts(has: Has, rr: np.ndarray, patient: np.ndarray, rng: np.random.Generator) -> Hearts:
    """Draw the hearts of n records: findings code -> (n,) bool, mean RR in seconds (n,), index of the patient (n,)."""
    n = len(patient)
    uniform = _patient_uniform(patient, rng)
    gain = np.select([has["lvh"], has["lowv"]], [uniform(1.75, 2.4), uniform(0.26, 0.42)], uniform(0.8, 1.2))
    amplitude = np.zeros((n, N_WAVES, 3))
    centre = np.zeros((n, N_WAVES))
    width = np.full((n, N_WAVES), 0.02)
    waves = (amplitude, centre, width)
    _draw_atria(waves, has, uniform)
    _draw_ventricles(waves, has, gain, uniform)
    _draw_repolarisation(waves, has, rr, uniform)
    return Hearts(
        amplitude=amplitude.astype(np.float32),
        centre=centre.astype(np.float32),
        width=width.astype(np.float32),
        ectopic_amplitude=_draw_ectopic(amplitude[:, R], gain, patient, rng).astype(np.float32),
        fibrillation_size=np.where(has["afib"], rng.uniform(0.03, 0.08, n), 0.0),
        fibrillation_rate=rng.uniform(4.5, 8.0, n),
        fibrillation_phase=rng.random(n),
        wander_size=rng.uniform(0.01, 0.10, (n, 8)),
        wander_rate=rng.uniform(0.08, 0.40, (n, 8)),
        wander_phase=rng.random((n, 8)),
        muscle=rng.uniform(0.004, 0.025, n),
        mains_size=rng.uniform(0.0, 0.015, n),
        mains_phase=rng.random((n, 8)),
    )


def _patient_uniform(patient: np.ndarray, rng: np.random.Generator) -> Uniform:
    """A function (low, high) -> (n,) or (low, high, k) -> (n, k): uniform, and alike in the records of a patient."""
    n_patients = int(patient.max()) + 1

    def uniform(low: float, high: float, *shape: int) -> np.ndarray:
        place = rng.random((n_patients, *shape))[patient]
        place = np.abs(place + _ALIKE * rng.uniform(-1, 1, (len(patient), *shape)))
        place = 1 - np.abs(1 - place)  # reflected at both ends, so it stays uniform and inside the range
        return low + (high - low) * place

    return uniform


def _vectors(x: object, y: object, z: object, n: int) -> np.ndarray:
    return np.stack([np.broadcast_to(np.asarray(part, float), n) for part in (x, y, z)], axis=-1)


def _draw_atria(waves: tuple[np.ndarray, ...], has: Has, uniform: Uniform) -> None:
    """The P wave, and through its distance from the R peak the PR interval; none in atrial fibrillation."""
    amplitude, centre, width = waves
    size = uniform(0.85, 1.35) * ~has["afib"] * np.where(has["lowv"], 0.7, 1.0)
    amplitude[:, P] = np.array([0.07, 0.13, -0.03]) * size[:, None]
    pr = np.where(has["avb1"], uniform(0.225, 0.32), uniform(0.12, 0.185))
    centre[:, P] = -pr + 0.035
    width[:, P] = uniform(0.018, 0.024)


def _draw_ventricles(waves: tuple[np.ndarray, ...], has: Has, gain: np.ndarray, uniform: Uniform) -> None:
    """q, R, S and R': voltage, frontal axis, and the wide complexes of the bundle branch blocks."""
    amplitude, centre, width = waves
    n, left, right = len(gain), has["lbbb"], has["rbbb"]
    degrees = np.select([has["lad"], has["rad"]], [uniform(-75, -38), uniform(108, 150)], uniform(5, 75))
    axis = np.deg2rad(degrees)

    amplitude[:, Q] = _vectors(-0.12, -0.02, -0.16, n) * (gain * uniform(0.5, 1.3) * ~left)[:, None]
    centre[:, Q], width[:, Q] = -0.022, 0.008

    size = np.where(left, 0.85, 1.0) * gain
    down = size * np.sin(axis) * np.where(left, 0.6, 1.0)
    back = size * np.where(left, 0.55, 0.12) + uniform(-0.1, 0.1) * np.minimum(gain, 1)
    amplitude[:, R] = _vectors(size * np.cos(axis), down, back, n)
    width[:, R] = np.where(left, 0.022, uniform(0.010, 0.013))

    narrow = _vectors(-0.15, -0.10, 0.50, n) * (gain * uniform(0.8, 1.2))[:, None]
    amplitude[:, S] = np.where(left[:, None], 0.8 * amplitude[:, R], narrow)
    centre[:, S], width[:, S] = np.where(left, 0.055, 0.028), np.where(left, 0.022, 0.012)

    late = np.sqrt(gain) * uniform(0.8, 1.2) * right
    amplitude[:, R2] = _vectors(-0.5, -0.05, -0.5, n) * late[:, None]
    centre[:, R2], width[:, R2] = 0.065, 0.018


def _draw_repolarisation(waves: tuple[np.ndarray, ...], has: Has, rr: np.ndarray, uniform: Uniform) -> None:
    """The ST segment as two overlapping bumps, and the T wave, whose end makes the QT interval (Bazett)."""
    amplitude, centre, width = waves
    n, left, right = len(rr), has["lbbb"], has["rbbb"]
    qrs_end = np.select([left, right], [0.10, 0.095], 0.045)
    st = sum((has[code][:, None] * np.array(vector) for code, vector in _ST_VECTORS.items()), np.zeros((n, 3)))
    st = st * uniform(0.14, 0.30)[:, None] + left[:, None] * np.array([-0.10, 0.0, -0.10])
    for wave, delay in ((ST1, 0.03), (ST2, 0.09)):
        amplitude[:, wave], centre[:, wave], width[:, wave] = st, qrs_end + delay, 0.03

    t_left, t_down, t_back = uniform(0.16, 0.28), uniform(0.14, 0.24), uniform(-0.20, -0.08)
    t = _vectors(t_left, t_down, t_back, n) * np.where(left, -0.9, 1.0)[:, None]
    t[:, 0] *= np.where(has["twi_lat"], -1.1, 1.0)
    t[:, 1] *= np.where(has["twi_inf"], -1.2, 1.0)
    t[:, 2] = np.where(has["twi_ant"], uniform(0.22, 0.34), t[:, 2] * np.where(right, 0.5, 1.0))
    amplitude[:, T] = t * np.select([has["lowv"], has["lvh"]], [0.55, 1.15], 1.0)[:, None]
    qtc = np.where(has["lqt"], uniform(0.49, 0.56), uniform(0.37, 0.43))
    width[:, T] = 0.045 * np.sqrt(rr) * uniform(0.9, 1.1)
    peak = qtc * np.sqrt(rr) - 0.03 - 2 * width[:, T] + np.where(left | right, 0.04, 0.0)
    centre[:, T] = np.maximum(peak, qrs_end + 0.08)


def _draw_ectopic(own: np.ndarray, gain: np.ndarray, patient: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """QRS and opposite T of the ventricular ectopic (n, 3, 3), in the half-space away from the patient's own R wave."""
    n_patients = int(patient.max()) + 1
    direction = (rng.standard_normal((n_patients, 3)) * [1.0, 1.0, 0.7])[patient]
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    forward = own / np.linalg.norm(own, axis=1, keepdims=True)
    along = np.sum(direction * forward, axis=1, keepdims=True)
    direction = direction - (along + np.abs(along)) * forward
    size = np.sqrt(gain)[:, None, None]
    return size * np.stack([1.3 * direction, 0.9 * direction, -0.5 * direction], axis=1)
