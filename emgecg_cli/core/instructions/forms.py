"""Where prompts come from, one form for each kind of record: a pool that is drawn from, or the tables themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from emgecg_cli.core.artifacts import InstructionRow
from emgecg_cli.core.config import InstructionDefaults
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.instructions import table_prompts
from emgecg_cli.core.instructions.beside_tables import with_tables
from emgecg_cli.core.instructions.conversations import CONVERSATIONS, Conversations
from emgecg_cli.core.instructions.pool import SEED_PROMPTS, draw
from emgecg_cli.core.instructions.validate import check_prompt, normalise
from emgecg_cli.core.manifest import Manifest
from emgecg_cli.core.references import References
from emgecg_cli.core.references.files import hash_of
from emgecg_cli.core.store import Store, kind_of

REBUILD = "remove the folder and run `medreport build-instructions` again"
REPORT_EVERY = 500  # records

Pool = Sequence[tuple[str, str]]  # the text of each prompt, and where it is from
Progress = Callable[[int, int], None]
WORDLESS: Pool = (("", "none"),)  # the pool of size 0: the recording is the whole prompt


@dataclass(frozen=True)
class Asked:
    """What instructions are asked for: the options of both forms, of which each takes its own.

    `rephrase` makes the pool, and `drawn` is what a manifest says of it; `references` are those whose items are shown
    as values, and `references_file` the file they are from, where one was given. `tables` is a store whose tables stand
    beside the recordings of the other.
    """

    pool_size: int
    rephraser: str
    seed: int
    rephrase: Callable[..., list[str]]
    language: str
    layout: str
    references: References | None = None
    references_file: Path | None = None
    tables: Store | None = None
    drawn: Mapping[str, Any] = field(default_factory=dict)
    progress: Progress | None = None


class Form(Protocol):
    """How instructions of one form are checked when they are read, and what their manifest tells of them."""

    @property
    def own_answers(self) -> bool:
        """Whether the answers are the instructions' own, of records that they choose, and not the store's reports."""

    def n_values(self, row: InstructionRow) -> int:
        """The numbers in a prompt that are values."""

    def details(self, n_values: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """More counts and details for the manifest, of so many values in the prompts."""

    def check_pool(self, pool: Sequence[tuple[Any, Any]], path: Path) -> list[str]:
        """The texts of a pool of (id, text), as they were read; raises MedReportError for one that is none."""

    def why_not(self, row: InstructionRow, prompts: Sequence[str]) -> str | None:
        """Why a row that was read is no instruction of this form; None when it is one."""


class Maker(Form, Protocol):
    """How the prompts of one kind of record are made."""

    def idle(self, asked: Asked) -> list[str]:
        """The options that were given and have no effect here."""

    def arguments(self, asked: Asked) -> dict[str, Any]:
        """What decides the prompts, as the manifest says it."""

    def make(self, store: Store, asked: Asked) -> tuple[Pool, Iterable[InstructionRow]]:
        """The pool, and the instruction of each record in store order."""


@dataclass(frozen=True)
class DrawnPrompts:
    """A prompt of the pool for each record, and the report as its answer; see `Form`."""

    own_answers: bool = False

    def idle(self, asked: Asked) -> list[str]:
        """See `Form`."""
        given = {"--language": asked.language != "record", "--layout": asked.layout != table_prompts.PUBLISHED,
                 "--references": asked.references_file is not None, "--tables": asked.tables is not None}
        return [option for option, changed in given.items() if changed]

    def arguments(self, asked: Asked) -> dict[str, Any]:
        """See `Form`."""
        return dict(asked.drawn)

    def make(self, store: Store, asked: Asked) -> tuple[Pool, Iterable[InstructionRow]]:
        """See `Form`; `progress` counts prompts."""
        if not asked.pool_size:
            return WORDLESS, _signal_rows(store, [text for text, _ in WORDLESS], asked.seed)
        prompts = asked.rephrase(SEED_PROMPTS, asked.pool_size, seed=asked.seed, progress=asked.progress)
        pool = [(text, "hand-written" if number < len(SEED_PROMPTS) else asked.rephraser)
                for number, text in enumerate(prompts)]
        return pool, _signal_rows(store, prompts, asked.seed)

    def n_values(self, row: InstructionRow) -> int:
        """See `Form`."""
        return 0

    def details(self, n_values: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """See `Form`."""
        return {}, {}

    def check_pool(self, pool: Sequence[tuple[Any, Any]], path: Path) -> list[str]:
        """See `Form`."""
        if list(pool) == [(0, "")]:
            return [""]
        known: set[str] = set()
        for number, (prompt_id, text) in enumerate(pool):
            why = check_prompt(text)
            if type(prompt_id) is not int or prompt_id != number:
                raise MedReportError(f"{path}: prompt {number} has another id", REBUILD)
            if why is not None:
                raise MedReportError(f"{path}, prompt {number}: {why}", REBUILD)
            if normalise(text) in known:
                raise MedReportError(f"{path}, prompt {number}: is there twice", REBUILD)
            known.add(normalise(text))
        return [text for _, text in pool]

    def why_not(self, row: InstructionRow, prompts: Sequence[str]) -> str | None:
        """See `Form`."""
        report = row.messages[1].get("content") if len(row.messages) > 1 else None
        fits = isinstance(report, str | None) and row.messages == _messages(prompts[row.prompt_id], report)
        return None if fits else "not its prompt and a report"


@dataclass(frozen=True)
class TablePrompts:
    """The tables of each record as its prompt, in the published layout; see `Form` and `table_prompts`."""

    own_answers: bool = False

    def idle(self, asked: Asked) -> list[str]:
        """See `Form`."""
        given = {"--pool-size": asked.pool_size != InstructionDefaults.pool_size,
                 "--rephraser": asked.rephraser != InstructionDefaults.rephraser,
                 "--tables": asked.tables is not None}
        return [option for option, changed in given.items() if changed]

    def arguments(self, asked: Asked) -> dict[str, Any]:
        """See `Form`."""
        held = asked.references if asked.references_file else None
        return {"language": asked.language, "layout": asked.layout} | ({"references": hash_of(held)} if held else {})

    def make(self, store: Store, asked: Asked) -> tuple[Pool, Iterable[InstructionRow]]:
        """See `Form`; `progress` counts records."""
        pool = list(zip(table_prompts.PROMPTS, table_prompts.ORIGINS, strict=True))
        rows = table_prompts.table_rows(store, asked.references, asked.language, asked.layout)
        return pool, _reported(rows, len(store), asked.progress)

    def n_values(self, row: InstructionRow) -> int:
        """See `Form`."""
        return table_prompts.count_values(row)

    def details(self, n_values: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """See `Form`."""
        return {"values": n_values}, {"modality": "tables"}

    def check_pool(self, pool: Sequence[tuple[Any, Any]], path: Path) -> list[str]:
        """See `Form`."""
        if list(pool) != list(enumerate(table_prompts.PROMPTS)):
            raise MedReportError(f"{path}: not the prompts of tables", REBUILD)
        return list(table_prompts.PROMPTS)

    def why_not(self, row: InstructionRow, prompts: Sequence[str]) -> str | None:
        """See `Form`."""
        return table_prompts.why_not_a_row(row)


@dataclass(frozen=True)
class DrawnWithTables:
    """A prompt of the pool for each recording, and behind it the tables that another store has of the same record; see
    `Form`. A record that store does not have is a recording alone."""

    own_answers: bool = False

    def idle(self, asked: Asked) -> list[str]:
        """See `Form`."""
        return []

    def arguments(self, asked: Asked) -> dict[str, Any]:
        """See `Form`."""
        return DrawnPrompts().arguments(asked) | TablePrompts().arguments(asked)

    def make(self, store: Store, asked: Asked) -> tuple[Pool, Iterable[InstructionRow]]:
        """See `Form`; `progress` counts prompts."""
        assert asked.tables is not None
        pool, rows = DrawnPrompts().make(store, asked)
        return pool, with_tables(rows, store, asked.tables, asked.references, asked.language, asked.layout)

    def n_values(self, row: InstructionRow) -> int:
        """See `Form`."""
        return table_prompts.count_values(row)

    def details(self, n_values: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """See `Form`."""
        return {"values": n_values}, {"form": WITH_TABLES}

    def check_pool(self, pool: Sequence[tuple[Any, Any]], path: Path) -> list[str]:
        """See `Form`."""
        return DrawnPrompts().check_pool(pool, path)

    def why_not(self, row: InstructionRow, prompts: Sequence[str]) -> str | None:
        """See `Form`."""
        content = row.messages[0].get("content") if row.messages else None
        if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
            return "not a prompt of parts"
        whys = [f"part {number} of its prompt {why}" for number, part in enumerate(content[2:], 3)
                if (why := table_prompts.why_not_a_part(part))]
        plain = replace(row, messages=[{**row.messages[0], "content": content[:2]}, *row.messages[1:]])
        return DrawnPrompts().why_not(plain, prompts) or next(iter(whys), None)


WITH_TABLES = "pool+tables"
# by the name that a kind of record gives, `store.Kind.prompts`, or instructions in their manifest
MAKERS: dict[str, Maker] = {"pool": DrawnPrompts(), "tables": TablePrompts(), WITH_TABLES: DrawnWithTables()}
FORMS: dict[str, Form] = {**MAKERS, CONVERSATIONS: Conversations()}


def form_of(artefact: Manifest) -> Form:
    """How the prompts of a store, or of finished instructions, are made."""
    name = artefact.details.get("form") or kind_of(artefact).prompts
    if name not in FORMS:
        raise MedReportError(f"instructions of the form '{str(name)[:40]}', which this medreport does not know",
                             "install a newer medreport")
    return FORMS[name]


def form_asked(store: Store, tables: Store | None) -> Maker:
    """The form for a store, and for one of tables beside it; raises MedReportError where these are not that."""
    if tables is None or not store.kind.has_signals:
        return MAKERS[store.kind.prompts]
    if tables.kind.has_signals:
        raise MedReportError(f"{tables.path}: a store of {tables.kind.name}, where --tables takes one of tables",
                             "give the store of an EMG data set")
    return MAKERS[WITH_TABLES]


def prompt_id_of(record_id: str, pool_size: int, seed: int) -> int:
    """The prompt a record gets: uniform over the pool, independent of all other records."""
    return draw(pool_size, "record", seed, record_id)


def _signal_rows(store: Store, prompts: list[str], seed: int) -> Iterator[InstructionRow]:
    records = store.scan().select("record_id", "report").collect()
    for record_id, report in zip(records["record_id"], records["report"], strict=True):
        prompt_id = prompt_id_of(record_id, len(prompts), seed)
        yield InstructionRow(record_id, prompt_id, _messages(prompts[prompt_id], report))


def _messages(prompt: str, report: str | None) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "ecg"}, {"type": "text", "text": prompt}]},
            *([] if report is None else [{"role": "assistant", "content": report}])]


def _reported(rows: Iterable[InstructionRow], total: int, progress: Progress | None) -> Iterator[InstructionRow]:
    for number, row in enumerate(rows, 1):
        yield row
        if progress and (number % REPORT_EVERY == 0 or number == total):
            progress(number, total)
