"""One reader per source of recordings. A reader knows paths, columns, units and official splits; it yields `Recording`.

A reader is a function `open_source(**options) -> Source`, named in `names.DATASETS`. Its keyword parameters are the
options the dataset takes; `open_dataset` refuses any other. Listing is cheap and reads no signal, so that a store can
be planned, cut into shards and resumed; `Source.read` is a pure function of the references it is given.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from emgecg_cli.core import names
from emgecg_cli.core.artifacts import QuarantineRow
from emgecg_cli.core.errors import MedReportError


@dataclass(frozen=True)
class RecordRef:
    """What listing a source tells about a record: its keys, where it lies, and its official split if there is one."""

    record_id: str
    subject_id: str
    source: str
    split: str | None = None


@dataclass(frozen=True)
class Recording:
    """One recording as read: leads by name in the order of `signals.leads.LEADS`.

    `signal` is int16 microvolts, (12, L), missing samples = `signals.leads.MISSING`. `report` is the raw text.
    """

    ref: RecordRef
    signal: np.ndarray
    fs: int
    report: str
    language: str
    codes: list[str] = field(default_factory=list)
    absent_leads: list[str] = field(default_factory=list)
    resampled_from: int | None = None
    n_clipped: int = 0
    n_cropped: int = 0
    n_padded: int = 0


@dataclass(frozen=True)
class Source:
    """An opened source: what it holds, and how to read it.

    `read` yields, for each reference in order, the recording or the reason why it is set aside. `set_aside` holds what
    was already refused while listing. `arguments` are the resolved options, for the manifest.
    """

    dataset: str
    refs: Sequence[RecordRef]
    read: Callable[[Sequence[RecordRef]], Iterator[Recording | QuarantineRow]]
    fs: int
    sig_len: int
    arguments: dict[str, Any]
    set_aside: list[QuarantineRow] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)


def open_dataset(name: str, seed: int, **options: Any) -> Source:
    """Open the source of that name; options that are None were not given. Refuses options it does not take.

    Every store has a seed, of its split; a source that simulates takes the same one.
    """
    open_source = names.resolve("dataset", name)
    parameters = inspect.signature(open_source).parameters
    given = {key: value for key, value in options.items() if value is not None}
    if "seed" in parameters:
        given["seed"] = seed
    takes = ", ".join(f"--{key.replace('_', '-')}" for key in parameters)
    for key in given:
        if key not in parameters:
            raise MedReportError(f"prepare {name} takes no --{key.replace('_', '-')}", f"it takes {takes}")
    for key, parameter in parameters.items():
        if parameter.default is inspect.Parameter.empty and key not in given:
            raise MedReportError(f"prepare {name} needs --{key.replace('_', '-')}", f"it takes {takes}")
    return open_source(**given)
