"""Names and sizes in, modules out. No module below this file sees a name or a configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from emgecg_cli.core import names
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.models.item_names import ItemNames
from emgecg_cli.core.models.preprocessing import SETTINGS as SHOWN
from emgecg_cli.core.models.preprocessing import Preprocessing, preprocessing_of
from emgecg_cli.core.models.projector import Projector, as_it_is, bridge
from emgecg_cli.core.models.report_model import ReportModel
from emgecg_cli.core.models.towers import Tower, ValuesTower
from emgecg_cli.core.models.tuning import embeddings

# The settings a model is built from, besides its backbone; a run's manifest keeps them.
SETTINGS = ("encoder", "projector", "fusion", "fusion_layers", "signal_tokens", "tokens_from", "token_norm", "values",
            "emg_reshape", "emg_dropout", "value_identity", *SHOWN)
MIDDLE = 1024  # width in front of a shared projector where there is no image tower to say it: GEM's

Sizes = Mapping[str, Mapping[str, Any]]


def build_report_model(backbone: Any, *, encoder: str, projector: str, fusion: str, signal_tokens: int,
                       token_norm: str, seed: int, tokens_from: str = "pooled", fusion_layers: str = "auto",
                       values: str = "encoder", emg_reshape: str = "compat", emg_dropout: float = 0.1,
                       value_identity: str = "none", sizes: Sizes | None = None, **shown: Any) -> ReportModel:
    """Put a tower for each of the named encoders, and a fusion, on a loaded (and tuned) backbone.

    The width of a signal token is read from the fusion, and so from the backbone. "pooled" tokens are all made of one
    feature vector, "temporal" ones each of a stretch of time; an encoder that gives a number of its own gives that. The
    encoder of values is left out where `values` enter as text; with `value_identity` "item" its tokens have
    the names of their items added. `sizes` are those of encoders, by name, that are not built as the table says, and
    `shown` settings of preprocessing. New weights depend on `seed` alone.
    """
    if unknown := set(shown) - set(SHOWN):
        raise TypeError(f"unknown settings {sorted(unknown)}")
    layers, shares = parse_layers(fusion_layers, backbone), projector in names.SHARED_PROJECTORS
    towers: dict[str, nn.Module] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        attached = names.resolve("fusion", fusion)(backbone, layers)
        adapt = partial(names.resolve("projector", projector), dim=attached.dim, norm=token_norm)
        for reads, name in names.encoders_of(encoder).items():
            torch.manual_seed(seed)
            build, own = names.resolve("encoder", name), names.ENCODERS[name].tokens
            if reads != "values":
                made = build(**(sizes or {}).get(name, {}))
                prepare = preprocessing_of(name, shown, sizes)
                own = _own_tokens(made, own, prepare)
                pieces, each = (own or signal_tokens, 1) if own or tokens_from == "temporal" else (1, signal_tokens)
                towers[reads] = Tower(made, as_it_is(made.width, each) if shares else adapt(made.width, each), pieces,
                                      prepare)
            elif values == "encoder":
                words = partial(input_embeddings, backbone)
                made = build(words, reshape=emg_reshape, dropout=emg_dropout)
                towers[reads] = ValuesTower(made, adapt(made.dim, 1) if made.dim != attached.dim else None, own or 1,
                                            ItemNames(words) if value_identity == "item" else None)
        shared = _share(towers, adapt, seed) if shares else None
    return ReportModel(towers, backbone, attached, shared)


def _own_tokens(encoder: nn.Module, otherwise: int | None, prepare: Preprocessing) -> int | None:
    """How many tokens an encoder gives of what a record shows; None: as many as are asked for."""
    each = getattr(encoder, "tokens", None) or otherwise
    return each and int(each) * (prepare.page.pictures if prepare.reads == "image" else 1)


def _share(towers: Mapping[str, Any], adapt: Callable[..., Projector], seed: int) -> Projector:
    """One projector behind all towers, and in front of it a linear layer for each whose features are not the image
    tower's."""
    torch.manual_seed(seed)
    width = towers["image"].encoder.width if "image" in towers else MIDDLE
    for name, tower in towers.items():
        if name != "image" or tower.projector.tokens != 1:
            tower.projector = bridge(tower.encoder.width, tower.projector.tokens, width)
    return adapt(width, 1)


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
