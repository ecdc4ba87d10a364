"""The settings of `pretrain`; what they share with those of `train` is described there."""

from __future__ import annotations

from dataclasses import dataclass

from emgecg_cli.core import names
from emgecg_cli.core.config.settings import DEFAULT, Idle, as_in, not_empty, setting
from emgecg_cli.core.config.train import LOSS, MODEL, OF_EPOCHS, OPTIMISATION, TrainConfig

OF_COCA = Idle("objective", lambda config: config.objective != "coca", spares=DEFAULT)
NOT_COCA = Idle("objective", lambda config: config.objective == "coca", spares=DEFAULT)
SIGNAL_ENCODERS = tuple(names.encoders_reading("ecg"))


@dataclass(frozen=True)
class PretrainConfig:
    """Settings of `pretrain`. `objective` is "supervised" (the store's codes, each weighted against its rarity),
    "masked" (reconstruct the share `mask_ratio` of the signal that was hidden) or "coca" (find the report of a
    recording among others, and write it). The rest is as in `train`.
    """

    objective: str = setting("supervised", MODEL, "supervised (the store's codes), masked (reconstruct masked patches; "
                             "a ViT only) or coca (beside the texts of reports; ECG-CoCa only).",
                             known=("supervised", "masked", "coca"))
    encoder: str = setting("resnet50", MODEL, f"{', '.join(SIGNAL_ENCODERS)}.", kind="encoder", hints=SIGNAL_ENCODERS)
    epochs: float = setting(20.0, OPTIMISATION, "Passes over the training records.", OF_EPOCHS, positive=True, most=1e6)
    steps: int | None = as_in(TrainConfig, "steps", None)
    batch_size: int = as_in(TrainConfig, "batch_size", 64)
    gradient_accumulation: int = as_in(TrainConfig, "gradient_accumulation", 1)
    learning_rate: float = as_in(TrainConfig, "learning_rate", 1e-3)
    weight_decay: float = as_in(TrainConfig, "weight_decay", 0.01)
    adam_beta2: float = as_in(TrainConfig, "adam_beta2", 0.999)
    schedule: str = as_in(TrainConfig, "schedule", "cosine")
    warmup: float = setting(0.05, OPTIMISATION, "Share of the steps that warm up.", share=True)
    max_grad_norm: float = as_in(TrainConfig, "max_grad_norm", 1.0)
    seed: int = as_in(TrainConfig, "seed", 0)
    mask_ratio: float = setting(0.75, LOSS, "masked: share of the patches to hide.",
                                Idle("objective", lambda config: config.objective != "masked"), positive=True,
                                share=True)
    text_tower: str = setting("tiny", MODEL, "coca: a BERT; tiny (new, small), a folder, or a hub id.", OF_COCA,
                              unsaid=True, hints=("tiny", "ncbi/MedCPT-Query-Encoder"), metavar="NAME|PATH",
                              check=not_empty("give tiny, a folder or a hub id"))
    lock_text: bool = setting(False, MODEL, "coca: of the BERT only its LayerNorms train.", OF_COCA, unsaid=True)
    caption_weight: float = setting(2.0, LOSS, "coca: weight of the caption beside the contrast.", OF_COCA, unsaid=True,
                                    least=0)
    mix: str = setting("wander,cutmix,mask", LOSS, "coca: none, or any of wander,cutmix,mask.", OF_COCA, unsaid=True,
                       noun="mix", known=("wander", "cutmix", "mask"), several=True,
                       hints=("none", "wander,cutmix,mask"))
    augment: str = setting("roll,gain,noise", LOSS, "none, or any of roll,gain,noise; coca: see --mix.", NOT_COCA,
                           noun="augmentation", known=("roll", "gain", "noise"), several=True,
                           hints=("none", "roll,gain,noise"))
    precision: str = as_in(TrainConfig, "precision", "auto")
    parallel: str = as_in(TrainConfig, "parallel", "auto")
    workers: int = as_in(TrainConfig, "workers", 0)
    checkpoint_every: int = as_in(TrainConfig, "checkpoint_every", 200)
    checkpoint_minutes: float = as_in(TrainConfig, "checkpoint_minutes", 15.0)
