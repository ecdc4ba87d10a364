"""How fast the EMG encoder is: all values of a batch of cases at once, beside a loop over the values.

    python benchmarks/emg_speed.py [--cases N] [--values N] [--rounds N] [--smallest]

16 cases of 33 values (as many as a case of ETM-17k has on average), a vocabulary of 32,000 words of width 4096 with
random embeddings in float32, the encoder's published sizes, one thread. Both sides have the keys and values of the
prototypes from the cache: without it the loop would make them anew for each value, as the released code does, and lose
by far more; what making them once costs is printed beside, as the released formula has it (prototypes first) and as it
is done here. Both start from arrays, end with the signal tokens that `splice` takes (16, 66, 4096), and take turns; the
medians of processor time are compared. The aim: the batch >= 20 times the loop's values a second. On a GPU the same, by
wall clock, with embeddings in bfloat16.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from emgecg_cli.core.inputs.sources import ValueSource
from emgecg_cli.core.models.encoders.emg_alignment import EmgAlignment

VOCABULARY, WIDTH = 32_000, 4096


def cases(number: int, values: int) -> list[np.ndarray]:
    """Reference matrices (values, 3, 7) of made-up cases; their numbers do not matter for the speed."""
    rng = np.random.default_rng(0)
    middle = rng.uniform(3, 60, (number, values, 1))
    step = np.linspace(0.2, 0.08, 7) * middle
    x = np.repeat(middle * rng.uniform(0.6, 1.4, middle.shape), 7, 2)
    return list(np.stack([middle + step, x, middle - step], 2).astype(np.float32))


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Processor time on a CPU, which others' load does not change much; wall clock on a GPU."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    if device.type == "cuda":
        torch.cuda.synchronize()
    began = clock()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - began


def as_released(encoder: EmgAlignment, words: Tensor) -> Tensor:
    """Keys and values by way of the prototypes (192, D)."""
    prototypes = encoder.prototypes.weight @ words.to(encoder.prototypes.weight.dtype)
    prototypes = prototypes + encoder.prototypes.bias[:, None]
    return torch.cat([encoder.key(prototypes), encoder.value(prototypes)], 1)


@torch.no_grad()
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Speed of the EMG encoder: a batch beside a loop over its values.")
    parser.add_argument("--cases", type=int, default=16)
    parser.add_argument("--values", type=int, default=33)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--smallest", action="store_true", help="as little as runs through it all: no measurement")
    given = parser.parse_args()
    vocabulary, width = VOCABULARY, WIDTH
    if given.smallest:
        given.cases, given.values, given.rounds, vocabulary, width = 2, 3, 1, 1500, 64
    torch.manual_seed(0)
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    words = 0.02 * torch.randn(vocabulary, width, device=device)
    words = words.bfloat16() if device.type == "cuda" else words
    with device:
        encoder = EmgAlignment(words).eval()
    records = cases(given.cases, given.values)

    def loop() -> Tensor:
        return torch.stack([torch.cat([encoder(torch.from_numpy(value[None]).to(device))[0] for value in record])
                            for record in records])

    def batch() -> Tensor:
        padded = torch.from_numpy(ValueSource.stack(records)).to(device)
        return encoder.encode_records(padded, ~padded.isnan().flatten(2).all(2))[0]

    torch.testing.assert_close(batch(), loop(), atol=1e-5, rtol=1e-4)
    works: dict[str, Callable[[], Tensor]] = {"loop": loop, "batch": batch}
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(given.rounds):
        for name, work in works.items():
            times[name].append(seconds(work, device))
    spent = {name: statistics.median(listed) for name, listed in times.items()}
    print(f"{given.cases} cases of {given.values} values, vocabulary {vocabulary:,} x {width} ({words.dtype}), "
          f"prototypes cached on both sides, {device.type}, one thread, median of {given.rounds} rounds")
    for name, taken in spent.items():
        print(f"{name:>10}: {1000 * taken:.1f} ms, {given.cases * given.values / taken:,.0f} values/s, "
              f"{given.cases / taken:,.1f} cases/s")
    print(f"batch ÷ loop: {spent['loop'] / spent['batch']:.1f} times the values/s (aim: at least 20)")
    made = {"released": as_released(encoder, words), "here": encoder._project(words)}
    torch.testing.assert_close(made["here"], made["released"], atol=0.02, rtol=0.02)
    costs = {"released": min(seconds(lambda: as_released(encoder, words), device) for _ in range(3)),
             "here": min(seconds(lambda: encoder._project(words), device) for _ in range(3))}
    print(f"making the prototypes' keys and values once: {1000 * costs['released']:.1f} ms by the released formula, "
          f"{1000 * costs['here']:.1f} ms here ({costs['released'] / costs['here']:.1f} times as fast); the "
          f"released code makes them for each value: {given.cases * given.values * costs['released']:.0f} s a batch")


if __name__ == "__main__":
    main()
