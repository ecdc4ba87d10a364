"""From a store to grounded instructions: a question and a checked interpretation for each record with a report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emgecg_cli.core import names
from emgecg_cli.core.artifacts import InstructionRow, QuarantineRow, write_rows
from emgecg_cli.core.claims import claim
from emgecg_cli.core.config import REQUESTS_AT_ONCE
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.instructions.conversations import SHOWN, Conversations
from emgecg_cli.core.instructions.grounded.outcomes import Outcome, by_model, by_rules, counted, write_all
from emgecg_cli.core.instructions.grounded.questions import QUESTIONS, request
from emgecg_cli.core.instructions.pool import draw
from emgecg_cli.core.instructions.refusals import refuse_empty
from emgecg_cli.core.instructions.written import BuildResult, finished_before, write_instructions
from emgecg_cli.core.llm import LLMClient, Prices
from emgecg_cli.core.manifest import ENDPOINT, check_folder_name, hashes_of, input_of, is_finished, json_hash
from emgecg_cli.core.store import QUARANTINE, Store, open_store

CACHE, KEPT = ".cache", "written.jsonl"
WRITERS = ("rules", "llm")
Progress = Callable[[int, int], None]


def build_grounded(store_path: Path, out: Path, *, writer: str = "rules", seed: int = 0, shown: str = "ecg",
                   base_url: str | None = None, model: str | None = None, client: LLMClient | None = None,
                   requests_at_once: int | None = None, prices: Prices | None = None,
                   progress: Progress | None = None) -> BuildResult:
    """Write a question and an interpretation for all records of a store, or say that they are finished already.

    `writer` "rules" needs no model; "llm" sends reports and measurements to `model` at `base_url`, `requests_at_once`
    at a time, and keeps the answers in `out/.cache`, so that a killed run asks for nothing twice; `client` replaces
    these. Texts that do not pass the checks are written again, and set aside with the reason where that does not help.
    `seed` decides on questions and wordings, `shown` on the parts of a prompt: "ecg", "image" or "ecg,image".
    `progress(done, total)` counts records.

    A record without a report gets a question and no answer. Raises MedReportError on bad arguments, for a store of
    tables, when no record is kept, and when `out` holds something else.
    """
    if writer not in WRITERS:
        raise names.unknown_name("writer", writer, WRITERS)
    if shown not in SHOWN:
        raise names.unknown_name("input", shown, SHOWN)
    store = open_store(store_path)
    store.check_has_signals()
    arguments: dict[str, Any] = {"kind": "grounded", "writer": writer, "seed": seed, "inputs": shown}
    if writer == "llm":
        client = client or _client(out, base_url, model, requests_at_once, prices)
        arguments |= {"base_url": client.base_url, "model": client.model,
                      "prompt": json_hash(request("{}", "{}", 0))[:16]}
    elif given := [option for option, value in (("--base-url", base_url), ("--model", model), ("--price-in", prices),
                                                ("--requests-at-once", requests_at_once)) if value is not None]:
        raise MedReportError(f"--writer rules asks no model and takes no {given[0]}", "leave it out, or add --writer "
                             "llm")
    inputs = {"store": input_of(store_path, out)}
    check_folder_name(out)
    if is_finished(out):
        return BuildResult(out, finished_before(out, arguments, inputs), True)
    refuse_empty(store)
    with claim(out, {"settings": arguments, "inputs": hashes_of(inputs)}, own=[CACHE]) as claimed, \
            client or nullcontext():
        claimed.begin()
        kept = out / CACHE / KEPT
        write = by_model(client) if client else by_rules(seed)
        made = _Made(store, seed, shown, progress)
        pool = [(text, "hand-written") for text in QUESTIONS]
        manifest = write_instructions(out, Conversations(), pool, made.rows(write_all(store, write, client, kept)),
                                      arguments, inputs, lambda: made.ended(out, client))
        kept.unlink(missing_ok=True)
        if not client:
            kept.parent.rmdir()
        claimed.finish()
    return BuildResult(out, manifest, False, client.sent if client else 0, client)


def _client(out: Path, base_url: str | None, model: str | None, requests_at_once: int | None,
            prices: Prices | None) -> LLMClient:
    if not base_url or not model:
        raise MedReportError("--writer llm sends reports and measurements to a model, and none is named",
                             "add --base-url URL --model NAME, or take --writer rules")
    return LLMClient(model=model, base_url=base_url, cache=out / CACHE / "answers.jsonl", prices=prices,
                     at_once=requests_at_once or REQUESTS_AT_ONCE)


@dataclass
class _Made:
    """The rows of some outcomes, and what is to be told of them."""

    store: Store
    seed: int
    shown: str
    progress: Progress | None
    aside: list[QuarantineRow] = field(default_factory=list)
    rejected: list[Any] = field(default_factory=list)
    unreported: int = 0

    def rows(self, outcomes: Iterator[Outcome]) -> Iterator[InstructionRow]:
        """The instruction of each record that is kept."""
        parts = [{"type": name} for name in self.shown.split(",")]
        sources = self.store.column("source")
        for number, one in enumerate(outcomes):
            if self.progress:
                self.progress(number + 1, len(self.store))
            self.rejected += [one.rejected] if one.rejected else []
            self.unreported += not one.reported
            if one.set_aside:
                row = one.quarantined()
                self.aside.append(QuarantineRow(row.record_id, row.reason, row.detail, sources[number]))
                continue
            prompt_id = draw(len(QUESTIONS), "question", self.seed, one.record_id)
            question = [*parts, {"type": "text", "text": QUESTIONS[prompt_id]}]
            answer = [] if one.text is None else [{"role": "assistant", "content": one.text}]
            yield InstructionRow(one.record_id, prompt_id, [{"role": "user", "content": question}, *answer])

    def ended(self, out: Path, client: LLMClient | None) -> tuple[dict[str, Any], dict[str, Any]]:
        """Write what was set aside; counts and details for the manifest."""
        if len(self.aside) == len(self.store):
            first = self.aside[0]
            raise MedReportError(f"{self.store.path}: no interpretation was kept; that of record '{first.record_id}' "
                                 f"for {first.reason} ({first.detail[:160]})",
                                 "try another --model, or --writer rules")
        write_rows(out / QUARANTINE, self.aside)
        answers = sum(map(len, self.rejected))
        counts = {"set_aside": len(self.aside), "rejected": answers, "without_report": self.unreported}
        took = client.used.told(client.prices) if client else {}
        return counts, {"rejected": counted(self.rejected)} | ({ENDPOINT: took} if took else {})
