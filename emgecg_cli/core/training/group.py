"""The processes that train together, and the claim of the main one on what they make."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from emgecg_cli.core.accelerate_file import confirmed
from emgecg_cli.core.claims import Claim, claim
from emgecg_cli.core.config import PretrainConfig, TrainConfig
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.training.parallel import Parallel, open_parallel

Config = TypeVar("Config", TrainConfig, PretrainConfig)


def as_launched(config: Config) -> Config:
    """What is left open, as the `accelerate config` file says that started this process, if one did.

    Raises MedReportError where the file says otherwise than the config.
    """
    return replace(config, **confirmed(vars(config), vars(config)))


@contextmanager
def together(config: TrainConfig | PretrainConfig, out: Path, plan: dict[str, Any]) -> Iterator[tuple[Parallel, Claim]]:
    """Join the group of processes while they train; the main one holds the artefact, the others write nothing."""
    parallel = open_parallel(config.parallel, plan["machine"]["precision"], accumulation=config.gradient_accumulation,
                             max_grad_norm=config.max_grad_norm)
    try:
        if not parallel.is_main:
            yield parallel, Claim(out, plan, False)
            return
        with claim(out, plan) as claimed:
            yield parallel, claimed
    except RuntimeError as error:
        if parallel.world > 1 and (isinstance(error, torch.distributed.DistError) or "gloo" in str(error)):
            raise MedReportError("another process of the group has ended", "see what it said; run the same command "
                                 "again: it goes on where it stopped") from None
        raise
    finally:
        parallel.close()
