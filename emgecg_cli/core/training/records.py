"""The records a training reads, and those of the val split that it is evaluated on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from emgecg_cli.core.config import TrainConfig
from emgecg_cli.core.config.train import looks_at_val
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.inputs.batch import TextRecords
from emgecg_cli.core.inputs.records import Inputs
from emgecg_cli.core.inputs.rendered import RenderedSplit, render_all, render_split
from emgecg_cli.core.inputs.shuffled import Shuffled, shuffle_between_patients
from emgecg_cli.core.inputs.visits import Visits
from emgecg_cli.core.instructions.render import Renderer
from emgecg_cli.core.instructions.turns import turn_end
from emgecg_cli.core.models.backbones import check_positions, positions_of
from emgecg_cli.core.models.report_model import ReportModel
from emgecg_cli.core.store import Store
from emgecg_cli.core.training.encoder_targets import Targets, encoder_targets, target_matrix
from emgecg_cli.core.training.validation import Validation


def records_of(model: ReportModel, tokenizer: Any, store: Store, shown: Inputs, config: TrainConfig,
               split: str, targets: Targets | None = None, needed: bool = True) -> tuple[TextRecords, Targets]:
    """The records of a split, and the encoder's targets: of the train split, or those given."""
    sample = (config.val_limit, config.seed) if split == "val" and config.val_limit else None
    backbone: Any = model.backbone
    rendered = render_split(store, shown, tokenizer, config.max_length, model.placeholders, split, sample,
                            positions_of(backbone))
    if targets is None:
        targets = encoder_targets(config.encoder_loss, store, rendered, needed)
        matrix = targets.matrix
    else:
        matrix = target_matrix(config.encoder_loss, targets.names, store, rendered)
    if isinstance(rendered, RenderedSplit):
        whole, *parts = rendered.longest
        check_positions(backbone, max(parts) if model.encoder_decoder else whole,
                        f"the longest conversation of the {split} split", "give a smaller --max-length")
    start = int(backbone.config.decoder_start_token_id) if model.encoder_decoder else None
    visits = _visits(model, tokenizer, shown, config) if split == "train" else None
    return TextRecords(visits.inputs if visits else shown, rendered, matrix, tokenizer.pad_token_id, start,
                       model.preprocessing, visits), targets


def _visits(model: ReportModel, tokenizer: Any, shown: Inputs, config: TrainConfig) -> Visits | None:
    """How each visit of a training record differs from the others; None where none does."""
    distortions = () if config.image_distortion == "none" else tuple(config.image_distortion.split(","))
    if not config.modality_dropout and not distortions:
        return None
    if distortions:
        page = replace(shown.sources["image"], distortions=distortions)  # type: ignore[type-var]
        shown = replace(shown, sources={**shown.sources, "image": page})
    return Visits(shown, Renderer(tokenizer, config.max_length, turn_end(tokenizer)), model.placeholders,
                  config.modality_dropout, config.seed)


def validation_of(model: ReportModel, tokenizer: Any, store: Store, shown: Inputs, config: TrainConfig,
                  targets: Targets, out: Path, epoch: int) -> Validation | None:
    """Evaluation on the val split every `epoch` steps, or as asked; None if the store has no such split, or nothing
    asks for it."""
    if not looks_at_val(config):
        return None
    if not len(store.reported("val")):
        if config.select == "best":
            raise MedReportError(f"{store.path}: no record in the val split, by which the best weights are chosen",
                                 "give --select last, or prepare the store with a val share")
        return None
    records, _ = records_of(model, tokenizer, store, shown, config, "val", targets)
    return Validation(records, records.rendered.lengths, config.batch_size, config.evaluate_every or max(1, epoch),
                      config.select == "best", out, last=config.select == "best" or config.track != "none",
                      shuffled=shuffled_of(model, tokenizer, records, shown, config) if config.paired_loss else None)


def shuffled_of(model: ReportModel, tokenizer: Any, records: TextRecords, shown: Inputs, config: TrainConfig) \
        -> tuple[TextRecords, np.ndarray]:
    """The same records with what another patient's show, and their lengths."""
    indices = records.rendered.indices
    subjects = shown.store.column("subject_id").to_list()
    others = Shuffled(shown, shuffle_between_patients(indices.tolist(), subjects, config.seed,
                                                      "leave --paired-loss out, or give a larger --val-limit"))
    rendered = records.rendered if shown.values is None else \
        render_all(others, indices, tokenizer, config.max_length, model.placeholders)
    return replace(records, shown=others, rendered=rendered), rendered.lengths
