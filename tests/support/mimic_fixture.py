"""Write a tiny MIMIC-IV-ECG root: PhysioNet's layout, headers and tables, aVF before aVL, 5 microvolts a step."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

# The order of the real headers; HEADER_ROWS are their rows among the twelve leads in the project's order.
HEADER_LEADS = ("I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6")
HEADER_ROWS = (0, 1, 2, 3, 5, 4, 6, 7, 8, 9, 10, 11)
STEP_UV = 5
STATEMENTS = tuple(f"report_{i}" for i in range(18))
RECORD_COLUMNS = ("subject_id", "study_id", "file_name", "ecg_time", "path")
MEASUREMENT_COLUMNS = ("subject_id", "study_id", "cart_id", "ecg_time", *STATEMENTS, "bandwidth", "filtering",
                       "rr_interval", "p_onset", "p_end", "qrs_onset", "qrs_end", "t_end", "p_axis", "qrs_axis",
                       "t_axis")
TIME = "2180-07-23 08:44:00"


def path_of(subject: int, study: int) -> str:
    """The path of a study as `record_list.csv` writes it."""
    return f"files/p{str(subject)[:4]}/p{subject}/s{study}/{study}"


def write_study(root: Path, subject: int, study: int, signal: np.ndarray, fs: int = 500,
                order: Sequence[int] = HEADER_ROWS, names: Sequence[str] = HEADER_LEADS) -> np.ndarray:
    """Write (12, L) microvolts, -32768 missing, as a MIMIC record; return the microvolts that it now holds."""
    stored = np.where(signal == -32768, -32768, np.rint(signal.astype(float) / STEP_UV)).astype("<i2")
    path = root / path_of(subject, study)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name(f"{study}.dat").write_bytes(np.ascontiguousarray(stored[list(order)].T).tobytes())
    lines = [f"{study} 12 {fs} {stored.shape[1]} 12:04:00 22/09/2182"]
    for row, name in zip(order, names, strict=True):
        total = int(stored[row].astype(np.int64).sum()) % 65536
        lines.append(f"{study}.dat 16 200.0(0)/mV 16 0 {stored[row, 0]} {total - 65536 * (total > 32767)} 0 {name}")
    path.with_name(f"{study}.hea").write_text("\n".join([*lines, "#<subject_id>: " + str(subject)]) + "\n")
    return np.where(stored == -32768, -32768, stored.astype(int) * STEP_UV).astype(np.int16)


def record_row(subject: int, study: int, /, **given: Any) -> dict[str, Any]:
    """A row of record_list.csv."""
    return {"subject_id": subject, "study_id": study, "file_name": study, "ecg_time": TIME,
            "path": path_of(subject, study)} | given


def measurement_row(subject: int, study: int, /, statements: Sequence[str] = ("Sinus rhythm", "Normal ECG"),
                    **given: Any) -> dict[str, Any]:
    """A row of machine_measurements.csv."""
    row = {"subject_id": subject, "study_id": study, "cart_id": 6848296, "ecg_time": TIME,
           "bandwidth": "0.005-150 Hz", "filtering": "60 Hz notch Baseline filter", "rr_interval": 659, "p_onset": 40,
           "p_end": 128, "qrs_onset": 170, "qrs_end": 258, "t_end": 518, "p_axis": 81, "qrs_axis": 77, "t_axis": 29999}
    return row | dict(zip(STATEMENTS, statements, strict=False)) | given


def write_tables(root: Path, records: Sequence[Mapping[str, Any]], measurements: Sequence[Mapping[str, Any]]) -> Path:
    """Write both tables; returns `root`."""
    root.mkdir(parents=True, exist_ok=True)
    for name, columns, rows in (("record_list.csv", RECORD_COLUMNS, records),
                                ("machine_measurements.csv", MEASUREMENT_COLUMNS, measurements)):
        with (root / name).open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, columns, extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    return root


def build_mimic(root: Path, signals: Sequence[np.ndarray], fs: int = 500) -> list[np.ndarray]:
    """A root with one study a signal, two studies a patient; returns what each record holds, in microvolts."""
    keys = [(10_000_032 + i // 2, 40_689_238 + i) for i in range(len(signals))]
    write_tables(root, [record_row(*key) for key in keys], [measurement_row(*key) for key in reversed(keys)])
    return [write_study(root, *key, signal, fs) for key, signal in zip(keys, signals, strict=True)]
