"""From a store to instructions: make the pool, draw one prompt for each record, write both with their hashes.

A store of tables has no pool: its prompts are the tables themselves, in the published layout (`forms`).
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from emgecg_cli.core import names
from emgecg_cli.core.artifacts import InstructionRow, read_rows
from emgecg_cli.core.claims import claim
from emgecg_cli.core.config import REQUESTS_AT_ONCE, InstructionDefaults
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.instructions import table_prompts
from emgecg_cli.core.instructions.forms import REBUILD, Asked, Form, form_asked, form_of
from emgecg_cli.core.instructions.refusals import refuse_empty, refuse_endpoint, refuse_options
from emgecg_cli.core.instructions.rows import Rows, index_rows
from emgecg_cli.core.instructions.written import (
    PROMPTS,
    ROWS,
    BuildResult,
    finished_before,
    write_instructions,
)
from emgecg_cli.core.llm import LLMClient, Prices
from emgecg_cli.core.manifest import (
    ENDPOINT,
    Manifest,
    check_files,
    check_folder_name,
    hashes_of,
    input_of,
    is_finished,
    json_hash,
    read_manifest,
    why_damaged,
)
from emgecg_cli.core.references import References, read_references, write_references
from emgecg_cli.core.store import open_store
from emgecg_cli.core.store.payloads.healthy import REFERENCES

CACHE = ".cache"
MAX_POOL = 2048


@dataclass(frozen=True)
class Instructions:
    """Finished instructions: the pool by prompt id, and the rows by record id, in the order of their store."""

    path: Path
    manifest: Manifest
    prompts: list[str]
    rows: Rows

    def references(self) -> References | None:
        """The reference ranges of values that stand beside recordings; None where there are none."""
        return read_references(self.path / REFERENCES) if REFERENCES in self.manifest.details.get("files", {}) \
            else None

    def of(self, record_ids: Sequence[str]) -> list[InstructionRow]:
        """The instruction of each record; raises MedReportError when one has none."""
        try:
            return [self.rows[record_id] for record_id in record_ids]
        except KeyError:
            missing = [record_id for record_id in record_ids if record_id not in self.rows]
            raise MedReportError(f"{self.path}: no instruction for record {missing[0]} and {len(missing) - 1} more",
                                 "build instructions for that store, and give them with --instructions") from None


def build_instructions(store_path: Path, out: Path, *, pool_size: int = InstructionDefaults.pool_size,
                       rephraser: str = InstructionDefaults.rephraser, seed: int = InstructionDefaults.seed,
                       base_url: str | None = None, model: str | None = None, client: LLMClient | None = None,
                       language: str = "record", layout: str = table_prompts.PUBLISHED, references: Path | None = None,
                       tables: Path | None = None, requests_at_once: int | None = None, prices: Prices | None = None,
                       progress: Callable[[int, int], None] | None = None) -> BuildResult:
    """Write instructions for all records of a store, or say that they are finished already.

    The pool starts with the hand-written prompts; a pool of at most 32 is their start, 1 is MEIT's fixed prompt, 0 no
    words at all: the prompt is the recording. Which
    prompt a record gets depends on `seed`, its record_id and the pool size alone. `base_url` and `model` (None: the
    defaults) are for a rephraser that asks a language model; its answers are kept in `out/.cache`, so that a killed run
    goes on where it stopped. It is asked `requests_at_once` at a time, and what its answers
    took stands in the manifest where the endpoint counts it, with their cost where there are `prices`. `client`
    replaces all of these, with its own cache. `progress(done, total)` counts prompts.

    A store of tables takes neither pool nor rephraser, and draws nothing: `language` ("en", "zh", "record": each
    record's own) is that of the words in and around its tables. `references` is another store's references.json: its
    items are the numbers that are shown as values, not the store's own. Its `progress` counts records.

    `tables` is a store of tables whose records, by their ids, are the same examinations' as those of a store of
    recordings: their tables stand behind the prompts that are drawn, and the references of their values are kept beside
    the instructions. The reports stay those of the store.

    A record without a report gets a prompt and no answer. Raises MedReportError on bad arguments, for one with an empty
    report or in train, and when `out` holds something else.
    """
    if not 0 <= pool_size <= MAX_POOL:
        raise MedReportError(f"a pool of {pool_size} prompts", f"--pool-size is 0 to {MAX_POOL} (MEIT: 256)")
    if language not in table_prompts.LANGUAGES:
        raise names.unknown_name("language", language, table_prompts.LANGUAGES)
    if layout not in table_prompts.LAYOUTS:
        raise names.unknown_name("layout", layout, table_prompts.LAYOUTS)
    rephrase = names.resolve("rephraser", rephraser)
    drawn: dict[str, Any] = {"pool_size": pool_size, "rephraser": rephraser, "seed": seed}
    if "client" in inspect.signature(rephrase).parameters:
        client = client or LLMClient(model=model or InstructionDefaults.model, prices=prices,
                                     base_url=base_url or InstructionDefaults.base_url,
                                     at_once=requests_at_once or REQUESTS_AT_ONCE,
                                     cache=out / CACHE / "answers.jsonl")
        drawn |= {"base_url": client.base_url, "model": client.model}
        rephrase = partial(rephrase, client=client)
    else:
        refuse_endpoint(rephraser, base_url, model, requests_at_once, prices)
    store = open_store(store_path)
    beside = open_store(tables) if tables else None
    form = form_asked(store, beside)
    held = read_references(references) if references else (beside or store).references()
    asked = Asked(pool_size, rephraser, seed, rephrase, language, layout, held, references, beside, drawn, progress)
    refuse_options(store, form.idle(asked))
    arguments = form.arguments(asked)
    inputs = {"store": input_of(store_path, out)} | ({"tables": input_of(tables, out)} if tables else {})
    check_folder_name(out)
    if is_finished(out):
        return BuildResult(out, finished_before(out, arguments, inputs), True)
    refuse_empty(store)
    plan = {"settings": arguments, "inputs": hashes_of(inputs)}
    with claim(out, plan, own=[CACHE]) as claimed, client or nullcontext():
        claimed.begin()
        pool, rows = form.make(store, asked)
        if beside and held:
            write_references(out / REFERENCES, held)
        took = client.used.told(client.prices) if client else {}
        manifest = write_instructions(out, form, pool, rows, arguments, inputs,
                                      lambda: ({}, {ENDPOINT: took} if took else {}))
        claimed.finish()
    return BuildResult(out, manifest, False, client.sent if client else 0, client)


def open_instructions(path: Path) -> Instructions:
    """Open finished instructions: their pool, and an index of their rows, each of which is checked when it is read.

    Raises MedReportError that names file and record when they are not what was written.
    """
    manifest = read_manifest(path, "instructions", made_by="build-instructions")
    form = form_of(manifest)
    prompts = _read_pool(path / PROMPTS, form)
    if json_hash(prompts) != manifest.details.get("pool_hash"):
        raise MedReportError(f"{path / PROMPTS}: not the pool the manifest speaks of", REBUILD)
    check = partial(_check_row, prompts=prompts, path=path / ROWS, form=form)
    if not _are_as_written(path, manifest):
        _check_rows(path / ROWS, manifest, form, check)
        check_files(path, manifest)
    check_files(path, manifest, but=ROWS)
    rows = index_rows(path / ROWS, check)
    if len(rows) != manifest.counts.get("records"):
        raise _another_count(path / ROWS, len(rows), manifest)
    return Instructions(path, manifest, prompts, rows)


def _are_as_written(path: Path, manifest: Manifest) -> bool:
    """Whether the rows have the hash that the manifest names, which says more than looking through them would."""
    digest = manifest.details.get("files", {}).get(ROWS)
    return digest is not None and why_damaged(path, ROWS, digest) is None


def _check_rows(path: Path, manifest: Manifest, form: Form, check: Callable[[InstructionRow], None]) -> None:
    """Look through all rows for what is wrong with them, and name the record."""
    drawn: dict[str, int] = {}
    n_values = 0
    for row in read_rows(path, InstructionRow):
        check(row)
        if row.record_id in drawn:
            raise MedReportError(f"{path}: record '{row.record_id}' is there twice", REBUILD)
        drawn[row.record_id] = row.prompt_id
        n_values += form.n_values(row)
    if len(drawn) != manifest.counts.get("records"):
        raise _another_count(path, len(drawn), manifest)
    told, _ = form.details(n_values)
    if told.get("values") != manifest.counts.get("values"):
        raise MedReportError(f"{path}: {told.get('values')} values, the manifest says {manifest.counts.get('values')}",
                             REBUILD)
    if json_hash([list(pair) for pair in drawn.items()]) != manifest.details.get("draw_hash"):
        raise MedReportError(f"{path}: not the draw the manifest speaks of", REBUILD)


def _another_count(path: Path, count: int, manifest: Manifest) -> MedReportError:
    return MedReportError(f"{path}: {count} records, the manifest says {manifest.counts.get('records')}", REBUILD)


def _read_pool(path: Path, form: Form) -> list[str]:
    try:
        entries = json.loads(path.read_bytes())["prompts"]
        pool = [(entry["id"], entry["text"]) for entry in entries]
    except FileNotFoundError:
        raise MedReportError(f"{path}: missing", REBUILD) from None
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        raise MedReportError(f"{path}: not a pool of prompts", REBUILD) from None
    return form.check_pool(pool, path)


def _check_row(row: InstructionRow, prompts: list[str], path: Path, form: Form) -> None:
    if not 0 <= row.prompt_id < len(prompts):
        raise MedReportError(f"{path}, record '{row.record_id}': its prompt is not in the pool", REBUILD)
    if why := form.why_not(row, prompts):
        raise MedReportError(f"{path}, record '{row.record_id}': {why}", REBUILD)
