"""A small real store for tests that need records and reports but no signals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from emgecg_cli.core.artifacts import RecordRow
from emgecg_cli.core.manifest import Manifest
from emgecg_cli.core.store import make_shard, write_store


def make_store(out: Path, record_ids: Sequence[str], silent: Sequence[str] = (),
               unreported: Sequence[str] = ()) -> Path:
    """A store of empty signals; the `silent` records have an empty report, the `unreported` none."""
    rows = [RecordRow(record_id, f"s{i}", "test" if record_id in unreported else "train", 100, 4,
                      None if record_id in unreported else
                      " " if record_id in silent else f"report of {record_id}, 72/min", "", "en", [], "", 0, 0,
                      "none" if record_id in unreported else "physician")
            for i, record_id in enumerate(record_ids)]
    write_store(out, identity={"ids": list(record_ids)}, sizes=[len(rows)],
                job=lambda number: None,
                build=lambda number, _: make_shard(number, [(row, np.zeros((12, 4), np.int16)) for row in rows]),
                make_manifest=lambda written: Manifest(
                    "store", "prepare toy", {}, 0, counts={"records": len(rows)},
                    details={"dataset": "toy", "fs": 100, "sig_len": 4}))
    return out
