"""Weights of somebody else's file against those a model has: every name and shape that does not fit is told."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import Size, Tensor

MOST = 24  # names of a kind that are written out; the rest is counted


def misfit(given: Mapping[str, Tensor | Size], expected: Mapping[str, Tensor | Size]) -> str:
    """Which names are missing, which nobody asked for, and whose shapes are others, in one line; "" where all fit."""
    shapes = {name: (_shape(given[name]), _shape(expected[name])) for name in given if name in expected}
    wrong = [f"{name} {one} instead of {other}" for name, (one, other) in shapes.items() if one != other]
    said = {"missing": sorted(set(expected) - set(given)), "not known": sorted(set(given) - set(expected)),
            "of another shape": sorted(wrong)}
    return "; ".join(f"{what}: {_listed(names)}" for what, names in said.items() if names)


def _shape(tensor: Tensor | Size) -> tuple[int, ...]:
    return tuple(tensor.shape if isinstance(tensor, Tensor) else tensor)


def _listed(names: Collection[str]) -> str:
    shown, more = list(names)[:MOST], len(names) - MOST
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")
