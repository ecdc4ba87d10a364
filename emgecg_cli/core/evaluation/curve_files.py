"""Curves on disk: the values as JSON with their manifest, and a page that draws them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from emgecg_cli.core.claims import claim, mark_path
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.evaluation.compute import Interval
from emgecg_cli.core.evaluation.curve import Curve, Curves, Point
from emgecg_cli.core.evaluation.page.curves import curves_page
from emgecg_cli.core.files import write_atomically
from emgecg_cli.core.manifest import (
    Manifest,
    check_files,
    file_hashes,
    hashes_of,
    input_of,
    is_finished,
    manifest_hash,
    read_manifest,
    write_manifest,
)
from emgecg_cli.core.pages import POLICY

KIND = "curves"
OF_STUDY = "curves.json"  # in the folder of a robustness study, whose predictions lie one folder deeper


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
        write_atomically(page, curves_page(found).encode("utf-8", "backslashreplace"))


def curves_with(predictions: Sequence[Path], folders: Sequence[Path]) -> dict[str, Curves]:
    """The curves that have one of these predictions as a point, by folder and name of their files: those that lie in
    `folders`, and of the robustness study that wrote the predictions. Predictions written anew since are no point.

    Raises MedReportError for such a file that was changed after it was written.
    """
    wanted = {manifest_hash(path) for path in predictions if is_finished(path)}
    there = [path for folder in folders for path in folder.glob("*.json")]
    there += [path.resolve().parent.parent / OF_STUDY for path in predictions]
    points = {path: {*hashes_of(manifest.inputs).values()} for path in sorted({one.resolve() for one in there})
              if is_finished(path) for manifest in [read_manifest(path, None)] if manifest.kind == KIND}
    kept: list[Path] = []
    for path in sorted(points, key=lambda path: -len(points[path])):
        if points[path] & wanted and not any(points[path] <= points[other] for other in kept):
            kept.append(path)
    return {f"{path.parent.name}/{path.name}": read_curves(path) for path in kept}


def read_curves(path: Path) -> Curves:
    """The curves of a file that `write_curves` finished; raises MedReportError for another, or a changed one."""
    check_files(path, read_manifest(path, KIND, made_by="score --curve"))
    found = json.loads(path.read_bytes())
    curves = [Curve(**one | {"points": [_point(point) for point in one["points"]], "areas": _intervals(one["areas"]),
                             "above": {signal: _intervals(own) for signal, own in one["above"].items()}})
              for one in found["curves"]]
    return Curves(**found | {"clean": found["clean"] and _point(found["clean"]), "curves": curves,
                             "no_signal": {signal: _point(point) for signal, point in found["no_signal"].items()}})


def _point(values: Mapping[str, Any]) -> Point:
    return Point(**{**values, "values": _intervals(values["values"])})


def _intervals(values: Mapping[str, Any]) -> dict[str, Interval]:
    return {name: Interval(**one) for name, one in values.items()}
