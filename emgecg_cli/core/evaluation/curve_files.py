"""Curves on disk: the values as JSON with their manifest, and a page that draws them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any

from emgecg_cli.core.claims import claim, mark_path
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.evaluation.compute import Interval
from emgecg_cli.core.evaluation.curve import FALLING, Curve, Curves
from emgecg_cli.core.files import write_atomically
from emgecg_cli.core.manifest import Manifest, file_hashes, input_of, is_finished, read_manifest, write_manifest
from emgecg_cli.core.pages import POLICY, document
from emgecg_cli.core.pages.line_chart import Spot, line_chart

KIND = "curves"


def check_targets(out: Path, page: Path | None) -> None:
    """Raise MedReportError for names of another kind, and for files that are something else."""
    if out.suffix != ".json":
        raise MedReportError(f"{out}: curves are written to a .json file", f"give --out {out}.json")
    ours = mark_path(out).exists() or (is_finished(out) and read_manifest(out, None).kind == KIND)
    if out.exists() and not ours:
        raise MedReportError(f"{out}: exists, and holds no curves", "give another --out")
    if page and page.suffix != ".html":
        raise MedReportError(f"{page}: a page is written to a .html file", f"give --page {page}.html")
    if page and page.exists() and POLICY.encode() not in page.read_bytes():
        raise MedReportError(f"{page}: exists, and is no page of medreport", "give another --page")


def write_curves(out: Path, found: Curves, files: Sequence[Path], arguments: Mapping[str, Any],
                 page: Path | None = None) -> None:
    """Write the values of curves, then their manifest (kind `curves`), which names the predictions; and the page."""
    check_targets(out, page)
    text = json.dumps(asdict(found), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with claim(out, {"command": "score --curve"}, replaces=True) as claimed:
        claimed.begin()
        write_atomically(out, text.encode("utf-8", "backslashreplace"))
        inputs = {f"predictions {number}": input_of(path, out) for number, path in enumerate(files, 1)}
        write_manifest(out, Manifest(KIND, "score", dict(arguments), found.seed,
                                     {"records": found.n, "patients": found.patients, "curves": len(found.curves)},
                                     inputs, {"files": file_hashes(out.parent, [out.name])}))
        claimed.finish()
    if page:
        write_atomically(page, page_of(found).encode("utf-8", "backslashreplace"))


def page_of(found: Curves) -> str:
    """A page with a chart of each headline score along each perturbation, and the numbers below."""
    lines = ", ".join(escape(one) for one in found.no_signal) or "none was given"
    parts = [f"<p>{found.n} records of {found.patients} patients of {escape(found.store)}, scored against the "
             "recordings as they were before anything was done to them. Bands are 95 % intervals by patient; dashed "
             f"lines are the recordings as they are, and what is left without a signal ({lines}).</p>"]
    for curve in found.curves:
        charts = "".join(_chart(curve, name, found) for name in found.headline if _drawable(curve, name))
        parts.append(f"<section><h2>{escape(curve.kind)}</h2><div class=charts>{charts}</div>{_numbers(curve, found)}"
                     "</section>")
    notes = "".join(f"<li>{escape(note)}</li>" for note in found.notes)
    return document("medreport: scores against the level of a perturbation",
                    "\n".join(parts) + (f"<ul class=notes>{notes}</ul>" if notes else ""))


def _drawable(curve: Curve, name: str) -> bool:
    return all(name in point.values and point.values[name].value is not None for point in curve.points)


def _chart(curve: Curve, name: str, found: Curves) -> str:
    sign = -1.0 if curve.level_name in FALLING else 1.0
    spots = [Spot(f"{point.level:g}", sign * float(point.level or 0), float(one.value or 0), one.ci_low, one.ci_high)
             for point in curve.points for one in [point.values[name]]]
    known = {"as recorded": found.clean} | {f"{signal}:": point for signal, point in found.no_signal.items()}
    lines = [(label, value) for label, point in known.items()
             if point and name in point.values and (value := point.values[name].value) is not None]
    area = curve.areas.get(name)
    title = name + (f", area {area.value:.3f}" if area and area.value is not None else "")
    return line_chart(title, spots, lines, f"{curve.level_name}, more severe to the right")


def _numbers(curve: Curve, found: Curves) -> str:
    """Each headline score at each level, its area, and by how much that is above the lines without a signal."""
    head = ["score", *(f"{curve.level_name} {point.level:g}" for point in curve.points), "area",
            *(f"above {signal}" for signal in curve.above)]
    rows = []
    for name in found.headline:
        cells = [point.values.get(name) for point in curve.points] + [curve.areas.get(name)]
        cells += [own.get(name) for own in curve.above.values()]
        rows.append(f"<tr><th scope=row>{escape(name)}</th>{''.join(_cell(cell) for cell in cells)}</tr>")
    columns = "".join(f"<th scope=col>{escape(name)}</th>" for name in head)
    return f"<div class=scroll><table><thead><tr>{columns}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"


def _cell(value: Interval | None) -> str:
    if value is None or value.value is None:
        return "<td class=none>–</td>"
    interval = "" if value.ci_low is None else f"<small>{value.ci_low:.3f} to {value.ci_high:.3f}</small>"
    return f"<td>{value.value:.3f}{interval}</td>"
