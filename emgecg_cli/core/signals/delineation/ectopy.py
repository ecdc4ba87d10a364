"""Which beats are ectopic: of another shape than the heart's own beats, or too early in a regular rhythm."""

from __future__ import annotations

import numpy as np

from emgecg_cli.core.signals.delineation.filters import GRID_FS
from emgecg_cli.core.signals.delineation.quantiles import median
from emgecg_cli.core.signals.delineation.rhythm import Rhythm
from emgecg_cli.core.signals.delineation.shapes import Shapes

# As a part of how alike the beats of the shape are: noise makes them all less so.
_UNLIKE = 0.85
_EARLY, _PAUSE = 0.80, 0.95


def find_ectopic(shapes: Shapes, rhythm: Rhythm) -> np.ndarray:
    """Which beats are ectopic (n,). One whose place is not known, at an end of the recording, is never called so."""
    usual = median(shapes.likeness[shapes.alike]) if shapes.alike.any() else 1.0
    other = shapes.likeness < _UNLIKE * usual
    early = np.zeros(len(other), bool)
    if rhythm.regular is not False and len(other) > 2:
        rr = np.diff(shapes.r) / GRID_FS / rhythm.typical_rr_s
        early[1:-1] = (rr[:-1] < _EARLY) & (rr[1:] > _PAUSE) & ~other[:-2]
    return (other | early) & ~shapes.lost
