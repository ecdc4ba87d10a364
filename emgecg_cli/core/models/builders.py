"""Names and sizes in, modules out. No module below this file sees a name or a configuration."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from emgecg_cli.core import names
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.models.item_names import ItemNames
from emgecg_cli.core.models.preprocessing import preprocessing_of
from emgecg_cli.core.models.report_model import ReportModel
from emgecg_cli.core.models.towers import Tower, ValuesTower
from emgecg_cli.core.models.tuning import embeddings

# The settings a model is built from, besides its backbone; a run's manifest keeps them.
SETTINGS = ("encoder", "projector", "fusion", "fusion_layers", "signal_tokens", "tokens_from", "token_norm", "values",
            "emg_reshape", "emg_dropout", "value_identity", "lead_order")


def build_report_model(backbone: Any, *, encoder: str, projector: str, fusion: str, signal_tokens: int,
                       token_norm: str, seed: int, tokens_from: str = "pooled", fusion_layers: str = "auto",
                       values: str = "encoder", emg_reshape: str = "compat", emg_dropout: float = 0.1,
                       value_identity: str = "none", lead_order: str = "canonical") -> ReportModel:
    """Put a tower for each of the named encoders, and a fusion, on a loaded (and tuned) backbone.

    The width of a signal token is read from the fusion, and so from the backbone. "pooled" tokens are all made of one
    feature vector, "temporal" ones each of a stretch of time; an encoder that gives a number of its own gives that. The
    encoder of values is left out where `values` enter as text; with `value_identity` "item" its tokens have
    the names of their items added. New weights depend on `seed` alone.
    """
    layers = parse_layers(fusion_layers, backbone)
    towers: dict[str, nn.Module] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        attached = names.resolve("fusion", fusion)(backbone, layers)
        adapt = partial(names.resolve("projector", projector), dim=attached.dim, norm=token_norm)
        for reads, name in names.encoders_of(encoder).items():
            torch.manual_seed(seed)
            build, own = names.resolve("encoder", name), names.ENCODERS[name].tokens
            if reads != "values":
                made = build()
                pieces, each = (own or signal_tokens, 1) if own or tokens_from == "temporal" else (1, signal_tokens)
                towers[reads] = Tower(made, adapt(made.width, each), pieces,
                                      preprocessing_of(name, {"lead_order": lead_order}))
            elif values == "encoder":
                words = partial(input_embeddings, backbone)
                made = build(words, reshape=emg_reshape, dropout=emg_dropout)
                towers[reads] = ValuesTower(made, adapt(made.dim, 1) if made.dim != attached.dim else None, own or 1,
                                            ItemNames(words) if value_identity == "item" else None)
    return ReportModel(towers, backbone, attached)


def check_fusion(backbone: Any, fusion: str, fusion_layers: str = "auto") -> None:
    """Raise MedReportError where a named fusion cannot serve a backbone, before anything is changed on that."""
    layers = parse_layers(fusion_layers, backbone)
    with torch.random.fork_rng(devices=[]), torch.device("meta"):  # new weights, if any, take no memory
        names.resolve("fusion", fusion)(backbone, layers).detach()


def input_embeddings(backbone: Any) -> Tensor:
    """The backbone's word embeddings (V, D) as they are now."""
    return embeddings(backbone)["input"]


def parse_layers(text: str, backbone: Any) -> list[int] | None:
    """The layers "auto" (None, the fusion's own choice), "all" or "0,2" means; raises MedReportError otherwise."""
    if text == "auto":
        return None
    count = backbone.config.get_text_config().num_hidden_layers
    if text == "all":
        return list(range(count))
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdigit() and int(word) < count for word in words):
        raise MedReportError(f"--fusion-layers is '{text}', the backbone has layers 0 to {count - 1}",
                             "give all, auto, or numbers separated by commas")
    return sorted({int(word) for word in words})
