"""`--token-norm matched`: signal tokens as long as suits the backbone's own text, measured once and kept in the run.

A token of a fixed length drowns the text of one backbone and is nearly inaudible to the next: what attention projects
of a word is 8 long in SmolLM2 and 61 in Gemma 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.models.report_model import ReportModel, pad_prompts

ROWS = 16  # conversations that are measured: the mean over some hundred words hardly moves with more


def measure(model: ReportModel, rows: Sequence[Sequence[int]], pad: int) -> list[float]:
    """Lengths that suit the model's fusion, measured on text alone: token ids of some conversations, without
    placeholders.

    Raises MedReportError for a fusion whose projections are new, and have no text to be matched to.
    """
    fusion: Any = model.fusion
    if not hasattr(fusion, "measure"):
        raise MedReportError("--token-norm matched: this fusion has projections of its own, or an encoder's text, to "
                             "which no length can be matched", "give --token-norm unit, rms or none")
    backbone: Any = model.backbone
    training = backbone.training
    device = next(backbone.parameters()).device
    backbone.eval()
    ids, mask = (part.to(device) for part in pad_prompts(list(rows)[:ROWS], pad, "right"))
    lengths: list[float] = fusion.measure(ids, mask)
    backbone.train(training)
    return lengths


def match(model: ReportModel, lengths: Sequence[float]) -> None:
    """Give the signal tokens of a model with `--token-norm matched` these lengths."""
    fusion: Any = model.fusion
    length = fusion.match(lengths)
    shared = model.towers.shared
    for projector in [shared] if shared else [model.towers[name].projector for name in model.towers]:
        if projector is not None:
            projector.length = length
