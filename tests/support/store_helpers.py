"""What the tests of stores share: one way to prepare, the hashes of a folder, and a root with broken records."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from ptbxl_fixture import build_root

from emgecg_cli.core.config import PrepareConfig
from emgecg_cli.core.datasets import Source
from emgecg_cli.core.store import Engine, PrepareResult, prepare_store

CLEAN = "nan,numeric,ekg,stars,lower"


def prepare(source: Source, out: Path, **given: Any) -> PrepareResult:
    progress, engine = given.pop("progress", None), given.pop("engine", Engine())
    return prepare_store(source, out, PrepareConfig(**({"shard_size": 4} | given)), engine, progress)


def hashes(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*")) if path.is_file()}


def damaged_root(root: Path) -> Path:
    """Twenty records: 3 lacks its signal, 9 to 12 (a whole shard of four) have broken headers, 15 has no text."""
    build_root(root, 20, rates=(100,), changed={15: {"report": " nan. 12. "}, 17: {"report": "*** Normales EKG ***"}})
    folder = root / "records100" / "00000"
    (folder / "00003_lr.dat").unlink()
    for ecg_id in range(9, 13):
        (folder / f"{ecg_id:05d}_lr.hea").write_text("nonsense\n")
    return root
