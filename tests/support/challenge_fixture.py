"""Write Challenge records: a WFDB header with comments beside a MATLAB v4 matrix, as PhysioNet has them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

from emgecg_cli.core.signals.leads import LEADS


def write_challenge(root: Path, record: str, signal: np.ndarray, dx: str | None = "426783006", age: Any = "54",
                    sex: str = "Male", names: Sequence[str] = LEADS, fs: int = 500, hash_mark: str = "# ") -> Path:
    """Write RECORD.hea and RECORD.mat from int16 microvolts (n, L); `dx` None leaves the line out."""
    path = root / f"{record}.mat"
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, {"val": signal.astype(np.int16)}, format="4")
    lines = [f"{path.stem} {len(names)} {fs} {signal.shape[1]}"]
    for name, row in zip(names, signal, strict=True):
        total = int(row.astype(np.int64).sum().astype(np.int16))
        lines.append(f"{path.name} 16x1+24 1000.0(0)/mV 16 0 {row[0]} {total} 0 {name}")
    comments = {"Age": age, "Sex": sex, "Dx": dx, "Rx": "Unknown"}
    lines += [f"{hash_mark}{key}: {value}" for key, value in comments.items() if value is not None]
    path.with_suffix(".hea").write_text("\n".join(lines) + "\n")
    return path
