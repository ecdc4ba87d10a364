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

from emgecg_cli.core.encoder_names import ENCODERS as ENCODERS
from emgecg_cli.core.encoder_names import Encoder as Encoder
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.hub_models import BACKBONES as BACKBONES
from emgecg_cli.core.hub_models import Backbone as Backbone

_CORE = "emgecg_cli.core."


@dataclass(frozen=True)
class MetricSetting:
    """A setting of a metric that the command line takes as `--METRIC-SETTING`; without the one it is `beside` it has no
    effect. `option` is what it is called where that is something else."""

    type: type
    metavar: str
    help: str
    beside: str = ""
    option: str = ""

    def called(self, metric: str, name: str) -> str:
        """The name of its option."""
        return self.option or f"--{metric}-{name}"


@dataclass(frozen=True)
class Input:
    """What a record may show to a model: the type of message part that stands for it, and the source it is read from.
    """

    part: str
    path: str


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
    "files": _CORE + "datasets.recording_folder:open_source",
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
# dataset -> coding(labels, language, report) -> the codes it gives, as a rule, to a report that says this
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
# name of an input -> its source, in inputs/sources.py: open(store, preprocessing, values) -> Source
INPUTS = {
    "ecg": Input("ecg", _CORE + "inputs.sources:EcgSource"),
    "values": Input("value", _CORE + "inputs.sources:ValueSource"),
    "image": Input("image", _CORE + "inputs.pages:PageSource"),
}
# name -> build(width, tokens, dim, norm) -> Projector
PROJECTORS = {
    "mlp": _CORE + "models.projector:mlp_projector",
    "linear": _CORE + "models.projector:linear_projector",
    "mlp-gelu": _CORE + "models.projector:gelu_projector",
    "shared-gelu": _CORE + "models.projector:llava_projector",
}
# those of which all towers share one, each behind a linear layer of its own to the width of the image tower
SHARED_PROJECTORS = ("shared-gelu",)
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
# name -> distortion(page, rng) -> page, in the order in which they happen to a page
DISTORTIONS = {
    "creases": _CORE + "signals.paper.distortions:creases",
    "rotation": _CORE + "signals.paper.distortions:rotation",
    "crop": _CORE + "signals.paper.distortions:crop",
    "colour-temperature": _CORE + "signals.paper.distortions:colour_temperature",
    "noise": _CORE + "signals.paper.distortions:noise",
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
    "evidence": _CORE + "metrics.clinical.evidence:EvidenceScore",
    "statements": _CORE + "metrics.clinical.statements:Statements",
    "meit": _CORE + "metrics.compat.meit:Meit",
    "meit-exact": _CORE + "metrics.compat.meit:MeitExact",
    "ecgbench": _CORE + "metrics.compat.ecgbench:EcgBench",
    "heartllm": _CORE + "metrics.compat.heartllm:HeartLLM",
    "reference-loss": _CORE + "metrics.reference_loss:ReferenceLoss",
    "judge": _CORE + "metrics.judged.judge:Judged",
    "ecg-grounding": _CORE + "metrics.judged.grounding:GroundingJudge",
    "ecgbench-tasks": _CORE + "metrics.bench.metric:EcgBenchTasks",
    "ecgbench-report": _CORE + "metrics.judged.ecgbench:ReportJudge",
    "ecgbench-arena": _CORE + "metrics.judged.ecgbench:ArenaJudge",
    "gem-tasks": _CORE + "metrics.compat.gem:GemTasks",
}
# name -> evaluation.baselines.Baseline, in the order of the columns
BASELINES = {
    "most-frequent": _CORE + "evaluation.baselines.most_frequent:BASELINE",
    "random": _CORE + "evaluation.baselines.random_report:BASELINE",
    "nearest": _CORE + "evaluation.baselines.nearest:BASELINE",
    "empty": _CORE + "evaluation.baselines.empty:BASELINE",
    "template": _CORE + "evaluation.baselines.template:BASELINE",
}
# name -> metrics.judged.criteria.Criteria
JUDGE_CRITERIA = {
    "meit": _CORE + "metrics.judged.meit:CRITERIA",
}

# metric -> its settings by name
METRIC_SETTINGS = {
    "cider": {
        "idf": MetricSetting(str, "refs|train|FILE", "Where CIDEr-D takes document frequencies from: the references, "
                             "the train reports (if not given, where there are any), or a file.", option="--idf"),
        "write_idf": MetricSetting(Path, "FILE", "Write those that were used, for --idf.", option="--write-idf"),
    },
    "bertscore": {
        "model": MetricSetting(Path, "PATH", "A local folder of weights; without it BERTScore is left out."),
        "layers": MetricSetting(int, "N", "Its layers to use; known for the usual models.", "model"),
        "baseline": MetricSetting(Path, "TSV", "Rescale with this baseline file.", "model"),
    },
    "judge": {
        "criteria": MetricSetting(str, "NAME", f"What --judge scores; meit if not given: {', '.join(JUDGE_CRITERIA)}."),
        "records": MetricSetting(int, "N", "Records --judge scores, drawn by their ids; all if not given."),
        "systems": MetricSetting(str, "all|models", "Whose reports --judge scores; the baselines' too if not given."),
    },
    "ecg-grounding": {
        "scoring": MetricSetting(str, "gem-v1|gem-v2|strict", "What the items of --suite ecg-grounding are worth: as "
                                 "GEM published them, first or now, or the share of what can be had; strict if not "
                                 "given.",
                                 option="--scoring"),
    },
}

# whose released weights -> make_run(folder, out, lead_order, image_layout)
RELEASED = {
    "gem": _CORE + "published.gem:import_gem",
}

# the tasks of MEIT's paper, for `benchmark`
BENCHMARK_TASKS = ("quality", "zero-shot", "robustness", "alignment")

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
    "distortion": DISTORTIONS,
    "metric": METRICS,
    "baseline": BASELINES,
    "judge criteria": JUDGE_CRITERIA,
    "released weights": RELEASED,
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
