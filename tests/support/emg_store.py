"""A small store of simulated tables with its instructions, and what the tests of training and generation do with it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

from emgecg_cli.core.config import PrepareConfig, TrainConfig
from emgecg_cli.core.datasets import open_dataset
from emgecg_cli.core.datasets.synthetic_emg import draw_case
from emgecg_cli.core.inputs.records import Inputs
from emgecg_cli.core.inputs.sources import ValueSource
from emgecg_cli.core.inputs.values import Values, check_values
from emgecg_cli.core.instructions.build import build_instructions, open_instructions
from emgecg_cli.core.recipes import resolve_train_config
from emgecg_cli.core.references import PERCENTILES, References, read_references
from emgecg_cli.core.store import open_store, prepare_store
from emgecg_cli.core.store.payloads import healthy
from emgecg_cli.core.store.payloads.healthy import fit_references

POOL = 400  # simulated people, the healthy of whom the references are of
SHORT = dict(backbone="tiny", recipe="emgllm", steps=3, stage1_steps=2, batch_size=4, checkpoint_every=1, select="last")


def short(**changes: Any) -> TrainConfig:
    """A training of a few steps."""
    return resolve_train_config(**SHORT | changes)


@cache
def pool() -> tuple[References, dict[str, Any]]:
    """References of a larger cohort, since the healthy of a small store are too few for any."""
    source = open_dataset("synthetic-emg", 7, records=POOL)
    return fit_references((one.tables for one in source.read(list(source.listing()))), PERCENTILES, "none")


def make_tables(folder: Path, records: int = 16, language: str = "both", splits: tuple[str, ...] = ("train",),
                shortest_of: int = 0) -> tuple[Path, Path]:
    """Store and instructions under `folder`, in the default places; records take the `splits` in turn.

    `shortest_of` draws as many cases and keeps the abnormal ones with the least text, for tests that train for long.
    """
    source = open_dataset("synthetic-emg", 3, records=max(records, shortest_of), language=language)
    refs = list(source.listing())
    if shortest_of:
        drawn = [(draw_case(3, number, language), ref) for number, ref in enumerate(refs)]
        drawn = [(case, ref) for case, ref in drawn if case.statements]
        refs = [ref for _, ref in sorted(drawn, key=lambda one: 20 * len(one[0].case.ncv) + len(one[0].findings))]
    refs = [replace(ref, split=splits[number % len(splits)]) for number, ref in enumerate(refs[:records])]
    out, instructions = folder / "stores/emg", folder / "instructions/emg"
    with mock.patch.object(healthy, "fit_references", lambda *_, **__: pool()):
        prepare_store(replace(source, listing=lambda: iter(refs)), out, PrepareConfig(clean="none"))
    build_instructions(out, instructions)
    return out, instructions


def shown(tables: tuple[Path, Path], **how: Any) -> Inputs:
    """The records of a store and its instructions as a model with the EMG encoder sees them; `how` as in `Values`."""
    values = replace(Values(read_references(tables[0] / "references.json")), **how)
    instructions = open_instructions(tables[1])
    check_values(values, instructions)
    sources = {"values": ValueSource(values)} if values.mode == "encoder" else {}
    return Inputs(open_store(tables[0]), instructions, sources, values)
