"""How many pages of ECG paper of 2200 × 1700 pixels one core draws in a second, clean and distorted.

    OMP_NUM_THREADS=1 python benchmarks/pages_speed.py [--pages N] [--rounds N] [--least N] [--smallest]

int16 (12, 5000) in, RGB pixels out, in processor time, so that other work on the machine counts less. The distortions
and the preparation for image encoders are in milliseconds for one page. Exit status 1 when the slowest layout is below
`--least` (8).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from measure_speed import FS, read_signals

from emgecg_cli.core import names
from emgecg_cli.core.signals.paper import LAYOUTS
from emgecg_cli.core.signals.paper.distortions import distort
from emgecg_cli.core.signals.paper.images import MODES, prepare_image
from emgecg_cli.core.signals.paper.sheet import render_page


def seconds(work: Callable[[], Any], rounds: int) -> float:
    """Processor time of the best round."""
    best = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return best


def main() -> int:
    """Measure, print, and say by the exit status whether it is fast enough."""
    parser = argparse.ArgumentParser(description="How fast pages are drawn.")
    parser.add_argument("--pages", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--least", type=float, default=8)
    parser.add_argument("--smallest", action="store_true", help="as little as runs through it all: no measurement")
    given = parser.parse_args()
    if given.smallest:
        given.pages, given.rounds, given.least = 1, 1, 0
    signals = read_signals(None, given.pages)
    page = render_page(signals[0], FS)
    print(f"{len(signals)} pages of {page.shape[1]} × {page.shape[0]}, {given.rounds} rounds, one core")
    slowest = float("inf")
    for layout in LAYOUTS:
        spent = seconds(lambda layout=layout: [render_page(one, FS, layout=layout) for one in signals],  # type: ignore[misc]
                        given.rounds)
        slowest = min(slowest, len(signals) / spent)
        print(f"{len(signals) / spent:8.1f} pages/s, {layout}")
    for name in names.choices("distortion"):
        print(f"{1000 * seconds(partial(distort, page, [name], 0), given.rounds):8.0f} ms  {name}")
    everything = seconds(lambda: [render_page(one, FS, distortions=names.choices("distortion")) for one in signals],
                         given.rounds)
    print(f"{len(signals) / everything:8.1f} pages/s, 3x4 with all of them")
    for mode in MODES:
        print(f"{1000 * seconds(partial(prepare_image, page, mode), given.rounds):8.0f} ms  prepared as {mode}")
    return 0 if slowest >= given.least else 1


if __name__ == "__main__":
    sys.exit(main())
