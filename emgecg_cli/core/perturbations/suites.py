"""Suites: perturbations with their levels that are made together, from mild to severe."""

from __future__ import annotations

SUITES: dict[str, dict[str, tuple[float, ...]]] = {
    "robustness": {
        "gaussian": (20.0, 10.0, 5.0, 0.0),
        "baseline-wander": (10.0, 0.0, -10.0),
        "muscle": (20.0, 10.0, 0.0),
        "electrode-motion": (10.0, 0.0, -10.0),
        "mains": (20.0, 10.0, 0.0),
        "lead-drop": (1.0, 3.0, 6.0),
        "lead-swap": (1.0, 3.0),
        "limb-reversal": (1.0, 2.0, 3.0),
        "polarity": (1.0, 12.0),
        "gain": (0.5, 2.0),
        "clipping": (0.5,),
        "time-shift": (1.0,),
        "resampling-error": (5.0, 25.0),
    },
}
