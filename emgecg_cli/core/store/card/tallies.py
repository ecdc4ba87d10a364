"""Counts, bins and quantiles over a table of any size: every query streams, and holds only its own few columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars


@dataclass(frozen=True)
class Quantiles:
    """Of a column of `n` values and `n_null` nulls: the 5th, 50th, 95th and 99th percentile and the largest; None
    where there is no value."""

    n: int
    n_null: int
    p5: float | None = None
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    highest: float | None = None


@dataclass(frozen=True)
class Tally:
    """How often each of a few labels occurs, in the order shown; `n_more` labels, `more` times, are not."""

    rows: tuple[tuple[str, int], ...]
    n_more: int = 0
    more: int = 0

    @property
    def total(self) -> int:
        """All occurrences."""
        return sum(count for _, count in self.rows) + self.more


def collect(frame: polars.LazyFrame) -> polars.DataFrame:
    """Run a query without holding the table it reads."""
    return frame.collect(engine="streaming")


def quantiles(frame: polars.LazyFrame, column: polars.Expr) -> Quantiles:
    """Quantiles of one column, each a value that occurs."""
    value = column.cast(polars.Float64).fill_nan(None)
    levels = [value.quantile(level, "lower").alias(f"q{level}") for level in (0.05, 0.5, 0.95, 0.99)]
    n, n_null, *found = collect(frame.select(value.count().alias("n"), value.null_count().alias("null"), *levels,
                                             value.max().alias("max"))).row(0)
    return Quantiles(n, n_null, *found)


def tally(frame: polars.LazyFrame, column: polars.Expr, most: int = 30, *, null: str = "not known") -> Tally:
    """How often each value occurs, the most frequent first, ties by name."""
    counts = collect(frame.select(column.cast(polars.String).fill_null(null).alias("value")).group_by("value").len()
                     .sort(["len", "value"], descending=[True, False]))
    shown, rest = counts.head(most), counts.slice(most)
    return Tally(tuple((str(value), int(count)) for value, count in shown.iter_rows()), rest.height,
                 int(rest["len"].sum()))


def bins(frame: polars.LazyFrame, column: polars.Expr, edges: Sequence[float], labels: Sequence[str], *,
         null: str | None = None) -> Tally:
    """How many values lie below the first edge, from each edge to the next, and from the last one on.

    `labels` is one longer than `edges`. Empty bins at both ends are left out. Nulls are counted under `null`, or not.
    """
    place = polars.sum_horizontal((column >= edge).cast(polars.Int32) for edge in edges)
    counts = dict(collect(frame.select(polars.when(column.is_null()).then(None).otherwise(place).alias("bin"))
                          .group_by("bin").len()).iter_rows())
    there = [i for i in range(len(labels)) if counts.get(i)]
    rows = [(labels[i], int(counts.get(i, 0))) for i in range(there[0], there[-1] + 1)] if there else []
    if null is not None and counts.get(None):
        rows.append((null, int(counts[None])))
    return Tally(tuple(rows))
