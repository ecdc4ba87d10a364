"""A small store of simulated tables with its instructions, for the tests of training and generation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from emgecg_cli.core.artifacts import RecordRow, Sections
from emgecg_cli.core.datasets.synthetic_emg import draw_case
from emgecg_cli.core.emg.case import values
from emgecg_cli.core.emg.sections import join_sections
from emgecg_cli.core.emg.stored import TableCase
from emgecg_cli.core.instructions.build import build_instructions
from emgecg_cli.core.manifest import Manifest
from emgecg_cli.core.references import fit, write_references
from emgecg_cli.core.store import make_shard, write_store
from emgecg_cli.core.store.tables import tables_frame

POOL = 400  # simulated healthy people behind the references


def pool(seed: int = 7) -> Any:
    healthy = [case for case in (draw_case(seed, i) for i in range(POOL)) if case.diagnosis == "healthy"]
    cases = [draw_case(seed, i) for i in range(POOL)] if len(healthy) < 50 else healthy
    return fit((item, cell.value, None) for case in cases for item, _, cell in values(case.case)
               if cell.value is not None)


def make_tables(folder: Path, records: int = 16, language: str = "both", splits: tuple[str, ...] = ("train",),
                shortest_of: int = 0) -> tuple[Path, Path]:
    """Store and instructions under `folder`, in the default places; records take the `splits` in turn.

    `shortest_of` draws as many cases and keeps the abnormal ones with the least text, for tests that train for long.
    """
    out, instructions = folder / "stores/emg", folder / "instructions/emg"
    cases = [draw_case(3, i, language) for i in range(max(records, shortest_of))]
    if shortest_of:
        found = [case for case in cases if case.statements]
        cases = sorted(found, key=lambda case: 20 * len(case.case.ncv) + len(case.findings))[:records]
    rows = [RecordRow(case.record_id, f"s{i}", splits[i % len(splits)], 0, 4,
                      join_sections(case.findings, case.impression, case.language), "", case.language, [], "", 0, 0,
                      sections=Sections(case.findings, case.impression)) for i, case in enumerate(cases)]
    write_store(out, identity={"ids": [c.record_id for c in cases]}, sizes=[len(rows)], job=lambda number: None,
                build=lambda number, _: make_shard(number, [(row, np.zeros((12, 4), np.int16)) for row in rows]),
                make_manifest=lambda written: Manifest(
                    "store", "prepare toy", {}, 0, counts={"records": len(rows)},
                    details={"dataset": "emg", "fs": 0, "sig_len": 4, "modality": "tables"}))
    write_references(out / "references.json", pool())
    tables_frame((c.record_id, TableCase(c.findings, c.impression, c.case)) for c in cases).write_parquet(
        out / "tables.parquet")
    build_instructions(out, instructions)
    return out, instructions
