"""What a benchmark is asked for: a YAML file, every key and type of it checked before anything is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

from emgecg_cli.core import names
from emgecg_cli.core.config import GenerateConfig, InstructionDefaults, PrepareConfig, ScoreDefaults, TrainConfig
from emgecg_cli.core.config.files import checked, plain_type, read_mapping
from emgecg_cli.core.config.profiles import metrics_of
from emgecg_cli.core.errors import MedReportError

# How a model came to be: tuned on prompts and reports, on reports without a prompt, or not at all.
WITH, WITHOUT, UNTUNED = TUNED = ("with", "without", "untuned")
PRODUCT, *_ = GRIDS = ("product", "one-at-a-time")
PROPORTIONS = (0.05, 0.1, 0.15, 0.2)  # the paper's levels
JUDGED = 500  # the paper's number of judged reports
_STORE = "store"
_OF_SOURCES = {"root": Path, "reports": Path, "codes": Path, "records": int, "findings": str, "language": str,
               "mapping": Path, "keep_original": bool}
_NOT_ASKED = ("split", "signal", "seed", "reference_loss")  # of generate: the task decides
_KEYS = ("sources", "train_on", "written_on", "backbones", "encoders", "instruction_tuning", "prompts", "grid", "train",
         "generate", "score", "proportions", "judged", "seed")
_OF_SCORES: dict[str, Any] = {"profile": str, "resamples": int, "bertscore_model": str | None,
                              "bertscore_layers": int | None, "bertscore_baseline": str | None}


@dataclass(frozen=True)
class SourceSpec:
    """Recordings and reports by a name: a finished store, or a dataset with its options and how it is prepared."""

    name: str
    store: Path | None = None
    dataset: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    prepare: PrepareConfig = field(default_factory=PrepareConfig)


@dataclass(frozen=True)
class BackboneSpec:
    """A backbone as tables call it, with settings of `train` that are its own."""

    label: str
    settings: Mapping[str, Any] = field(hash=False)


@dataclass(frozen=True)
class Benchmark:
    """A benchmark: sources, which of them models are trained and written on, the axes of the grid, and how each stage
    is done. `encoders` with None take the recipe's."""

    sources: Mapping[str, SourceSpec]
    train_on: Sequence[str]
    written_on: Sequence[str]
    backbones: Sequence[BackboneSpec]
    encoders: Sequence[str | None]
    tuned: Sequence[str]
    prompts: Sequence[int]
    grid: str
    train: Mapping[str, Any]
    generate: Mapping[str, Any]
    score: Mapping[str, Any]
    proportions: Sequence[float]
    judged: int
    seed: int


def read_benchmark(path: Path) -> Benchmark:
    """A benchmark from its file. Raises MedReportError for what is no such file, for an unknown key (with a near one),
    a value of another type, and a name that is in no table."""
    values = read_mapping(path)
    where = str(path)
    _known(values, _KEYS, where)
    for needed in ("sources", "backbones"):
        if not values.get(needed):
            raise MedReportError(f"{where}: no {needed}", "docs/benchmark.md shows a whole file")
    seed = plain_type(values.get("seed", 0), int, f"{where}: seed")
    sources = _sources(values["sources"], seed, where)
    first, *_ = sources
    train_on = _chosen(values.get("train_on"), sources, f"{where}: train_on") or [first]
    others = [name for name in sources if name not in train_on]
    encoders = _list(values.get("encoders"), str, f"{where}: encoders")
    for name in encoders:
        names.encoders_of(name)
    prompts = _list(values.get("prompts"), int, f"{where}: prompts") or [InstructionDefaults.pool_size]
    if min(prompts) < 1:
        raise MedReportError(f"{where}: prompts has {min(prompts)}",
                             "a pool has 1 prompt or more; instruction_tuning: without is none at all")
    made = Benchmark(
        sources, train_on, _chosen(values.get("written_on") or others, sources, f"{where}: written_on"),
        _backbones(values["backbones"], where), encoders or [None],
        _words(values.get("instruction_tuning", WITH), TUNED, f"{where}: instruction_tuning"), prompts,
        _words(values.get("grid", PRODUCT), GRIDS, f"{where}: grid")[0],
        checked(_mapping(values.get("train"), f"{where}: train"), TrainConfig, "train", f"{where}, train"),
        _generate(values.get("generate"), where), _score(values.get("score"), where),
        _list(values.get("proportions"), float, f"{where}: proportions") or list(PROPORTIONS),
        plain_type(values.get("judged", JUDGED), int, f"{where}: judged"), seed)
    if wrong := next((one for one in made.proportions if not 0 < one <= 1), None):
        raise MedReportError(f"{where}: proportions has {wrong:g}", "a share of the time, above 0 and at most 1: 0.05")
    if not 0 <= made.score["resamples"] <= 100_000:
        raise MedReportError(f"{where}: score: resamples is {made.score['resamples']}", "give 0 to 100,000")
    if made.judged < 1:
        raise MedReportError(f"{where}: judged is {made.judged}", "give how many reports a judge reads: 500")
    return made


def _sources(given: Any, seed: int, where: str) -> dict[str, SourceSpec]:
    hints = {name: hint for name, hint in get_type_hints(PrepareConfig).items() if name != "no_reports"}
    made = {}
    for name, values in _mapping(given, f"{where}: sources").items():
        here = f"{where}, sources, {name}"
        if not isinstance(name, str) or not name or Path(name).name != name or name.startswith("."):
            raise MedReportError(f"{here}: not a name that a folder can have", "use letters, digits and -")
        values = _mapping(values, here)
        _known(values, [_STORE, "dataset", *_OF_SOURCES, *hints], here)
        if (_STORE in values) == ("dataset" in values):
            raise MedReportError(f"{here}: one of store and dataset is needed",
                                 "store: PATH is a finished store, dataset: NAME is prepared here")
        if _STORE in values:
            if len(values) > 1:
                raise MedReportError(f"{here}: {next(one for one in values if one != _STORE)} has no effect beside "
                                     "store", "a finished store is as it is")
            made[name] = SourceSpec(name, Path(plain_type(values[_STORE], str, f"{here}: store")))
            continue
        names.check("dataset", plain_type(values["dataset"], str, f"{here}: dataset"))
        typed = {key: plain_type(value, _plain(_OF_SOURCES.get(key) or hints.get(key, str)), f"{here}: {key}")
                 for key, value in values.items()}
        options = {key: Path(value) if _OF_SOURCES[key] is Path else value for key, value in typed.items()
                   if key in _OF_SOURCES}
        prepare = PrepareConfig(**{"seed": seed} | {key: value for key, value in typed.items() if key in hints})
        made[name] = SourceSpec(name, None, typed["dataset"], options, prepare)
    return made


def _plain(hint: Any) -> Any:
    return str if hint is Path else hint


def _backbones(given: Any, where: str) -> list[BackboneSpec]:
    """A name, or a mapping with `backbone`, a `name` for tables, and settings of train that are this backbone's."""
    made = []
    for one in given if isinstance(given, list) else [given]:
        here = f"{where}, backbones"
        values = {"backbone": one} if isinstance(one, str) else dict(_mapping(one, here))
        label = plain_type(values.pop("name", values.get("backbone", "")), str, f"{here}: name")
        settings = checked(values, TrainConfig, "train", here)
        if not settings.get("backbone"):
            raise MedReportError(f"{here}: one without a backbone", "give backbone: a name, a folder or a hub id")
        made.append(BackboneSpec(label, settings))
    labels = [one.label for one in made]
    if len({*labels}) < len(labels):
        raise MedReportError(f"{where}, backbones: two are called the same", "give each a name: of its own")
    return made


def _generate(given: Any, where: str) -> dict[str, Any]:
    hints = {name: hint for name, hint in get_type_hints(GenerateConfig).items()
             if name not in _NOT_ASKED and name in {one.name for one in fields(GenerateConfig)}}
    read = _typed(given, hints, f"{where}, generate")
    GenerateConfig(**read)
    return read


def _score(given: Any, where: str) -> dict[str, Any]:
    read = {"profile": "standard", "resamples": ScoreDefaults.resamples} | _typed(given, _OF_SCORES, f"{where}, score")
    metrics_of(str(read["profile"]))
    return read


def _typed(given: Any, hints: Mapping[str, Any], here: str) -> dict[str, Any]:
    values = _mapping(given, here)
    _known(values, list(hints), here)
    return {key: plain_type(value, hints[key], f"{here}: {key}") for key, value in values.items()}


def _mapping(given: Any, what: str) -> dict[Any, Any]:
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise MedReportError(f"{what} is no list of settings", "write one setting a line below it: name: value")
    return given


def _known(values: Mapping[Any, Any], known: Sequence[str], where: str) -> None:
    for key in values:
        if key not in known:
            error = names.unknown_name("setting", str(key)[:60], known)
            raise MedReportError(f"{where}: {error.message}", error.hint)


def _list(given: Any, kind: Any, what: str) -> list[Any]:
    """A value, or several, each of a type and there once; none of null."""
    several = [] if given is None else given if isinstance(given, list) else [given]
    typed = [plain_type(one, kind, what) for one in several]
    if len({*typed}) < len(typed):
        raise MedReportError(f"{what}: one is there twice", "give each once")
    if isinstance(given, list) and not given and kind is not str:
        raise MedReportError(f"{what} is empty", "give one or more, or leave it out")
    return typed


def _words(given: Any, known: Sequence[str], what: str) -> list[str]:
    words = _list(given, str, what) or [known[0]]
    for word in words:
        if word not in known:
            error = names.unknown_name("choice", word, known)
            raise MedReportError(f"{what}: {error.message}", error.hint)
    return words


def _chosen(given: Any, sources: Mapping[str, Any], what: str) -> list[str]:
    chosen = _list(given, str, what)
    for name in chosen:
        if name not in sources:
            error = names.unknown_name("source", name, sources)
            raise MedReportError(f"{what}: {error.message}", error.hint)
    return chosen
