"""Where PR, QRS and QT of single beats lie in a recording: the fiducials of the median beat, placed at each of them."""

from __future__ import annotations

from dataclasses import dataclass

from emgecg_cli.core.signals.delineation import Delineation


@dataclass(frozen=True)
class Span:
    """An interval of one beat, in seconds from the start of the recording."""

    name: str
    begin: float
    end: float


def spans_of(found: Delineation) -> list[Span]:
    """PR, QRS and QT of each beat that the median beat is made of; an ectopic beat has none."""
    qrs, p, t = found.qrs, found.p, found.t
    if qrs is None:
        return []
    measured = {"PR": None if p is None else (p.on_ms, qrs.on_ms), "QRS": (qrs.on_ms, qrs.off_ms),
                "QT": None if t is None else (qrs.on_ms, t.end_ms)}
    return [Span(name, at + ends[0] / 1000, at + ends[1] / 1000) for name, ends in measured.items() if ends is not None
            for at in (found.beat_at / found.fs).tolist()]
