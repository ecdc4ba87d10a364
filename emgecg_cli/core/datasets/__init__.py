"""One reader per source of recordings. A reader knows paths, columns, units and official splits; it yields `Recording`.

A reader is a function `open_source(**options) -> Source`, named in `names.DATASETS`. Its keyword parameters are the
options the dataset takes; `open_dataset` refuses any other. Listing is cheap, streamed and reads no signal, so that a
store of any size can be planned, cut into shards and resumed; `Source.read` is a pure function of the references it is
given, and can be sent to another process. Recordings come as they are: at the file's own rate, at full length. Windows,
resampling, cleaning and checks are the same for all sources and are done once, in `store.prepare`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from emgecg_cli.core import names
from emgecg_cli.core.artifacts import MachineIntervals, QuarantineRow
from emgecg_cli.core.datasets.formats.wfdb_files import RecordError
from emgecg_cli.core.emg.examination import Examination
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.signals.resampling import Rate


@dataclass(frozen=True)
class RecordRef:
    """What the listing of a source says about a record: its keys, where it lies, and its official split if there is
    one.

    `details` is whatever else the listing knows and `Source.read` needs (texts, labels), as JSON values. `unreported`
    marks a recording that has no report.
    """

    record_id: str
    subject_id: str
    source: str
    split: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    unreported: bool = False


class TimeSliced(Protocol):
    """A signal that is too long to be held: the part of an array's interface that windows are cut by."""

    dtype: np.dtype
    ndim: int

    @property
    def shape(self) -> tuple[int, int]:
        """Leads and samples."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: tuple[slice, slice]) -> np.ndarray: ...


@dataclass(frozen=True)
class Recording:
    """One recording as read: leads by name in the order of `signals.leads.LEADS`, whole and at the file's own rate.

    `signal` is int16 microvolts, (12, L), missing samples = `signals.leads.MISSING`; an array, or what gives one where
    it is sliced in time, `signal[:, a:b]`, and may raise RecordError there. `fs` is a Fraction where the rate is not
    whole. `unused_signals` are the names of what the file holds beside the leads, `file_flags` its faults, one line
    each, that did not set it aside. `report` is the raw text, None where the reference is `unreported`, and
    `report_kind` one of REPORT_KINDS; `report_raw` is the text it was made from, where that is another one (a
    translation's original). `language` None means that it is guessed from the text. `n_trimmed` counts samples in time
    that the reader took off as padding, `n_clipped` samples over all leads beyond int16 microvolts, None where they are
    not counted yet. `sex` is "F", "M" or None, `age` in years. `limb_leads_follow` of a file that holds I and II alone
    of the limb leads, as recorders store them: the other four are computed in any case.
    """

    ref: RecordRef
    signal: np.ndarray | TimeSliced
    fs: Rate
    report: str | None
    language: str | None = None
    codes: list[str] = field(default_factory=list)
    report_kind: str = "physician"
    report_raw: str | None = None
    age: float | None = None
    sex: str | None = None
    machine: MachineIntervals | None = None
    absent_leads: list[str] = field(default_factory=list)
    n_clipped: int | None = 0
    n_trimmed: int = 0
    unused_signals: list[str] = field(default_factory=list)
    file_flags: list[str] = field(default_factory=list)
    limb_leads_follow: bool = False


@dataclass(frozen=True)
class ReadExamination:
    """One EMG examination as read: its tables, with both sections of its report, instead of a signal. Fields are those
    of `Recording`; `flags` are faults of the tables, one line each, that did not set it aside, and `unused` the columns
    of its tables that stand for nothing known."""

    ref: RecordRef
    tables: Examination
    language: str
    report_kind: str = "physician"
    codes: list[str] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)


Read = Callable[[Sequence[RecordRef]], Iterator[Recording | ReadExamination | QuarantineRow]]
Rows = Callable[[], Iterator[RecordRef | QuarantineRow]]


@dataclass(frozen=True)
class Listing:
    """A listing together with all that decides it, so that what it lists need not be read to know that it is the same.

    `made_of` holds, as JSON values, the options and the hashes of the content of every file that `rows` reads: where it
    is equal, another listing of the same dataset yields the same rows, under the same versions of the packages that
    read them. A listing that depends on anything else, such as which files lie in a folder, must not be one of these;
    one that is put in the place of another takes its `made_of` away with it.
    """

    rows: Rows
    made_of: Any

    def __call__(self) -> Iterator[RecordRef | QuarantineRow]:
        return self.rows()


@dataclass(frozen=True)
class Source:
    """An opened source: what it holds, and how to read it.

    `listing()` streams the records in a fixed order, and those that are refused by what the listing alone shows; it
    never holds the whole set. Where options and files of known content decide it, it is a `Listing`. `read` yields, for
    each reference in order, the recording or the reason why it is set aside; it can be pickled. `arguments` are the
    resolved options and `details` what else the manifest should say.
    A source of the modality "tables" yields `ReadExamination`s in place of recordings.
    A source that takes `no_reports` lists recordings without a report too, as `unreported`, where it is given; else it
    refuses them.
    `population` says whose patients these are: in two stores of one population a subject_id is the same person.
    """

    dataset: str
    listing: Rows
    read: Read
    arguments: dict[str, Any]
    details: dict[str, Any] = field(default_factory=dict)
    population: str = ""
    modality: str = "signals"

    def __post_init__(self) -> None:
        """A published set is its own population."""
        if not self.population:
            object.__setattr__(self, "population", self.dataset)


def read_each(read_one: Callable[[RecordRef], Recording],
              refs: Sequence[RecordRef]) -> Iterator[Recording | QuarantineRow]:
    """Read one reference after the other; a RecordError sets its record aside."""
    for ref in refs:
        try:
            yield read_one(ref)
        except RecordError as error:
            yield QuarantineRow(ref.record_id, error.reason, error.detail, ref.source)


def takes(name: str, option: str) -> bool:
    """Whether the source of that name has this option; raises MedReportError for an unknown name."""
    return option in inspect.signature(names.resolve("dataset", name)).parameters


def open_dataset(name: str, seed: int, fs: int = 100, **options: Any) -> Source:
    """Open the source of that name; options that are None were not given. Refuses options it does not take.

    Every store has a seed, of its split, and a rate; a source that simulates, or comes at several rates, takes the
    same ones.
    """
    open_source = names.resolve("dataset", name)
    parameters = inspect.signature(open_source).parameters
    given = {key: value for key, value in options.items() if value is not None}
    given |= {key: value for key, value in (("seed", seed), ("fs", fs)) if key in parameters}
    taken = ", ".join(f"--{key.replace('_', '-')}" for key in parameters)
    for key in given:
        if key not in parameters:
            raise MedReportError(f"prepare {name} takes no --{key.replace('_', '-')}", f"it takes {taken}")
    for key, parameter in parameters.items():
        if parameter.default is inspect.Parameter.empty and key not in given:
            raise MedReportError(f"prepare {name} needs --{key.replace('_', '-')}", f"it takes {taken}")
    return open_source(**given)
