"""`generate`: a run and a store in, predictions out. Batched, append-only, resumable.

The batches and their order are fixed by the records alone, and a batch that was not written whole is made again
whole, so a killed run ends with the bytes of an unbroken one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from emgecg_cli.core.artifacts import SPLITS, PredictionRow, read_rows, to_json
from emgecg_cli.core.config import GenerateConfig
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.instructions.build import Instructions, open_instructions
from emgecg_cli.core.instructions.render import render_prompt
from emgecg_cli.core.manifest import (
    Manifest,
    input_of,
    input_path,
    is_finished,
    json_hash,
    manifest_path,
    read_manifest,
    write_manifest,
)
from emgecg_cli.core.models.report_model import ReportModel, left_pad, to_input
from emgecg_cli.core.models.run_files import load_run
from emgecg_cli.core.store import Store, open_store

SIGNALS = ("real", "shuffled", "zeros", "none")
Progress = Callable[..., None]


@dataclass(frozen=True)
class GenerateResult:
    """Finished predictions; `written` of them in this session."""

    path: Path | None
    records: int
    written: int
    already_finished: bool = False


@dataclass(frozen=True)
class Job:
    """What is to be generated: records in order of prompt length, and the recording each is shown."""

    store: Store
    instructions: Instructions
    order: list[int]
    shown: dict[int, int]
    prompts: dict[int, list[int]]
    config: GenerateConfig

    def batches(self) -> list[list[int]]:
        """Store indices, batch by batch."""
        size = self.config.batch_size
        return [self.order[i:i + size] for i in range(0, len(self.order), size)]


def generate_reports(run: Path, out: Path | IO[str], config: GenerateConfig, *, store_path: Path | None = None,
                     instructions_path: Path | None = None, progress: Progress | None = None) -> GenerateResult:
    """Generate a report for each record of a split and write them to `out`, a path or an open text stream.

    Store and instructions default to those the run was trained on. Raises MedReportError when they do not fit the run,
    or when `out` belongs to other settings.
    """
    manifest = read_manifest(run, "run", made_by="train")
    store = open_store(store_path or input_path(manifest, "store"))
    instructions = open_instructions(instructions_path or input_path(manifest, "instructions"))
    _check_fits(manifest, store, config)
    inputs = {"run": input_of(run), "store": input_of(store.path), "instructions": input_of(instructions.path)}
    details = {"dataset": store.dataset, "run": run.name}
    arguments = asdict(config)
    plan = json_hash([arguments, inputs])
    if isinstance(out, Path) and is_finished(out):
        old = read_manifest(out, "predictions", made_by="generate")
        if json_hash([old.arguments, old.inputs]) != plan:
            raise MedReportError(f"{out}: holds predictions of other settings or inputs", "give another --out")
        return GenerateResult(out, old.counts["records"], 0, already_finished=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
    model, tokenizer, _ = load_run(run, device, torch.bfloat16 if bf16 else torch.float32)
    job = _plan_job(store, instructions, tokenizer, config)
    if not isinstance(out, Path):
        for batch in job.batches():
            out.writelines(to_json(row) + "\n" for row in _generate_batch(model, tokenizer, job, batch, device))
            out.flush()
        return GenerateResult(None, len(job.order), len(job.order))
    written = _append(out, plan, job, model, tokenizer, device, progress)
    counts = {"records": len(job.order), "empty": _count_empty(out)}
    write_manifest(out, Manifest("predictions", "generate", arguments, config.seed, counts, inputs, details))
    _mark(out).unlink(missing_ok=True)
    return GenerateResult(out, len(job.order), written)


def _check_fits(manifest: Manifest, store: Store, config: GenerateConfig) -> None:
    if config.signal not in SIGNALS:
        raise MedReportError(f"no signal '{config.signal}'", f"available: {', '.join(SIGNALS)}")
    if config.split not in SPLITS:
        raise MedReportError(f"no split '{config.split}'", f"available: {', '.join(SPLITS)}")
    trained = manifest.details
    if (store.fs, store.sig_len) != (trained["fs"], trained["sig_len"]):
        raise MedReportError(f"{store.path}: {store.fs} Hz and {store.sig_len} samples; the run was trained on "
                             f"{trained['fs']} Hz and {trained['sig_len']}", f"prepare it with --fs {trained['fs']}")
    if store.dataset == trained["dataset"] and store.manifest.details["split_hash"] != trained["split_hash"]:
        raise MedReportError(f"{store.path}: split otherwise than the store the run was trained on, so its "
                             f"{config.split} split may hold patients seen in training",
                             "prepare it with the same --split and --seed")


def _plan_job(store: Store, instructions: Instructions, tokenizer: Any, config: GenerateConfig) -> Job:
    chosen = [int(i) for i in store.indices(config.split)][:config.limit]
    if not chosen:
        raise MedReportError(f"{store.path}: no record in the {config.split} split", "choose another --split")
    rows = instructions.of(store.records["record_id"].gather(chosen).to_list())
    prompts = {i: render_prompt(row.messages, tokenizer) for i, row in zip(chosen, rows, strict=True)}
    shown = dict(zip(chosen, chosen, strict=True))
    if config.signal == "shuffled":
        shown = shuffle_between_patients(chosen, store.records["subject_id"].to_list(), config.seed)
    order = sorted(chosen, key=lambda i: (len(prompts[i]), i))
    return Job(store, instructions, order, shown, prompts, config)


def shuffle_between_patients(indices: list[int], subjects: list[str], seed: int) -> dict[int, int]:
    """A seeded permutation that gives every record the recording of another patient.

    Raises MedReportError when one patient has more than half of the records: then none exists.
    """
    rng = np.random.default_rng(seed)
    by_subject: dict[str, list[int]] = {}
    for i in rng.permutation(indices).tolist():
        by_subject.setdefault(subjects[i], []).append(i)
    groups = sorted(by_subject.values(), key=len, reverse=True)  # stable: equal sizes stay in random order
    largest = len(groups[0])
    if 2 * largest > len(indices):
        raise MedReportError(f"one patient has {largest} of {len(indices)} records: no shuffle between patients exists",
                             "choose another --split")
    # Patients lie in blocks; a shift by the largest block takes every record out of its own.
    ordered = [i for group in groups for i in group]
    return dict(zip(ordered, ordered[largest:] + ordered[:largest], strict=True))


def _generate_batch(model: ReportModel, tokenizer: Any, job: Job, batch: list[int], device: torch.device) \
        -> Iterator[PredictionRow]:
    prompts = [job.prompts[i] for i in batch]
    input_ids, mask = left_pad(prompts, tokenizer.pad_token_id)
    signal = None
    if job.config.signal != "none":
        signal = to_input(torch.from_numpy(np.stack([job.store.signal(job.shown[i]) for i in batch])).to(device))
    if signal is not None and job.config.signal == "zeros":
        signal = torch.zeros_like(signal)
    # Every setting that decides the text is given here: a checkpoint's own generation_config may ask for sampling.
    output = model.generate(signal, input_ids.to(device), mask.to(device), max_new_tokens=job.config.max_new_tokens,
                            num_beams=job.config.num_beams, do_sample=False, temperature=None, top_p=None, top_k=None,
                            pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id)
    for i, ids in zip(batch, output[:, input_ids.shape[1]:].tolist(), strict=True):
        row = job.store.row(i)
        text = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False).strip()
        shown = job.store.row(job.shown[i]).record_id if job.config.signal in ("real", "shuffled") else None
        yield PredictionRow(row.record_id, text, row.report, job.instructions.rows[row.record_id].prompt_id,
                            row.subject_id, job.store.dataset, row.language, row.codes, job.config.signal, shown)


def _append(out: Path, plan: str, job: Job, model: ReportModel, tokenizer: Any, device: torch.device,
            progress: Progress | None) -> int:
    """Write the batches that `out` lacks; returns how many records that were."""
    batches = job.batches()
    done = _resume(out, plan, [len(batch) for batch in batches])
    written, total = sum(map(len, batches[:done])), len(job.order)
    before = written
    with out.open("ab") as stream:
        for batch in batches[done:]:
            rows = _generate_batch(model, tokenizer, job, batch, device)
            stream.write("".join(to_json(row) + "\n" for row in rows).encode())
            stream.flush()
            os.fsync(stream.fileno())
            written += len(batch)
            if progress:
                progress(written, total)
    return written - before


def _resume(out: Path, plan: str, sizes: list[int]) -> int:
    """Cut an unfinished file back to whole batches and return how many it holds; start a new one if there is none."""
    mark = _mark(out)
    if out.exists() and not mark.exists():
        raise MedReportError(f"{out}: exists, but was not written by `generate`", "give another --out")
    if mark.exists() and mark.read_text().strip() != plan:
        raise MedReportError(f"{out}: unfinished predictions of other settings or inputs",
                             f"give another --out, or remove {out} and {mark}")
    out.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text(plan + "\n")
    data = out.read_bytes() if out.exists() else b""
    lines = data.splitlines(keepends=True)
    whole = sum(line.endswith(b"\n") for line in lines)
    done = kept = 0
    while done < len(sizes) and kept + sizes[done] <= whole:
        kept += sizes[done]
        done += 1
    with out.open("ab") as stream:
        stream.truncate(sum(map(len, lines[:kept])))
    return done


def _mark(out: Path) -> Path:
    """Beside unfinished predictions: the hash of what they are made from."""
    return manifest_path(out).with_suffix(".unfinished")


def _count_empty(out: Path) -> int:
    return sum(not row.prediction for row in read_rows(out, PredictionRow))
