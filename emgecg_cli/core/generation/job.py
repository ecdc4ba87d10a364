"""What is to be generated: which records in which chunks, and whose inputs each is shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from emgecg_cli.core.artifacts import SPLITS
from emgecg_cli.core.config import ALL_SPLITS, GenerateConfig
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.generation.shown import Shown, joined_signal, parse_signal, shown_as
from emgecg_cli.core.inputs.batch import stacked
from emgecg_cli.core.inputs.records import Inputs, check_held
from emgecg_cli.core.instructions.build import Instructions
from emgecg_cli.core.instructions.forms import form_of
from emgecg_cli.core.instructions.render import Renderer, render_prompt
from emgecg_cli.core.instructions.turns import turn_end
from emgecg_cli.core.manifest import Manifest
from emgecg_cli.core.models.backbones import check_positions, positions_of
from emgecg_cli.core.models.run_files import train_subjects
from emgecg_cli.core.store import Store, subject_hashes

OTHER_STORE = dict.fromkeys(("ecg", "values"), "give a store of the kind the run was trained on")
BATCHES = 8  # in a chunk: the last reports of a chunk leave places empty, and a kill costs up to a whole one
ROOM = 8  # one token in so many more than the longest report of training


@dataclass(frozen=True)
class Job:
    """Store indices in order of prompt length, what each record is shown, and, where the losses of references are asked
    for, what it is shown with another patient's in place of its own."""

    store: Store
    instructions: Instructions
    shown: Shown
    others: Shown | None
    order: list[int]
    config: GenerateConfig

    @cached_property
    def chunks(self) -> list[list[int]]:
        """Store indices, chunk by chunk: what is generated and written together, some batches."""
        size = self.config.batch_size * (BATCHES if self.config.num_beams == 1 else 1)
        return [self.order[i:i + size] for i in range(0, len(self.order), size)]

    @cached_property
    def ids(self) -> list[list[str]]:
        """Record ids, chunk by chunk."""
        names = self.store.column("record_id").to_list()
        return [[names[i] for i in chunk] for chunk in self.chunks]

    @cached_property
    def reference_from(self) -> str | None:
        """Where the references are from, where they are not the reports of the store."""
        return "instructions" if form_of(self.instructions.manifest).own_answers else None

    def prompts(self, indices: list[int], tokenizer: Any, placeholders: Mapping[str, int] | None) -> list[list[int]]:
        """Token ids of the prompts of some records; an input that is not shown has no placeholders either."""
        return [render_prompt(self.shown.messages(i), tokenizer, self.shown.placeholders(i, placeholders))
                for i in indices]

    def tower_inputs(self, indices: list[int]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """What the towers take of some records, by name, and which of them have it; see `inputs.batch.stacked`."""
        return stacked([self.shown.arrays(i) for i in indices], [self.shown.lacking(i) for i in indices])


def chosen_records(store: Store, config: GenerateConfig) -> list[int]:
    """Store indices of the records asked for; raises MedReportError when there are none."""
    chosen = [int(i) for i in store.indices(_split_of(config))][:config.limit]
    if not chosen:
        raise MedReportError(f"{store.path}: no record in the {config.split} split", "choose another --split")
    return chosen


def _split_of(config: GenerateConfig) -> str | None:
    """The split as a store takes it: None is all of it."""
    return None if config.split == ALL_SPLITS else config.split


def plan_job(inputs: Inputs, tokenizer: Any, config: GenerateConfig) -> Job:
    """Put the records in order, and choose what each is shown. The order needs no model: the text decides it."""
    chosen, said = chosen_records(inputs.store, config), parse_signal(config.signal, inputs.names)
    shown = shown_as(inputs, chosen, said, config.seed)
    renderer = Renderer(tokenizer, 0, turn_end(tokenizer))  # renders a prompt that many share once
    lengths = {i: len(renderer.prompt(inputs.messages(i, shown.source_of(i)),
                                      inputs.placeholders(i, inputs.text_counts, shown.source_of(i)))) for i in chosen}
    order = sorted(chosen, key=lambda i: (lengths[i], i))
    others = shown.shuffled(chosen) if config.reference_loss else None
    return Job(inputs.store, inputs.instructions, shown, others, order, config)


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


def check_fits(run: Path, manifest: Manifest, store: Store, instructions: Instructions,
               config: GenerateConfig) -> None:
    """Raise MedReportError when names are unknown, or when the run cannot or must not be shown this store."""
    if config.split not in (*SPLITS, ALL_SPLITS):
        raise MedReportError(f"no split '{config.split}'", f"available: {', '.join((*SPLITS, ALL_SPLITS))}")
    trained = manifest.details
    check_held(store, instructions, trained["model"]["encoder"], OTHER_STORE)
    if (store.fs, store.sig_len) != (trained["fs"], trained["sig_len"]):
        raise MedReportError(f"{store.path}: {store.fs} Hz and {store.sig_len} samples; the run was trained on "
                             f"{trained['fs']} Hz and {trained['sig_len']}", f"prepare it with --fs {trained['fs']}")
    if config.split != "train":
        shared = subject_hashes(store, _split_of(config)) & train_subjects(run)
        if shared and config.split == ALL_SPLITS:
            raise MedReportError(f"{store.path}: {len(shared)} of its patients were trained on",
                                 "--split all is for a store of other patients; give --split test here")
        if shared:
            raise MedReportError(f"{store.path}: {len(shared)} patients of its {config.split} split were trained on",
                                 "prepare it with the split and the seed of the store the run was trained on")


def check_signal(run: Path, inputs: Inputs, config: GenerateConfig) -> str:
    """`config.signal` in the shortest words; raises MedReportError for one that the run cannot be shown."""
    said = parse_signal(config.signal, inputs.names)
    if said.get("values") == "noise":
        raise MedReportError(f"--signal {config.signal}: values of tables have no power that noise could have",
                             "give shuffled or none for values")
    if said.get("values") == "zeros" and "values" not in inputs.sources:
        raise MedReportError(f"--signal zeros: {run} reads values as text", "give --signal none or shuffled")
    return joined_signal(said)


def settings_of(config: GenerateConfig) -> dict[str, Any]:
    """The settings as plan and manifest hold them; one that is newer than predictions there are is left out while it
    is as it was for them."""
    return {name: value for name, value in asdict(config).items() if name != "reference_loss" or value}
