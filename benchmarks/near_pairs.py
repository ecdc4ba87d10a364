"""Finding nearly equal recordings among 100,000, 400,000 and 800,000, and how the time grows.

    python benchmarks/near_pairs.py [--records 100000 400000 800000] [--smallest]

Fingerprints are random, and of every hundredth there is a copy with some bits changed. "One band a lead" is what was
done before for any number of records: its keys have sixteen bits however many share one by chance, and its time grows
with the square of the records. Processor time of this one process, both in turns.
"""

from __future__ import annotations

import argparse
import math
import time

import numpy as np

from emgecg_cli.core.signals import duplicates

NEAR = (7, 11, 13, 15, 18)  # bits changed in a copy


def fingerprints(records: int) -> tuple[list[str], dict[tuple[int, int], int]]:
    """Random fingerprints, and how many bits the planted pairs differ in."""
    rng = np.random.default_rng(records)
    packed = rng.integers(0, 256, (records, 16), dtype=np.uint8)
    bits = np.unpackbits(packed, axis=1)
    planted = {}
    for number, copy in enumerate(range(records - records // 100, records)):
        changed = rng.choice(128, NEAR[number % len(NEAR)], replace=False)
        bits[copy] = bits[number]
        bits[copy, changed] ^= 1
        planted[number, copy] = len(changed)
    return [row.tobytes().hex() for row in np.packbits(bits, axis=1)], planted


def timed(codes: list[str]) -> tuple[float, set[tuple[int, int]]]:
    """Processor seconds, and what was found."""
    before = time.process_time()
    found = duplicates.near_pairs(codes)
    return time.process_time() - before, set(found)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, nargs="+", default=[100_000, 400_000, 800_000])
    parser.add_argument("--smallest", action="store_true", help="as little as runs through it all: no measurement")
    given = parser.parse_args()
    sizes = [2000, 4000] if given.smallest else sorted(given.records)
    few, first = duplicates.OF_A_KEY, {}
    for records in sizes:
        codes, planted = fingerprints(records)
        for name, of_a_key in (("as many bands as fit", few), ("one band a lead", records)):
            duplicates.OF_A_KEY = of_a_key
            seconds, found = timed(codes)
            begin, least = first.setdefault(name, (seconds, records))
            linear = records * math.log(records) / (least * math.log(least))
            shares = ", ".join(f"{bits} bits {sum(pair in found for pair in pairs) / len(pairs):.1%}" for bits in NEAR
                               if (pairs := [pair for pair, changed in planted.items() if changed == bits]))
            print(f"{records:>7} records, {name:>20}: {seconds:6.2f} s, {seconds / begin:5.1f} times the first "
                  f"(n log n: {linear:.1f}); found for sure up to {duplicates.surely_found(records)} bits: {shares}")
    duplicates.OF_A_KEY = few


if __name__ == "__main__":
    main()
