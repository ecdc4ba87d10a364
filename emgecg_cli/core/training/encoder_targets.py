"""Direct supervision of the encoder: what its features should predict besides the report.

Not part of any published fusion: a small backbone that learns from scratch reads nothing in minutes without it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from emgecg_cli.core.errors import MedReportError

LOSSES = ("none", "labels", "words")
LEAST_RECORDS = 5


def encoder_targets(kind: str, codes: Sequence[Sequence[str]], tokens: Sequence[Sequence[int]]) \
        -> tuple[list[str], np.ndarray]:
    """Names of the targets and a float32 0/1 matrix (records, targets) for the training records.

    "labels": the records' codes. "words": which tokens a report holds. Those of fewer than 5 records, or of all, are
    left out. Raises MedReportError when none remains.
    """
    if kind not in LOSSES:
        raise MedReportError(f"no encoder loss '{kind}'", f"available: {', '.join(LOSSES)}")
    if kind == "none":
        return [], np.zeros((len(codes), 0), np.float32)
    bags = [set(c) for c in codes] if kind == "labels" else [set(map(str, t)) for t in tokens]
    counts = Counter(item for bag in bags for item in bag)
    chosen = sorted(item for item, count in counts.items() if LEAST_RECORDS <= count < len(bags))
    if not chosen:
        what = "code" if kind == "labels" else "word"
        raise MedReportError(f"encoder loss '{kind}': no {what} occurs in {LEAST_RECORDS} of the {len(bags)} training "
                             "records", f"give --encoder-loss {'words, or none' if kind == 'labels' else 'none'}")
    return chosen, np.array([[item in bag for item in chosen] for bag in bags], np.float32)
