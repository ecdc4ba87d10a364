"""Scores against the level of a perturbation, drawn: a page of their own, and sections of the page of scores."""

from __future__ import annotations

from html import escape

from emgecg_cli.core.evaluation.compute import Interval
from emgecg_cli.core.evaluation.curve import FALLING, Curve, Curves
from emgecg_cli.core.pages import document
from emgecg_cli.core.pages.line_chart import Spot, line_chart


def curves_page(found: Curves) -> str:
    """A page with a chart of each headline score along each perturbation, and the numbers below."""
    return document("medreport: scores against the level of a perturbation", curve_sections(found))


def curve_sections(found: Curves, source: str = "") -> str:
    """A section for each perturbation: its charts and numbers; the first says what is drawn, and from which file."""
    lines = ", ".join(escape(one) for one in found.no_signal) or "none was given"
    said = (f"<p>{found.n} records of {found.patients} patients of {escape(found.store)}, scored against the "
            "recordings as they were before anything was done to them. Bands are 95 % intervals by patient; dashed "
            f"lines are the recordings as they are, and what is left without a signal ({lines})."
            f"{f' From {escape(source)}.' if source else ''}</p>")
    notes = "".join(f"<li>{escape(note)}</li>" for note in found.notes)
    parts = []
    for number, curve in enumerate(found.curves):
        charts = "".join(_chart(curve, name, found) for name in found.headline if _drawable(curve, name))
        parts.append(f"<section><h2>Robustness: {escape(curve.kind)}</h2>{'' if number else said}"
                     f"<div class=charts>{charts}</div>{_numbers(curve, found)}</section>")
    return "\n".join(parts) + (f"<ul class=notes>{notes}</ul>" if notes else "")


def _drawable(curve: Curve, name: str) -> bool:
    return all(name in point.values and point.values[name].value is not None for point in curve.points)


def _chart(curve: Curve, name: str, found: Curves) -> str:
    sign = -1.0 if curve.level_name in FALLING else 1.0
    spots = [Spot(f"{point.level:g}", sign * float(point.level or 0), float(one.value or 0), one.ci_low, one.ci_high)
             for point in curve.points for one in [point.values[name]]]
    known = {"as recorded": found.clean} | {f"no signal ({signal})": point
                                            for signal, point in found.no_signal.items()}
    lines = [(label, value) for label, point in known.items()
             if point and name in point.values and (value := point.values[name].value) is not None]
    area = curve.areas.get(name)
    title = name + (f", area {area.value:.3f}" if area and area.value is not None else "")
    return line_chart(title, spots, lines, f"{curve.level_name}, more severe to the right")


def _numbers(curve: Curve, found: Curves) -> str:
    """Each headline score on the recordings as they are and at each level, its area, by how much that is above the
    lines without a signal, and these lines."""
    points = [*([found.clean] if found.clean else []), *curve.points]
    head = ["score", *(f"{curve.level_name} {point.level:g}" if point.level is not None else "as recorded"
                       for point in points),
            "area", *(f"above {signal}" for signal in curve.above), *found.no_signal]
    rows = []
    for name in found.headline:
        cells = [point.values.get(name) for point in points] + [curve.areas.get(name)]
        cells += [own.get(name) for own in curve.above.values()]
        cells += [point.values.get(name) for point in found.no_signal.values()]
        rows.append(f"<tr><th scope=row>{escape(name)}</th>{''.join(_cell(cell) for cell in cells)}</tr>")
    columns = "".join(f"<th scope=col>{escape(name)}</th>" for name in head)
    return (f"<div class=scroll tabindex=0><table><thead><tr>{columns}</tr></thead><tbody>{''.join(rows)}</tbody>"
            "</table></div>")


def _cell(value: Interval | None) -> str:
    if value is None or value.value is None:
        return "<td class=none>–</td>"
    interval = "" if value.ci_low is None else f"<small>{value.ci_low:.3f} to {value.ci_high:.3f}</small>"
    return f"<td>{value.value:.3f}{interval}</td>"
