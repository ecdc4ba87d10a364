"""`pretrain --objective coca`: what it is put together from, and what of it is kept besides the encoder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from emgecg_cli.core import names
from emgecg_cli.core.config import PretrainConfig
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.models.preprocessing import Preprocessing
from emgecg_cli.core.models.text_tower import Words, open_text_tower, save_text_tower
from emgecg_cli.core.store import Store
from emgecg_cli.core.training.coca import LARGEST_SCALE, CaptionedRecords, Coca, captioned, make_coca

LATENT = "proj"  # of an encoder that is compared with texts: (width, latent)


def open_coca(store: Store, config: PretrainConfig, preprocessing: Preprocessing) \
        -> tuple[CaptionedRecords, CaptionedRecords, Coca, Words]:
    """The records of the train and the val split, a new objective and its tokenizer; weights depend on the seed alone.

    Raises MedReportError for a store without reports, and for an encoder or a text tower that cannot serve.
    """
    reports = [report for report in store.reports("train") if report and report.strip()]
    if len(reports) < 2:
        raise MedReportError(f"{store.path}: {len(reports)} records with a report in the train split",
                             "give a store with reports, or another --objective")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        encoder = names.resolve("encoder", config.encoder)()
        latent = getattr(encoder, LATENT, torch.zeros(1, 1)).shape[1]
        text, words = open_text_tower(config.text_tower, reports, latent, config.seed)
        mixes = [] if config.mix == "none" else config.mix.split(",")
        objective = make_coca(encoder, config.encoder, text, words, fs=preprocessing.fs or store.fs, mixes=mixes,
                              caption_weight=config.caption_weight, locked=config.lock_text)
    return captioned(store, "train", words, preprocessing), captioned(store, "val", words, preprocessing), objective, \
        words


def save_texts(out: Path, objective: Coca, weights: Mapping[str, Tensor], words: Words) -> list[str]:
    """Write the text tower beside the encoder, from the whole weights of the objective by name; returns the files."""
    bert = {name.removeprefix("text.bert."): tensor for name, tensor in weights.items()
            if name.startswith("text.bert.")}
    scale = weights["logit_scale"].clamp(0.0, LARGEST_SCALE)  # after the last step too
    return save_text_tower(out, objective.text.bert, bert, weights["text.proj.weight"], scale, words)


def groups_of(objective: Coca, decay: float) -> list[dict[str, object]]:
    """The parameters in two groups: those of norms, biases and single numbers do not decay."""
    trained = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    return [{"params": [parameter for parameter in trained if parameter.ndim >= 2], "weight_decay": decay},
            {"params": [parameter for parameter in trained if parameter.ndim < 2], "weight_decay": 0.0}]
