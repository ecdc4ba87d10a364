"""Torch-free tables name -> "module:object". One new line here makes a new file known everywhere.

Command-line choices, completion, "did you mean" and the shared contract tests are derived from these tables.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from typing import Any

from emgecg_cli.core.errors import MedReportError

_CORE = "emgecg_cli.core."

# name -> open_source(**options) -> datasets.Source
DATASETS = {
    "ptb-xl": _CORE + "datasets.ptb_xl:open_source",
    "synthetic": _CORE + "datasets.synthetic:open_source",
}
# dataset -> labeler with read(report) -> set of codes; only where the reports' vocabulary is known exactly
LABELERS = {
    "synthetic": _CORE + "datasets.synthetic.reports:LABELER",
}
# name -> expand(seed_prompts, size, ...) -> prompts
REPHRASERS = {
    "offline": _CORE + "instructions.offline:rephrase",
    "openai": _CORE + "instructions.openai:rephrase",
}
# name -> build() -> nn.Module with .width, (B, C, L) -> (B, width)
ENCODERS = {
    "resnet18": _CORE + "models.encoders.resnet1d:resnet18",
    "resnet34": _CORE + "models.encoders.resnet1d:resnet34",
    "resnet50": _CORE + "models.encoders.resnet1d:resnet50",
    "resnet18-tiny": _CORE + "models.encoders.resnet1d:resnet18_tiny",
}
# name -> build(width, tokens, dim, norm) -> Projector
PROJECTORS = {
    "mlp": _CORE + "models.projector:mlp_projector",
    "linear": _CORE + "models.projector:linear_projector",
}
# name -> Fusion class
FUSIONS = {
    "prefix-kv": _CORE + "models.fusion.prefix_kv:PrefixKV",
}
# name -> perturbation(signal, fs, level, rng) -> signal
PERTURBATIONS = {
    "gaussian": _CORE + "perturbations.gaussian:gaussian",
    "meit-proportion": _CORE + "perturbations.meit_proportion:meit_proportion",
}
# name -> Metric
METRICS = {
    "bleu": _CORE + "metrics.bleu:Bleu",
    "meteor": _CORE + "metrics.meteor:Meteor",
    "rouge": _CORE + "metrics.rouge:Rouge",
    "cider": _CORE + "metrics.cider:CiderD",
    "bertscore": _CORE + "metrics.bertscore:BertScore",
    "findings": _CORE + "metrics.findings:Findings",
}

_TABLES = {
    "dataset": DATASETS,
    "labeler": LABELERS,
    "rephraser": REPHRASERS,
    "encoder": ENCODERS,
    "projector": PROJECTORS,
    "fusion": FUSIONS,
    "perturbation": PERTURBATIONS,
    "metric": METRICS,
}

# name -> hub id of causal language models; any local path or hub id works as well
BACKBONES = {
    "tiny": "built from sizes, trained from scratch",
    "llama-1-7b": "huggyllama/llama-7b",
    "llama-2-7b": "meta-llama/Llama-2-7b-hf",
    "llama-2-7b-chat": "meta-llama/Llama-2-7b-chat-hf",
    "llama-3-8b": "meta-llama/Meta-Llama-3-8B-Instruct",
    "mistral-7b": "mistralai/Mistral-7B-v0.1",
    "mistral-7b-instruct": "mistralai/Mistral-7B-Instruct-v0.2",
}


def choices(kind: str) -> list[str]:
    """The known names of a kind, in the order of the table."""
    return list(_TABLES[kind])


def check(kind: str, name: str) -> None:
    """Refuse a name that is in no table, without importing what it stands for; raises MedReportError."""
    if name not in _TABLES[kind]:
        raise unknown_name(kind, name, _TABLES[kind])


def resolve(kind: str, name: str) -> Any:
    """Import and return what `name` stands for; an unknown name raises and suggests a near one."""
    check(kind, name)
    module, _, attribute = _TABLES[kind][name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def unknown_name(kind: str, name: str, available: Iterable[str]) -> MedReportError:
    """The error for a name that is in no table, with a suggestion where one is near."""
    available = list(available)
    near = difflib.get_close_matches(name.lower(), available, n=1, cutoff=0.5)
    guess = f"; did you mean '{near[0]}'?" if near else ""
    return MedReportError(f"no {kind} '{name}'{guess}", f"available: {', '.join(available)}")
