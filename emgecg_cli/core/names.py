"""Torch-free tables name -> "module:object". One new line here makes a new file known everywhere.

Command-line choices, completion, "did you mean" and the shared contract tests are derived from these tables.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emgecg_cli.core.errors import MedReportError

_CORE = "emgecg_cli.core."


@dataclass(frozen=True)
class MetricSetting:
    """A setting of a metric that the command line takes as `--METRIC-SETTING`; without the one it is `beside` it has no
    effect."""

    type: type
    metavar: str
    help: str
    beside: str = ""


@dataclass(frozen=True)
class Backbone:
    """A language model on the Hugging Face hub: its id, how many parameters it has, and whether its licence must be
    accepted there first."""

    hub_id: str
    parameters: int
    gated: bool = False


@dataclass(frozen=True)
class Input:
    """What a record may show to a model: the type of message part that stands for it, and the source it is read from.
    """

    part: str
    path: str


@dataclass(frozen=True)
class Encoder:
    """A network for one of `INPUTS`, by the name of what it `reads`.

    `fs` is the rate in Hz it takes recordings at, None any; `scale` how many units of the store (microvolts, for a
    recording) make one of network input; `tokens` how many signal tokens it gives, None as many as are asked for.
    """

    path: str
    reads: str = "ecg"
    fs: int | None = None
    scale: float = 1.0
    tokens: int | None = None


# name -> open_source(**options) -> datasets.Source
DATASETS = {
    "ptb-xl": _CORE + "datasets.ptb_xl:open_source",
    "mimic-iv-ecg": _CORE + "datasets.mimic_iv_ecg:open_source",
    "code15": _CORE + "datasets.code15:open_source",
    "cpsc2018": _CORE + "datasets.cpsc2018:open_source",
    "chapman-ningbo": _CORE + "datasets.chapman_ningbo:open_source",
    "georgia": _CORE + "datasets.georgia:open_source",
    "ludb": _CORE + "datasets.ludb:open_source",
    "wfdb": _CORE + "datasets.wfdb_folder:open_source",
    "etm": _CORE + "datasets.etm:open_source",
    "synthetic": _CORE + "datasets.synthetic:open_source",
    "synthetic-emg": _CORE + "datasets.synthetic_emg:open_source",
}
# dataset -> labeler with read(report) -> set of codes; only where the reports' vocabulary is known exactly
LABELERS = {
    "synthetic": _CORE + "datasets.synthetic.reports:LABELER",
}
# dataset -> code -> what it means in words, or the SCP-ECG statement it is; the table itself or what returns it
VOCABULARIES = {
    "ptb-xl": _CORE + "reports.ecg.statements:statements",
    "code15": _CORE + "datasets.code15:VOCABULARY",
    "cpsc2018": _CORE + "datasets.cpsc2018:VOCABULARY",
    "chapman-ningbo": _CORE + "datasets.snomed:STATEMENTS",
    "georgia": _CORE + "datasets.snomed:STATEMENTS",
    "synthetic": _CORE + "datasets.synthetic.findings:FINDINGS",
}
# dataset -> coding(labels, language) -> the codes it gives, as a rule, to a report that says this
CODINGS = {
    "ptb-xl": _CORE + "reports.ecg.coding:coded_in_ptb_xl",
}
# name -> expand(seed_prompts, size, ...) -> prompts
REPHRASERS = {
    "offline": _CORE + "instructions.offline:rephrase",
    "openai": _CORE + "instructions.openai:rephrase",
}
# name -> run(task, arguments, workers) -> results as they come
ENGINES = {
    "local": _CORE + "engines.local:run",
    "ray": _CORE + "engines.ray:run",
}
# name of an input -> its source, in inputs/sources.py: open(store, fs) -> InputSource
INPUTS = {
    "ecg": Input("ecg", _CORE + "inputs.sources:EcgSource"),
    "values": Input("value", _CORE + "inputs.sources:ValueSource"),
    "image": Input("image", _CORE + "inputs.sources:PageSource"),
}
# Microvolts: R waves of 1 mV become 4. A fixed scale, since one per record would erase voltage, and with it low voltage
# and hypertrophy.
_VOLTAGE = 250.0
# name -> build() -> nn.Module with .width, (B, …) -> (B, N, width); of values build(embeddings, …)
ENCODERS = {
    "resnet18": Encoder(_CORE + "models.encoders.resnet1d:resnet18", scale=_VOLTAGE),
    "resnet34": Encoder(_CORE + "models.encoders.resnet1d:resnet34", scale=_VOLTAGE),
    "resnet50": Encoder(_CORE + "models.encoders.resnet1d:resnet50", scale=_VOLTAGE),
    "resnet101": Encoder(_CORE + "models.encoders.resnet1d:resnet101", scale=_VOLTAGE),
    "resnet152": Encoder(_CORE + "models.encoders.resnet1d:resnet152", scale=_VOLTAGE),
    "vit1d": Encoder(_CORE + "models.encoders.vit1d:vit1d", scale=_VOLTAGE),
    "mamba": Encoder(_CORE + "models.encoders.mamba:mamba", scale=_VOLTAGE),
    "resnet18-tiny": Encoder(_CORE + "models.encoders.resnet1d:resnet18_tiny", scale=_VOLTAGE),
    "vit1d-tiny": Encoder(_CORE + "models.encoders.vit1d:vit1d_tiny", scale=_VOLTAGE),
    "mamba-tiny": Encoder(_CORE + "models.encoders.mamba:mamba_tiny", scale=_VOLTAGE),
    "emg-alignment": Encoder(_CORE + "models.encoders.emg_alignment:EmgAlignment", reads="values", tokens=2),
}
# name -> build(width, tokens, dim, norm) -> Projector
PROJECTORS = {
    "mlp": _CORE + "models.projector:mlp_projector",
    "linear": _CORE + "models.projector:linear_projector",
}
# name -> fusion(backbone, layers) -> Fusion
FUSIONS = {
    "prefix-kv": _CORE + "models.fusion.prefix_kv:prefix_kv",
    "splice": _CORE + "models.fusion.splice:Splice",
    "cross-attention": _CORE + "models.fusion.cross_attention:CrossAttention",
}
# name -> perturbation(signal, fs, level, rng) -> signal
PERTURBATIONS = {
    "gaussian": _CORE + "perturbations.gaussian:gaussian",
    "meit-proportion": _CORE + "perturbations.meit_proportion:meit_proportion",
    "gaussian-ratio": _CORE + "perturbations.gaussian_ratio:gaussian_ratio",
    "baseline-wander": _CORE + "perturbations.baseline_wander:baseline_wander",
    "muscle": _CORE + "perturbations.muscle:muscle",
    "electrode-motion": _CORE + "perturbations.electrode_motion:electrode_motion",
    "mains": _CORE + "perturbations.mains:mains",
    "lead-drop": _CORE + "perturbations.lead_drop:lead_drop",
    "lead-swap": _CORE + "perturbations.lead_swap:lead_swap",
    "limb-reversal": _CORE + "perturbations.limb_reversal:limb_reversal",
    "polarity": _CORE + "perturbations.polarity:polarity",
    "gain": _CORE + "perturbations.gain:gain",
    "clipping": _CORE + "perturbations.clipping:clipping",
    "time-shift": _CORE + "perturbations.time_shift:time_shift",
    "resampling-error": _CORE + "perturbations.resampling_error:resampling_error",
}
# name -> Metric
METRICS = {
    "bleu": _CORE + "metrics.text.bleu:Bleu",
    "meteor": _CORE + "metrics.text.meteor:Meteor",
    "rouge": _CORE + "metrics.text.rouge:Rouge",
    "cider": _CORE + "metrics.text.cider:CiderD",
    "bertscore": _CORE + "metrics.text.bertscore:BertScore",
    "findings": _CORE + "metrics.clinical.findings:Findings",
    "labels": _CORE + "metrics.clinical.labels:Labels",
    "facts": _CORE + "metrics.clinical.facts:Facts",
    "statements": _CORE + "metrics.clinical.statements:Statements",
}

# metric -> its settings by name
METRIC_SETTINGS = {
    "bertscore": {
        "model": MetricSetting(Path, "PATH", "A local folder of weights; without it BERTScore is left out."),
        "layers": MetricSetting(int, "N", "Its layers to use; known for the usual models.", "model"),
        "baseline": MetricSetting(Path, "TSV", "Rescale with this baseline file.", "model"),
    },
}

_TABLES: dict[str, Mapping[str, str | Input | Encoder]] = {
    "dataset": DATASETS,
    "labeler": LABELERS,
    "vocabulary": VOCABULARIES,
    "coding": CODINGS,
    "rephraser": REPHRASERS,
    "engine": ENGINES,
    "input": INPUTS,
    "encoder": ENCODERS,
    "projector": PROJECTORS,
    "fusion": FUSIONS,
    "perturbation": PERTURBATIONS,
    "metric": METRICS,
}

# name -> where a language model lies on the Hugging Face hub; any folder or hub id works as well, without a line here
BACKBONES = {
    "tiny": Backbone("", 0),  # built from sizes, trained from scratch
    # MEIT's twelve, in the order of its tables; GPT-Neo in the size its scripts name as well
    "gpt2-medium": Backbone("openai-community/gpt2-medium", 354_823_168),
    "gpt2-large": Backbone("openai-community/gpt2-large", 774_030_080),
    "gpt-neo-1.3b": Backbone("EleutherAI/gpt-neo-1.3B", 1_315_575_808),
    "gpt-neo-2.7b": Backbone("EleutherAI/gpt-neo-2.7B", 2_651_307_520),
    "gpt-neox-20b": Backbone("EleutherAI/gpt-neox-20b", 20_554_567_680),
    "gpt-j-6b": Backbone("EleutherAI/gpt-j-6B", 6_050_882_784),
    "bloom-7b1": Backbone("bigscience/bloom-7b1", 7_069_016_064),
    "opt-6.7b": Backbone("facebook/opt-6.7b", 6_658_473_984),
    "llama-1-7b": Backbone("huggyllama/llama-7b", 6_738_415_616),
    "mistral-7b": Backbone("mistralai/Mistral-7B-v0.1", 7_241_732_096),
    "llama-2-7b": Backbone("meta-llama/Llama-2-7b-hf", 6_738_415_616, gated=True),
    "llama-2-7b-chat": Backbone("meta-llama/Llama-2-7b-chat-hf", 6_738_415_616, gated=True),
    "mistral-7b-instruct": Backbone("mistralai/Mistral-7B-Instruct-v0.2", 7_241_732_096),
    "llama-3-8b": Backbone("meta-llama/Meta-Llama-3-8B-Instruct", 8_030_261_248, gated=True),
    # its scaling and its encoder-decoder tables
    "llama-2-13b": Backbone("meta-llama/Llama-2-13b-hf", 13_015_864_320, gated=True),
    "llama-2-13b-chat": Backbone("meta-llama/Llama-2-13b-chat-hf", 13_015_864_320, gated=True),
    "llama-2-70b": Backbone("meta-llama/Llama-2-70b-hf", 68_976_648_192, gated=True),
    "llama-2-70b-chat": Backbone("meta-llama/Llama-2-70b-chat-hf", 68_976_648_192, gated=True),
    "bart-large": Backbone("facebook/bart-large", 406_291_456),
    "t5-large": Backbone("google-t5/t5-large", 737_668_096),
    # other papers on reports from signals
    "chinese-alpaca-2-7b": Backbone("hfl/chinese-alpaca-2-7b", 6_929_256_448),
    "vicuna-7b": Backbone("lmsys/vicuna-7b-v1.5", 6_738_415_616),
    # current ones
    "smollm2-135m": Backbone("HuggingFaceTB/SmolLM2-135M-Instruct", 134_515_008),
    "smollm2-360m": Backbone("HuggingFaceTB/SmolLM2-360M-Instruct", 361_821_120),
    "smollm2-1.7b": Backbone("HuggingFaceTB/SmolLM2-1.7B-Instruct", 1_711_376_384),
    "qwen3-0.6b": Backbone("Qwen/Qwen3-0.6B", 596_049_920),
    "qwen3-1.7b": Backbone("Qwen/Qwen3-1.7B", 1_720_574_976),
    "qwen3-8b": Backbone("Qwen/Qwen3-8B", 8_190_735_360),
    "qwen3-32b": Backbone("Qwen/Qwen3-32B", 32_762_123_264),
    "gemma-3-270m": Backbone("google/gemma-3-270m-it", 268_098_176, gated=True),
    "gemma-3-1b": Backbone("google/gemma-3-1b-it", 999_885_952, gated=True),
    "phi-4-mini": Backbone("microsoft/Phi-4-mini-instruct", 3_836_021_760),
    "llama-3.2-1b": Backbone("meta-llama/Llama-3.2-1B-Instruct", 1_235_814_400, gated=True),
    "llama-3.2-3b": Backbone("meta-llama/Llama-3.2-3B-Instruct", 3_212_749_824, gated=True),
    "llama-3.1-8b": Backbone("meta-llama/Llama-3.1-8B-Instruct", 8_030_261_248, gated=True),
    "llama-3.1-70b": Backbone("meta-llama/Llama-3.1-70B-Instruct", 70_553_706_496, gated=True),
    "qwen1.5-moe-a2.7b": Backbone("Qwen/Qwen1.5-MoE-A2.7B-Chat", 14_315_784_192),
    "qwen3-30b-a3b": Backbone("Qwen/Qwen3-30B-A3B-Instruct-2507", 30_532_122_624),
    "mixtral-8x7b": Backbone("mistralai/Mixtral-8x7B-Instruct-v0.1", 46_702_792_704),
    "gemma-2-2b": Backbone("google/gemma-2-2b-it", 2_614_341_888, gated=True),
    "gemma-2-9b": Backbone("google/gemma-2-9b-it", 9_241_705_984, gated=True),
    "olmo-2-1b": Backbone("allenai/OLMo-2-0425-1B-Instruct", 1_484_916_736),
    "olmo-2-7b": Backbone("allenai/OLMo-2-1124-7B-Instruct", 7_298_617_344),
    "granite-3.3-2b": Backbone("ibm-granite/granite-3.3-2b-instruct", 2_533_539_840),
    "granite-3.3-8b": Backbone("ibm-granite/granite-3.3-8b-instruct", 8_170_864_640),
    "smollm3-3b": Backbone("HuggingFaceTB/SmolLM3-3B", 3_075_098_624),
    "glm-4-9b": Backbone("zai-org/GLM-4-9B-0414", 9_400_279_040),
    "ministral-8b": Backbone("mistralai/Ministral-8B-Instruct-2410", 8_019_808_256, gated=True),
    "gpt-oss-20b": Backbone("openai/gpt-oss-20b", 20_914_757_184),
    "phi-2": Backbone("microsoft/phi-2", 2_779_683_840),
    "falcon-7b": Backbone("tiiuae/falcon-7b-instruct", 6_921_720_704),
    "stablelm-2-1.6b": Backbone("stabilityai/stablelm-2-zephyr-1_6b", 1_644_515_328),
    "command-r7b": Backbone("CohereLabs/c4ai-command-r7b-12-2024", 8_028_033_024, gated=True),
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
    entry = _TABLES[kind][name]
    module, _, attribute = (entry if isinstance(entry, str) else entry.path).partition(":")
    return getattr(importlib.import_module(module), attribute)


def encoders_of(text: str) -> dict[str, str]:
    """The encoders of "resnet50,emg-alignment" by what each reads, in their order.

    Raises MedReportError for one that is in no table, and for two that read the same.
    """
    chosen: dict[str, str] = {}
    for name in (word.strip() for word in text.split(",")):
        check("encoder", name)
        reads = ENCODERS[name].reads
        if reads in chosen:
            raise MedReportError(f"--encoder {text}: {chosen[reads]} and {name} both read the input '{reads}'",
                                 "give one encoder for each input")
        chosen[reads] = name
    return chosen


def encoders_reading(name: str) -> list[str]:
    """The encoders of an input."""
    return [encoder for encoder, spec in ENCODERS.items() if spec.reads == name]


def split_revision(name: str) -> tuple[str, str | None]:
    """`name@revision` of a backbone in two; a revision is a commit, a tag or `refs/pr/N`, None where none is given."""
    stem, at, revision = name.rpartition("@")
    return (stem, revision) if at and stem and revision else (name, None)


def unknown_name(kind: str, name: str, available: Iterable[str]) -> MedReportError:
    """The error for a name that is in no table, with a suggestion where one is near."""
    available = list(available)
    near = difflib.get_close_matches(name.lower(), available, n=1, cutoff=0.5)
    guess = f"; did you mean '{near[0]}'?" if near else ""
    return MedReportError(f"no {kind} '{name}'{guess}", f"available: {', '.join(available)}")
