"""What is to be generated: which records in which batches, and whose recording or values each is shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from emgecg_cli.core.artifacts import SPLITS
from emgecg_cli.core.config import GenerateConfig
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.inputs.records import Inputs, Signals, check_kind, stack
from emgecg_cli.core.instructions.build import Instructions
from emgecg_cli.core.instructions.render import render_prompt
from emgecg_cli.core.manifest import Manifest
from emgecg_cli.core.models.backbones import check_positions, positions_of
from emgecg_cli.core.models.run_files import train_subjects
from emgecg_cli.core.store import Store, subject_hashes

SIGNALS = ("real", "shuffled", "zeros", "none")
ROOM = 8  # one token in so many more than the longest report of training


@dataclass(frozen=True)
class Job:
    """Store indices in order of prompt length, and the record whose recording or values each is shown."""

    store: Store
    instructions: Instructions
    inputs: Inputs
    order: list[int]
    shown: dict[int, int]
    config: GenerateConfig

    @property
    def batches(self) -> list[list[int]]:
        """Store indices, batch by batch."""
        size = self.config.batch_size
        return [self.order[i:i + size] for i in range(0, len(self.order), size)]

    @cached_property
    def ids(self) -> list[list[str]]:
        """Record ids, batch by batch."""
        names = self.store.column("record_id").to_list()
        return [[names[i] for i in batch] for batch in self.batches]

    def prompts(self, indices: list[int], tokenizer: Any, placeholders: Mapping[str, int] | None) -> list[list[int]]:
        """Token ids of the prompts of some records; without a signal there are no placeholders for one either."""
        counts = None if self.config.signal == "none" else placeholders
        return [render_prompt(self.inputs.messages(i, self.shown[i]), tokenizer, counts) for i in indices]

    def signals(self, indices: list[int]) -> np.ndarray:
        """What the encoder takes for some records: (B, C, L), or (B, R, 3, 7) padded with NaN."""
        return stack([self.inputs.signal(i, self.shown[i]) for i in indices])


def chosen_records(store: Store, config: GenerateConfig) -> list[int]:
    """Store indices of the records asked for; raises MedReportError when there are none."""
    chosen = [int(i) for i in store.indices(config.split)][:config.limit]
    if not chosen:
        raise MedReportError(f"{store.path}: no record in the {config.split} split", "choose another --split")
    return chosen


def plan_job(store: Store, instructions: Instructions, tokenizer: Any, config: GenerateConfig,
             inputs: Inputs | None = None) -> Job:
    """Put the records in order, and choose what each is shown. The order needs no model: the text decides it.

    `inputs` None are recordings.
    """
    chosen = chosen_records(store, config)
    inputs = inputs or Signals(store, instructions)
    shown = dict(zip(chosen, chosen, strict=True))
    if config.signal == "shuffled":
        shown = shuffle_between_patients(chosen, store.column("subject_id").to_list(), config.seed)
    lengths = {i: len(render_prompt(inputs.messages(i, shown[i]), tokenizer, inputs.placeholders))
               for i in chosen}
    return Job(store, instructions, inputs, sorted(chosen, key=lambda i: (lengths[i], i)), shown, config)


@dataclass(frozen=True)
class Limit:
    """How many tokens a report may have, and, where nothing was said, how many the longest of training has."""

    tokens: int
    trained: int | None = None

    def within(self, backbone: Any, prompt: int, encoder_decoder: bool) -> int:
        """The limit for a backbone behind a prompt of so many tokens. Where nothing was said, it is what the positions
        leave, but never below the longest report of training. Raises MedReportError when it does not fit."""
        taken, most = 0 if encoder_decoder else prompt, positions_of(backbone)
        if self.trained is not None and most is not None and self.trained <= most - taken < self.tokens:
            return most - taken
        hint = "give a smaller --max-new-tokens"
        if self.trained is not None:
            hint += f" than {self.tokens}, the default: the longest report of training, {self.trained}, and an eighth"
        check_positions(backbone, max(prompt, taken + self.tokens), f"a prompt of {prompt} tokens and its report", hint)
        return self.tokens


def limit_of(run: Path, manifest: Manifest, given: int | None) -> Limit:
    """What was given, else as many tokens as the longest report the run was trained on has, its end included, and an
    eighth more. Raises MedReportError when the run does not say how long that was."""
    if given is not None:
        return Limit(given)
    longest = manifest.counts.get("longest_report_tokens")
    if longest is None:
        raise MedReportError(f"{run}: written before runs said how long their reports are", "give --max-new-tokens")
    return Limit(longest + -(-longest // ROOM), longest)


def check_fits(run: Path, manifest: Manifest, store: Store, config: GenerateConfig) -> None:
    """Raise MedReportError when names are unknown, or when the run cannot or must not be shown this store."""
    if config.signal not in SIGNALS:
        raise MedReportError(f"no signal '{config.signal}'", f"available: {', '.join(SIGNALS)}")
    if config.split not in SPLITS:
        raise MedReportError(f"no split '{config.split}'", f"available: {', '.join(SPLITS)}")
    trained = manifest.details
    encoder, signals = trained["model"]["encoder"], trained["model"].get("values", "encoder") == "encoder"
    check_kind(store, encoder, "give a store of the kind the run was trained on")
    if config.signal == "zeros" and not signals:
        raise MedReportError(f"--signal zeros: {run} reads values as text", "give --signal none or shuffled")
    if (store.fs, store.sig_len) != (trained["fs"], trained["sig_len"]):
        raise MedReportError(f"{store.path}: {store.fs} Hz and {store.sig_len} samples; the run was trained on "
                             f"{trained['fs']} Hz and {trained['sig_len']}", f"prepare it with --fs {trained['fs']}")
    if config.split != "train":
        shared = subject_hashes(store, config.split) & train_subjects(run)
        if shared:
            raise MedReportError(f"{store.path}: {len(shared)} patients of its {config.split} split were trained on",
                                 "prepare it with the split and the seed of the store the run was trained on")


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
