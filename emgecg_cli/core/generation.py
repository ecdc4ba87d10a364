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
from transformers import GenerationConfig

from emgecg_cli.core.artifacts import SPLITS, PredictionRow, read_rows, to_json
from emgecg_cli.core.claims import claim, confirm_finished
from emgecg_cli.core.config import GenerateConfig
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.instructions.build import Instructions, open_instructions
from emgecg_cli.core.instructions.render import render_prompt
from emgecg_cli.core.manifest import (
    Manifest,
    file_hashes,
    hashes_of,
    input_of,
    input_path,
    is_finished,
    package_versions,
    read_manifest,
    write_manifest,
)
from emgecg_cli.core.models.backbones import machine_at_hand
from emgecg_cli.core.models.report_model import ReportModel, left_pad, to_input
from emgecg_cli.core.models.run_files import load_run, train_subjects
from emgecg_cli.core.store import Store, open_store, subject_hashes

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
    """Generate a report for each record of a split and write them to `out`, a `.jsonl` file or an open text stream.

    Store and instructions default to those the run was trained on. Raises MedReportError when they do not fit the run,
    or when `out` belongs to other settings.
    """
    if isinstance(out, Path) and out.suffix != ".jsonl":
        raise MedReportError(f"{out}: predictions are written to a .jsonl file", f"give --out {out}.jsonl")
    manifest = read_manifest(run, "run", made_by="train")
    store = open_store(store_path or input_path(run, manifest, "store"))
    instructions = open_instructions(instructions_path or input_path(run, manifest, "instructions"))
    _check_fits(run, manifest, store, config)
    made_from = {"run": run, "store": store.path, "instructions": instructions.path}
    inputs = {role: input_of(path, out if isinstance(out, Path) else Path()) for role, path in made_from.items()}
    machine = machine_at_hand()
    device = torch.device(machine["device"])
    dtype = torch.bfloat16 if machine["precision"] == "bf16" else torch.float32
    plan = {"settings": asdict(config), "inputs": hashes_of(inputs), "machine": machine, "versions": package_versions()}
    if isinstance(out, Path) and is_finished(out):
        return _finished(out, plan)

    def writer() -> Writer:
        model, tokenizer, _ = load_run(run, device, dtype)
        return Writer(model, tokenizer, _plan_job(store, instructions, tokenizer, config), device)

    if not isinstance(out, Path):
        return _stream(out, writer(), progress)
    with claim(out, plan) as claimed:
        write = writer()
        claimed.begin()
        written = _append(out, write, progress)
        rows = read_rows(out, PredictionRow)
        counts = {"records": len(rows), "empty": sum(not row.prediction for row in rows)}
        details = {"dataset": store.dataset, "run": run.name, "machine": machine,
                   "files": file_hashes(out.parent, [out.name])}
        write_manifest(out, Manifest("predictions", "generate", asdict(config), config.seed, counts, inputs, details))
        claimed.finish()
    return GenerateResult(out, len(rows), written)


def _finished(out: Path, plan: dict[str, Any]) -> GenerateResult:
    manifest = read_manifest(out, "predictions", made_by="generate")
    confirm_finished(out, manifest, plan)
    return GenerateResult(out, manifest.counts["records"], 0, already_finished=True)


def _check_fits(run: Path, manifest: Manifest, store: Store, config: GenerateConfig) -> None:
    if config.signal not in SIGNALS:
        raise MedReportError(f"no signal '{config.signal}'", f"available: {', '.join(SIGNALS)}")
    if config.split not in SPLITS:
        raise MedReportError(f"no split '{config.split}'", f"available: {', '.join(SPLITS)}")
    trained = manifest.details
    if (store.fs, store.sig_len) != (trained["fs"], trained["sig_len"]):
        raise MedReportError(f"{store.path}: {store.fs} Hz and {store.sig_len} samples; the run was trained on "
                             f"{trained['fs']} Hz and {trained['sig_len']}", f"prepare it with --fs {trained['fs']}")
    if config.split != "train":
        shared = subject_hashes(store, config.split) & train_subjects(run)
        if shared:
            raise MedReportError(f"{store.path}: {len(shared)} patients of its {config.split} split were trained on",
                                 "prepare it with the split and the seed of the store the run was trained on")


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
                             "choose another --split, or a larger --limit")
    # Patients lie in blocks; a shift by the largest block takes every record out of its own.
    ordered = [i for group in groups for i in group]
    return dict(zip(ordered, ordered[largest:] + ordered[:largest], strict=True))


@dataclass(frozen=True)
class Writer:
    """A loaded model and what it is to write."""

    model: ReportModel
    tokenizer: Any
    job: Job
    device: torch.device

    @property
    def settings(self) -> GenerationConfig:
        """Greedy or beam search and nothing else; `load_run` has put a checkpoint's own settings aside."""
        return GenerationConfig(max_new_tokens=self.job.config.max_new_tokens, num_beams=self.job.config.num_beams,
                                do_sample=False, pad_token_id=self.tokenizer.pad_token_id,
                                bos_token_id=self.tokenizer.bos_token_id, eos_token_id=self.tokenizer.eos_token_id)

    def batch(self, indices: list[int]) -> Iterator[PredictionRow]:
        """The reports of some records, generated together."""
        job = self.job
        input_ids, mask = left_pad([job.prompts[i] for i in indices], self.tokenizer.pad_token_id)
        output = self.model.generate(self._signal(indices), input_ids.to(self.device), mask.to(self.device),
                                     generation_config=self.settings)
        for i, ids in zip(indices, output[:, input_ids.shape[1]:].tolist(), strict=True):
            row = job.store.row(i)
            text = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False).strip()
            shown = job.store.row(job.shown[i]).record_id if job.config.signal in ("real", "shuffled") else None
            yield PredictionRow(row.record_id, text, row.report, job.instructions.rows[row.record_id].prompt_id,
                                row.subject_id, job.store.dataset, row.language, row.codes, job.config.signal, shown)

    def _signal(self, indices: list[int]) -> torch.Tensor | None:
        """What the model is shown, (B, C, L), or None for text alone."""
        if self.job.config.signal == "none":
            return None
        stored = np.stack([self.job.store.signal(self.job.shown[i]) for i in indices])
        signal = to_input(torch.from_numpy(stored).to(self.device))
        return torch.zeros_like(signal) if self.job.config.signal == "zeros" else signal


def _stream(out: IO[str], write: Writer, progress: Progress | None) -> GenerateResult:
    """Write all records to an open stream, batch by batch."""
    total = 0
    for batch in write.job.batches():
        out.writelines(to_json(row) + "\n" for row in write.batch(batch))
        out.flush()
        total += len(batch)
        if progress:
            progress(total, len(write.job.order))
    return GenerateResult(None, total, total)


def _append(out: Path, write: Writer, progress: Progress | None) -> int:
    """Write the batches that `out` lacks; returns how many records that were."""
    batches = write.job.batches()
    done = _keep_whole_batches(out, [len(batch) for batch in batches])
    before = written = sum(map(len, batches[:done]))
    with out.open("ab") as stream:
        for batch in batches[done:]:
            stream.write("".join(to_json(row) + "\n" for row in write.batch(batch)).encode())
            stream.flush()
            os.fsync(stream.fileno())
            written += len(batch)
            if progress:
                progress(written, len(write.job.order))
    return written - before


def _keep_whole_batches(out: Path, sizes: list[int]) -> int:
    """Cut an unfinished file back to whole batches and return how many it holds."""
    lines = out.read_bytes().splitlines(keepends=True) if out.exists() else []
    whole = sum(line.endswith(b"\n") for line in lines)
    done = kept = 0
    while done < len(sizes) and kept + sizes[done] <= whole:
        kept += sizes[done]
        done += 1
    with out.open("ab") as stream:
        stream.truncate(sum(map(len, lines[:kept])))
    return done
