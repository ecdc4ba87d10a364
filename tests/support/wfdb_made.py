"""WFDB records written for a test, and read again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ptbxl_fixture import twelve_leads
from store_helpers import prepare
from wfdb_files import Signal, write

from emgecg_cli.core.datasets import open_dataset
from emgecg_cli.core.datasets.formats.wfdb_headers import read_header
from emgecg_cli.core.datasets.formats.wfdb_records import Leads, read_leads
from emgecg_cli.core.signals.leads import LEADS, MISSING
from emgecg_cli.core.store.reader import Store, open_store


def read(root: Path, record: str = "a") -> Leads:
    return read_leads(read_header(root, record))


def whole_numbers(fmt: str) -> np.ndarray:
    """Twelve leads that a format can hold."""
    return np.clip(twelve_leads(1, 500, 2) // 8, -127, 127) if fmt == "80" else twelve_leads(1, 500, 2)


def leads_of(signal: np.ndarray, per_frame: int) -> list[Signal]:
    return [Signal(name, row, per_frame) for name, row in zip(LEADS, signal, strict=False)]


def segments(root: Path, layout: bool) -> np.ndarray:
    """Two segments of 125 Hz x 4 with a gap between; in a variable layout the second has two leads only."""
    first, second = twelve_leads(1, 500, 2), twelve_leads(2, 500, 1)
    write(root, "s1", leads_of(first, 4), 125)
    rows = [1, 6] if layout else list(range(12))
    write(root, "s2", [Signal(LEADS[row], second[row], 4) for row in rows], 125)
    lines = ["~ 50\t" if layout else "~\t50", "s1 250", "~ 10", "s2\t 125"]
    if layout:
        (root / "l.hea").write_text("l 12 125 0\n" + "".join(f"~ 0x4 1000/mV 16 0 0 0 0 {name}\n" for name in LEADS))
        lines = ["l 0", *lines]
    (root / "a.hea").write_text(f"a/{len(lines)} 12 125 435\n" + "\n".join(lines) + "\n")
    expected = np.full((12, 435 * 4), MISSING, np.int16)
    expected[:, 200:1200] = first
    expected[rows, 1240:] = second[rows]
    return expected


def stored(tmp_path: Path, **given: object) -> Store:
    names = sorted(path.stem for path in (tmp_path / "set").glob("*.hea"))
    (tmp_path / "reports.csv").write_text("record,report\n" + "".join(f"{name},normal\n" for name in names))
    prepare(open_dataset("wfdb", seed=0, root=tmp_path / "set", reports=tmp_path / "reports.csv"), tmp_path / "store",
            **given)
    return open_store(tmp_path / "store")
