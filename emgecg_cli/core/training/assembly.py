"""What a training is made of, put together before its first step: all that can be refused is refused here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from accelerate.utils import set_seed
from torch import Tensor, nn

from emgecg_cli.core import names
from emgecg_cli.core.config import TrainConfig
from emgecg_cli.core.config.train import reads_values_alone
from emgecg_cli.core.inputs.batch import TextRecords
from emgecg_cli.core.inputs.drawn.values import Drawn, drawn_records
from emgecg_cli.core.inputs.records import Inputs, open_inputs
from emgecg_cli.core.inputs.rendered import words_of
from emgecg_cli.core.instructions.build import Instructions
from emgecg_cli.core.instructions.turns import TurnEnd, turn_end, without_words
from emgecg_cli.core.models.backbones import end_ids
from emgecg_cli.core.models.builders import Sizes
from emgecg_cli.core.models.image_tower import sizes_of
from emgecg_cli.core.models.report_model import OWN_WEIGHTS, ReportModel
from emgecg_cli.core.models.tuning import PartRow, table_of_what_trains
from emgecg_cli.core.models.word_alignment import WordAlignment
from emgecg_cli.core.store import Store
from emgecg_cli.core.training.batches import BatchPlan
from emgecg_cli.core.training.before import match_tokens
from emgecg_cli.core.training.encoder_targets import Targets
from emgecg_cli.core.training.grpo.objective import GrpoObjective
from emgecg_cli.core.training.made_from import subjects_of
from emgecg_cli.core.training.objective import Objective
from emgecg_cli.core.training.parallel import Parallel
from emgecg_cli.core.training.records import records_of, validation_of
from emgecg_cli.core.training.setup import SHARDING, make_backbone, make_model
from emgecg_cli.core.training.validation import Validation
from emgecg_cli.core.training.word_stage import word_alignment


@dataclass(frozen=True)
class Assembled:
    """All that a training needs: what the model is shown, the model, its records and losses, the order of batches.

    `subjects` are whom it is trained on, as hashes; `first` the drawn tables of stage 1, and `alignment` the loss that
    names words, each None without; `token_lengths` the measured lengths of signal tokens, None where they are fixed;
    `sizes` those of encoders that are not built as the table says.
    """

    subjects: set[str]
    shown: Inputs
    first: Drawn | None
    model: ReportModel
    tokenizer: Any
    turn: TurnEnd
    trains: list[PartRow]
    records: TextRecords
    targets: Targets
    token_lengths: list[float] | None
    alignment: WordAlignment | None
    validation: Validation | None
    objective: Objective | GrpoObjective
    plan: BatchPlan
    sizes: Sizes


def assemble(parallel: Parallel, machine: dict[str, Any], store: Store, instructions: Instructions, out: Path,
             config: TrainConfig, needed: bool) -> Assembled:
    """Put a training together. Targets of the encoder must be there where they are `needed`.

    Raises MedReportError when inputs do not fit each other, or when the backbone cannot be had.
    """
    subjects = subjects_of(store, config)
    sizes = sizes_of(config.encoder, config.image_tower)
    shown = shown_inputs(store, instructions, config, sizes)
    whole = replace(config, batch_size=config.batch_size * parallel.world)  # stage 1 draws as many as all will see
    first = drawn_records(shown, whole) if shown.values and config.stage1_steps else None
    set_seed(config.seed + parallel.rank)
    backbone, tokenizer = make_backbone(config, machine, shown, first.texts() if first else ())
    if config.value_identity == "item":
        shown = shown.naming_items(tokenizer)
        first = replace(first, values=shown.values) if first and shown.values else first
    turn = turn_end(tokenizer, end_ids(backbone))
    model = make_model(backbone, config, sizes)
    trains = table_of_what_trains(parts_of(model, config))
    records, targets = records_of(model, tokenizer, store, shown, config, "train", needed=needed)
    turn = without_words(turn, tokenizer.eos_token_id,
                         partial(words_of, records.rendered, store, tokenizer, len(turn.ids)))
    token_lengths = match_tokens(model, records) if config.token_norm == "matched" else None
    alignment = word_alignment(model, records.rendered) if config.word_steps or config.word_loss else None
    validation = validation_of(model, tokenizer, store, shown, config, targets, out,
                               len(records) // (whole.batch_size * config.gradient_accumulation))
    objective = Objective(model, targets.shares, weight=config.encoder_loss_weight, end=turn.ids,
                          eos_weight=config.eos_loss_weight, alignment=alignment, word_weight=config.word_loss)
    if parallel.kind == "zero3":  # a call of the head gathers it, and processes may need a different number of calls
        objective.output = None
    plan = BatchPlan(records.rendered.lengths, whole.batch_size, config.seed, parallel.world,
                     smallest=2 if has_batch_norm(config) else 1)
    return Assembled(subjects, shown, first, model, tokenizer, turn, trains, records, targets, token_lengths, alignment,
                     validation, objective, plan, sizes)


def frozen_weights(parallel: Parallel, model: ReportModel) -> dict[str, Tensor]:
    """What does not train of a model's own weights, in the process that writes the run: where weights will be sharded,
    copies from before."""
    if not parallel.is_main:
        return {}
    held = {name: parameter.detach() for name, parameter in model.named_parameters() if not parameter.requires_grad}
    own = {name: tensor for name, tensor in held.items() if name.startswith(OWN_WEIGHTS)}
    return {name: tensor.clone() for name, tensor in own.items()} if parallel.kind in SHARDING else own


def has_batch_norm(config: TrainConfig) -> bool:
    """Whether a batch needs two records: most projectors have a BatchNorm, and some encoders."""
    chosen = names.encoders_of(config.encoder).values()
    return not reads_values_alone(config) and (config.projector not in names.SHARED_PROJECTORS
                                               or any(names.ENCODERS[name].batch_norm for name in chosen))


def shown_inputs(store: Store, instructions: Instructions, config: TrainConfig, sizes: Sizes) -> Inputs:
    """The records as the model is to see them."""
    hints = {"values": "give --recipe emgllm", "ecg": "choose an encoder of signals, or leave --recipe out"}
    return open_inputs(store, instructions, encoder=config.encoder, hints=hints, mode=config.values,
                       references=Path(config.references) if config.references else None,
                       random_seed=config.seed if config.random_references else None, settings=vars(config),
                       sizes=sizes)


def parts_of(model: ReportModel, config: TrainConfig) -> dict[str, Any]:
    """The parts of a model and how each is tuned, for the table of what trains; those of several towers by input."""
    parts: dict[str, Any] = {}
    frozen = "frozen" if config.freeze_encoder else "full"
    for name in model.towers:
        tower, which = model.towers[name], f"{name} " if len(model.towers) > 1 else ""
        parts[f"{which}encoder"] = (
            tower.encoder, "stage 1" if name == "values" and config.freeze_encoder and config.stage1_steps else frozen)
        if tower.projector is not None and any(True for _ in tower.projector.parameters()):
            parts[f"{which}projector"] = (tower.projector, "full")
    if model.towers.shared is not None:
        parts["shared projector"] = (model.towers.shared, "full")
    if isinstance(model.fusion, nn.Module):
        parts["fusion"] = (model.fusion, "full")
    return parts | {"backbone": (model.backbone, config.tuning)}
