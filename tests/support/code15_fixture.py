"""Write a tiny CODE-15% root: `exams.csv` and HDF5 parts, each exam padded with zeros to 4096 samples."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

SAMPLES = 4096
COLUMNS = ("exam_id", "age", "is_male", "nn_predicted_age", "1dAVb", "RBBB", "LBBB", "SB", "ST", "AF", "patient_id",
           "death", "timey", "normal_ecg", "trace_file")


def padded(signal: np.ndarray) -> np.ndarray:
    """(12, L) to (4096, 12) float32, zeros on both sides as in the published parts."""
    tracing = np.zeros((SAMPLES, 12), np.float32)
    start = (SAMPLES - signal.shape[1]) // 2
    tracing[start:start + signal.shape[1]] = signal.T
    return tracing


def write_part(path: Path, ids: Sequence[int], signals: Sequence[np.ndarray], sentinel: bool = True,
               **storage: Any) -> None:
    """A part of exams (12, L) in millivolts; `sentinel` adds the row of zeros as exam 0 that ends each real part."""
    tracings = [padded(signal) for signal in signals] + [np.zeros((SAMPLES, 12), np.float32)] * sentinel
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.create_dataset("exam_id", data=np.array([*ids, *[0] * sentinel], np.int64))
        file.create_dataset("tracings", data=np.stack(tracings), **storage)


def exam_row(exam_id: int, /, *labels: str, **given: Any) -> dict[str, Any]:
    """A row of exams.csv with these labels true."""
    flags = {name: str(name in labels) for name in ("1dAVb", "RBBB", "LBBB", "SB", "ST", "AF", "normal_ecg")}
    return {"exam_id": exam_id, "age": 38, "is_male": "True", "nn_predicted_age": 40.2, "patient_id": exam_id + 7,
            "death": "", "timey": "", "trace_file": "exams_part0.hdf5"} | flags | given


def write_exams(root: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write exams.csv; returns `root`."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / "exams.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return root


def build_code15(root: Path, signals: Mapping[int, np.ndarray], n_parts: int = 1, **storage: Any) -> Path:
    """A root with these exams, all normal, dealt to `n_parts` parts in turn; returns `root`."""
    ids = list(signals)
    for part in range(n_parts):
        mine = ids[part::n_parts]
        write_part(root / f"exams_part{part}.hdf5", mine, [signals[i] for i in mine], **storage)
    return write_exams(root, [exam_row(exam_id, "normal_ecg", trace_file=f"exams_part{i % n_parts}.hdf5")
                              for i, exam_id in enumerate(ids)])
