"""A tiny LUDB root."""

from __future__ import annotations

import csv
from pathlib import Path

from emgecg_cli.core.datasets.ludb import COLUMNS


def write_root(root: Path, *rows: dict[str, str], columns: tuple[str, ...] = COLUMNS) -> Path:
    (root / "data").mkdir(parents=True)
    with (root / "ludb.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return root
