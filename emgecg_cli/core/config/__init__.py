"""Every default, once, in torch-free dataclasses. Commands borrow them; core functions take the values."""

from emgecg_cli.core.config.defaults import (
    ALL_SPLITS,
    CERTIFICATES,
    CLEANING,
    DATA,
    ENCODERS,
    FS_RANGE,
    HEALTHY,
    INSTRUCTIONS,
    LARGEST_SEED,
    LONGEST_WINDOW,
    PAGES,
    PREDICTIONS,
    REQUESTS_AT_ONCE,
    ROBUSTNESS,
    RUNS,
    SCORES,
    STORES,
    WINDOWS,
    CertifyDefaults,
    DemoDefaults,
    GenerateConfig,
    InstructionDefaults,
    PrepareConfig,
    ScoreDefaults,
)
from emgecg_cli.core.config.pretrain import PretrainConfig
from emgecg_cli.core.config.train import STAGE1_TASKS, TrainConfig

__all__ = ["ALL_SPLITS", "CERTIFICATES", "CLEANING", "DATA", "ENCODERS", "FS_RANGE", "HEALTHY", "INSTRUCTIONS",
           "LARGEST_SEED", "LONGEST_WINDOW", "PAGES", "PREDICTIONS", "REQUESTS_AT_ONCE", "ROBUSTNESS", "RUNS", "SCORES",
           "STAGE1_TASKS", "STORES", "WINDOWS", "CertifyDefaults", "DemoDefaults", "GenerateConfig",
           "InstructionDefaults", "PrepareConfig", "PretrainConfig", "ScoreDefaults", "TrainConfig"]
