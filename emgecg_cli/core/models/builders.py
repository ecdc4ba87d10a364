"""Names and sizes in, modules out. No module below this file sees a name or a configuration."""

from __future__ import annotations

from typing import Any

import torch

from emgecg_cli.core import names
from emgecg_cli.core.models.report_model import ReportModel


def build_report_model(backbone: Any, *, encoder: str, projector: str, fusion: str, signal_tokens: int,
                       token_norm: str, seed: int) -> ReportModel:
    """Put a named encoder, projector and fusion on a loaded (and tuned) backbone.

    The width of a signal token is read from the fusion, and so from the backbone. New weights depend on `seed` alone.
    """
    attached = names.resolve("fusion", fusion)(backbone)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        signal_encoder = names.resolve("encoder", encoder)()
        adapter = names.resolve("projector", projector)(signal_encoder.width, signal_tokens, attached.dim, token_norm)
    return ReportModel(signal_encoder, adapter, backbone, attached)
