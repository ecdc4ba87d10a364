"""The stage in which signal tokens learn the words of reports, before the backbone sees any: `--word-steps`."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from emgecg_cli.core.config import TrainConfig
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.inputs.batch import Batch, TextRecords, Totals
from emgecg_cli.core.inputs.rendered import Split
from emgecg_cli.core.models.builders import input_embeddings
from emgecg_cli.core.models.report_model import ReportModel
from emgecg_cli.core.models.towers import Joined, Towers
from emgecg_cli.core.models.word_alignment import WordAlignment, content_words
from emgecg_cli.core.training.augment import parse_augmentations
from emgecg_cli.core.training.checkpoint import WORDS
from emgecg_cli.core.training.loop import NOBODY, Watch
from emgecg_cli.core.training.objective import Losses
from emgecg_cli.core.training.parallel import Parallel
from emgecg_cli.core.training.stages import train_stage

MOST_REPORTS = 1 << 16  # that are read to tell content words
BATCH = 64  # no backbone is run, and words of few reports need many in a batch


class NamedWords(nn.Module):
    """Towers and the loss of their tokens against the words of the report, without a run of the backbone."""

    def __init__(self, towers: Towers, alignment: WordAlignment) -> None:
        super().__init__()
        self.towers = towers
        self.alignment = alignment

    def forward(self, inputs: dict[str, Tensor], batch: Batch, totals: Totals) -> Losses:
        """The loss of a batch as its share of a step; see `Objective`."""
        seen: Joined = self.towers(inputs, batch.present)
        loss = self.alignment(seen.tokens, batch.labels, seen.valid) / totals.records
        return Losses(loss, {"words": loss.detach()})


def word_alignment(model: ReportModel, rendered: Split) -> WordAlignment:
    """The loss of signal tokens against the words of these reports.

    Raises MedReportError where tokens are not as wide as words, and where no word tells reports apart.
    """
    embeddings = input_embeddings(model.backbone).detach()
    if model.fusion.dim != embeddings.shape[1]:
        raise MedReportError("--word-loss, --word-steps: signal tokens are "
                             f"{model.fusion.dim} wide, words {embeddings.shape[1]}",
                             "use --fusion splice, or leave both out")
    counts, number = np.zeros(len(embeddings)), min(MOST_REPORTS, len(rendered.indices))
    for answer in islice(rendered.answers(), number):
        counts[np.unique(answer)] += 1
    shares = torch.from_numpy(counts / number).float()
    if not len(content_words(shares)):
        raise MedReportError("--word-loss, --word-steps: no word tells the reports apart: each is in nearly all of "
                             "them, or in hardly any", "leave both out")
    return WordAlignment(embeddings.cpu(), shares)


def run_word_stage(parallel: Parallel, model: ReportModel, alignment: WordAlignment, records: TextRecords, out: Path,
                   config: TrainConfig, watch: Watch = NOBODY) -> None:
    """Train projectors, and encoders but that of tables, or take what a killed run had trained; see `train_stage`.

    Batches are large here; the statistics of projectors are settled after it.
    """
    own = replace(config, steps=config.word_steps, batch_size=min(BATCH, len(records) // parallel.world),
                  gradient_accumulation=1)
    # tokens of values may hold word embeddings, whose gradient nobody here would take
    idle = [model.towers["values"].encoder, model.backbone] if "values" in model.towers else []
    train_stage(parallel, WORDS, NamedWords(model.towers, alignment), lambda: (records, records.rendered.lengths), out,
                own, frozen=idle, smallest=2, augmentations=parse_augmentations(config.augment), watch=watch)
    for name in model.towers:
        model.towers[name].settle()
