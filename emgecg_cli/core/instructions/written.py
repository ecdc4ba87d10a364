"""Instructions on disk: the pool, the rows, and the manifest behind them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emgecg_cli.core.artifacts import InstructionRow, write_rows
from emgecg_cli.core.claims import sweep
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.files import write_atomically
from emgecg_cli.core.instructions.forms import Form, Pool
from emgecg_cli.core.llm import LLMClient
from emgecg_cli.core.manifest import (
    Manifest,
    check_files,
    file_hashes,
    hashes_of,
    json_hash,
    read_manifest,
    write_manifest,
)
from emgecg_cli.core.store import QUARANTINE
from emgecg_cli.core.store.payloads.healthy import REFERENCES

PROMPTS, ROWS = "prompts.json", "instructions.jsonl"


@dataclass(frozen=True)
class BuildResult:
    """Finished instructions, whether they had been finished before, how many requests were sent for them, and whom they
    were sent to."""

    path: Path
    manifest: Manifest
    already_finished: bool
    requests: int = 0
    asked: LLMClient | None = None


def finished_before(out: Path, arguments: Mapping[str, Any], inputs: Mapping[str, Mapping[str, str]]) -> Manifest:
    hint = "choose another --out, or remove the folder to make it anew"
    manifest = read_manifest(out, "instructions", made_by="build-instructions")
    before = manifest.arguments
    changed = [f"{key} {before.get(key)} (now {arguments.get(key)})" for key in sorted({*before, *arguments})
               if before.get(key) != arguments.get(key)]
    if changed:
        raise MedReportError(f"{out}: finished instructions, made with {', '.join(changed)}", hint)
    if hashes_of(manifest.inputs) != hashes_of(inputs):
        raise MedReportError(f"{out}: finished instructions, made from another store", hint)
    check_files(out, manifest)
    sweep(out)
    return manifest


def write_instructions(out: Path, form: Form, pool: Pool, rows: Iterable[InstructionRow], arguments: dict[str, Any],
                       inputs: dict[str, dict[str, str]],
                       ended: Callable[[], tuple[dict[str, Any], dict[str, Any]]]) -> Manifest:
    """Write the pool (texts with their origins), the rows as they come, and the manifest. `ended` is called behind the
    last row, for counts and details that only then are known."""
    drawn: list[tuple[str, int]] = []
    n_values = 0

    def noted() -> Iterator[InstructionRow]:
        nonlocal n_values
        for row in rows:
            drawn.append((row.record_id, row.prompt_id))
            n_values += form.n_values(row)
            yield row

    entries = [{"id": number, "text": text, "origin": origin} for number, (text, origin) in enumerate(pool)]
    try:
        pool_text = json.dumps({"prompts": entries}, indent=1, ensure_ascii=False) + "\n"
        write_atomically(out / PROMPTS, pool_text.encode())
        write_rows(out / ROWS, noted())
        counts = {"records": len(drawn), "prompts": len(pool),
                  "hand_written": sum(origin == "hand-written" for _, origin in pool),
                  "prompts_used": len({prompt_id for _, prompt_id in drawn})}
        known, details = ended()
        counts |= known
        more = [name for name in (REFERENCES, QUARANTINE) if (out / name).is_file()]
        details |= {"files": file_hashes(out, [PROMPTS, ROWS, *more]),
                    "pool_hash": json_hash([text for text, _ in pool]), "draw_hash": json_hash(drawn)}
        more_counts, more_details = form.details(n_values)
        write_manifest(out, Manifest(kind="instructions", command="build-instructions", arguments=arguments,
                                     seed=arguments.get("seed"), counts=counts | more_counts, inputs=inputs,
                                     details=details | more_details))
    except OSError as error:
        raise MedReportError(f"{out}: cannot be written ({error.strerror})", "choose another --out") from None
    return read_manifest(out, "instructions")
