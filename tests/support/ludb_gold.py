"""The gold standard of intervals: cardiologists' annotations of LUDB, one value per beat as the median of its leads.

Kalyakulina et al., "LUDB: a new open-access validation tool for electrocardiogram delineation algorithms", IEEE Access
2020. Each lead is annotated by itself; a fiducial of a beat counts when at least six leads have it. The first and last
beats of a recording are often not annotated, and a beat may lack P or T.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from emgecg_cli.core.datasets.formats.wfdb_headers import read_header
from emgecg_cli.core.datasets.formats.wfdb_records import read_leads
from emgecg_cli.core.signals.leads import LEADS

FS = 500
FIDUCIALS = ("p_on", "p_off", "qrs_on", "r", "qrs_off", "t_off")
LEAST_LEADS = 6
SAME_BEAT_S = 0.15
_SYMBOLS = {1: "N", 24: "p", 27: "t", 39: "(", 40: ")"}
_SKIP, _AUXILIARY = 59, 63


@dataclass(frozen=True)
class Gold:
    """One record. `beats` (n, len(FIDUCIALS)) in samples, NaN where fewer than six leads have it; `lead_peaks` are the
    annotated R peaks of each lead."""

    name: str
    signal: np.ndarray
    beats: np.ndarray
    lead_peaks: tuple[np.ndarray, ...]

    def interval(self, start: str, end: str) -> float | None:
        """Median over the beats of end minus start in milliseconds; None where no beat has both."""
        return _median_ms(self.beats[:, FIDUCIALS.index(end)] - self.beats[:, FIDUCIALS.index(start)])

    @property
    def r(self) -> np.ndarray:
        """R peak of each annotated beat in samples, the median of the leads."""
        return self.beats[:, FIDUCIALS.index("r")]

    @property
    def pr_ms(self) -> float | None:
        return self.interval("p_on", "qrs_on")

    @property
    def p_ms(self) -> float | None:
        return self.interval("p_on", "p_off")

    @property
    def qrs_ms(self) -> float | None:
        return self.interval("qrs_on", "qrs_off")

    @property
    def qt_ms(self) -> float | None:
        return self.interval("qrs_on", "t_off")


def read_gold(root: Path) -> list[Gold]:
    """Every record of a LUDB folder, by number."""
    names = sorted((path.stem for path in (root / "data").glob("*.hea")), key=int)
    return [_read_record(root / "data" / name) for name in names]


@lru_cache(maxsize=256)
def _read_record(path: Path) -> Gold:
    leads = [_read_lead(path, lead.lower()) for lead in LEADS]
    everything = np.concatenate(leads)
    everything = everything[np.argsort(everything[:, FIDUCIALS.index("r")])]
    peaks = everything[:, FIDUCIALS.index("r")]
    starts = np.flatnonzero(np.diff(peaks, prepend=-np.inf) > SAME_BEAT_S * FS)
    beats = np.array([_median_of_leads(beat) for beat in np.split(everything, starts[1:])])
    kept = np.isfinite(beats[:, FIDUCIALS.index("r")])
    header = read_header(path.parent, path.name)
    return Gold(path.name, read_leads(header).signal, beats[kept], tuple(lead[:, 3] for lead in leads))


def read_annotations(path: Path) -> tuple[list[str], list[int]]:
    """Symbols and samples of a file of MIT annotations; `wfdb.rdann` reads 1,200 of them in five seconds."""
    symbols, samples, sample, i = [], [], 0, 0
    words = np.fromfile(path, "<u2").tolist()
    while words[i]:
        code, value = words[i] >> 10, words[i] & 1023
        i += 1
        if code == _SKIP:
            sample += (words[i] << 16) + words[i + 1]
            i += 2
        elif code == _AUXILIARY:
            i += (value + 1) // 2
        elif code in _SYMBOLS:
            sample += value
            symbols.append(_SYMBOLS[code])
            samples.append(sample)
    return symbols, samples


def _read_lead(path: Path, extension: str) -> np.ndarray:
    """The annotated beats of one lead (n, len(FIDUCIALS)): each `( N )` with the `( p )` before it and the `( t )`
    after it."""
    symbols, samples = read_annotations(path.with_suffix(f".{extension}"))
    waves = [(symbols[i], float(samples[i]), _bracket(symbols, samples, i, -1), _bracket(symbols, samples, i, 1))
             for i in range(len(symbols)) if symbols[i] in "pNt"]
    beats = []
    for i, (kind, peak, on, off) in enumerate(waves):
        if kind != "N":
            continue
        before = waves[i - 1] if i and waves[i - 1][0] == "p" else None
        after = waves[i + 1] if i + 1 < len(waves) and waves[i + 1][0] == "t" else None
        p_on, p_off = (before[2], before[3]) if before else (np.nan, np.nan)
        beats.append((p_on, p_off, on, peak, off, after[3] if after else np.nan))
    return np.array(beats, float).reshape(-1, len(FIDUCIALS))


def _bracket(symbols: list[str], samples: list[int], i: int, step: int) -> float:
    j = i + step
    return float(samples[j]) if 0 <= j < len(symbols) and symbols[j] == ("(" if step < 0 else ")") else np.nan


def _median_of_leads(beat: np.ndarray) -> np.ndarray:
    counts = np.isfinite(beat).sum(axis=0)
    values = [np.nanmedian(column) if n >= LEAST_LEADS else np.nan
              for n, column in zip(counts, beat.T, strict=True)]
    return np.array(values)


def _median_ms(samples: np.ndarray) -> float | None:
    found = samples[np.isfinite(samples)]
    return float(np.median(found)) * 1000 / FS if found.size else None
