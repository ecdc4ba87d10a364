"""Write a tiny PTB-XL root: PhysioNet's layout, both rates, valid checksums, lead names as in the real headers."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

HEADER_LEADS = ("I", "II", "III", "AVR", "AVL", "AVF", "V1", "V2", "V3", "V4", "V5", "V6")
COLUMNS = ("ecg_id", "patient_id", "age", "report", "scp_codes", "strat_fold", "filename_lr", "filename_hr")
RATES = {100: ("records100", "lr"), 500: ("records500", "hr")}


def twelve_leads(seed: int, fs: int, seconds: float = 10) -> np.ndarray:
    """int16 microvolts (12, L) of smooth noise whose limb leads obey Einthoven and Goldberger up to rounding."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(fs * seconds)) / fs

    def wave() -> np.ndarray:
        phases = [2 * np.pi * rng.uniform(0.5, 8) * time + rng.uniform(0, 6) for _ in range(4)]
        return np.sum([rng.uniform(100, 300) * np.sin(phase) for phase in phases], axis=0)

    i, ii = np.rint(wave()), np.rint(wave())
    leads = [i, ii, ii - i, -(i + ii) / 2, i - ii / 2, ii - i / 2, *(wave() for _ in range(6))]
    return np.rint(leads).astype(np.int16)


def write_record(path: Path, signal: np.ndarray, fs: int, names: Sequence[str] = HEADER_LEADS,
                 gain: str = "1000.0(0)/mV") -> None:
    """Write PATH.hea and PATH.dat in format 16 from the numbers to store, (n, L)."""
    stored = signal.T
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name(path.name + ".dat").write_bytes(stored.astype("<i2").tobytes())
    lines = [f"{path.name} {len(names)} {fs} {len(stored)}"]
    for column, name in enumerate(names):
        values = [int(value) for value in stored[:, column]]
        lines.append(f"{path.name}.dat 16 {gain} 16 0 {values[0]} {sum(values) % 65536} 0 {name}")
    path.with_name(path.name + ".hea").write_text("\n".join(lines) + "\n", encoding="utf-8")


def table_row(ecg_id: int, /, **given: Any) -> dict[str, Any]:
    """A row of ptbxl_database.csv; patients have two records each, folds go round."""
    patient = (ecg_id + 1) // 2
    row = {"ecg_id": ecg_id, "patient_id": f"{100 + patient}.0", "age": 50,
           "report": f"sinusrhythmus lagetyp nr {ecg_id}", "scp_codes": "{'NORM': 100.0, 'SR': 0.0}",
           "strat_fold": (patient - 1) % 10 + 1}
    for folder, suffix in RATES.values():
        row[f"filename_{suffix}"] = f"{folder}/00000/{ecg_id:05d}_{suffix}"
    return row | given


def write_table(root: Path, rows: Sequence[dict[str, Any]], columns: Sequence[str] = COLUMNS) -> None:
    """Write ptbxl_database.csv."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / "ptbxl_database.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def build_root(root: Path, n_records: int = 20, rates: Sequence[int] = (100, 500),
               changed: dict[int, dict[str, Any]] | None = None) -> Path:
    """A whole root of `n_records`; `changed` maps an ecg_id to cells of its row that differ. Returns `root`."""
    for ecg_id in range(1, n_records + 1):
        for fs in rates:
            folder, suffix = RATES[fs]
            write_record(root / folder / "00000" / f"{ecg_id:05d}_{suffix}", twelve_leads(ecg_id, fs), fs)
    write_table(root, [table_row(ecg_id, **(changed or {}).get(ecg_id, {})) for ecg_id in range(1, n_records + 1)])
    return root
