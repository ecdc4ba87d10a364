"""`medreport score`: predictions in, scores out, beside baselines that see no signal."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from emgecg_cli.commands import console, endpoint_options
from emgecg_cli.commands.options import (
    JsonOpt,
    MetricsOpt,
    OutOpt,
    SeedOpt,
    SystemsArg,
    find_one,
    refuse_all_but,
    words,
)
from emgecg_cli.commands.robustness import score_curve
from emgecg_cli.commands.scores_shown import show_scores
from emgecg_cli.core.config import SCORES, STORES, ScoreDefaults
from emgecg_cli.core.config.profiles import COMPAT, PROFILES, SCORE_FORMATS, SUITES, suite_of
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.names import METRIC_SETTINGS

if TYPE_CHECKING:
    from emgecg_cli.core.metrics.judged.panel import Panel

StoreOpt = Annotated[Path | None, typer.Option("--store", metavar="STORE", show_default=False,
                                               help="The store predictions are held against, whose train reports make "
                                                    "baselines; else the predictions' own.")]
ForeignOpt = Annotated[bool, typer.Option("--foreign", help="The file is someone else's: records and references that "
                                                            "are not the store's are counted, not refused.")]
LanguageOpt = Annotated[str | None, typer.Option("--language", metavar="en|de|zh|…", show_default=False,
                                                 help="Language of all reports; else each row's own.")]
SegmentationOpt = Annotated[str | None, typer.Option("--segmentation", metavar="char|jieba", show_default=False,
                                                     autocompletion=words("char", "jieba"),
                                                     help="How text without blanks between words (Chinese, "
                                                          "Japanese, Thai, …) is cut; it must be said.")]
SectionOpt = Annotated[str, typer.Option("--section", metavar="all|findings|impression",
                                         autocompletion=words("all", "findings", "impression"),
                                         help="What of a report is scored; all: the whole and each section.")]
ResamplesOpt = Annotated[int, typer.Option("--resamples", min=0, max=100_000, help="Bootstrap draws of the intervals.")]
EncoderOpt = Annotated[Path | None, typer.Option(
    "--baseline-encoder", metavar="RUN|ENCODER", show_default=False,
    help="A run of train or pretrain, by whose encoder each record's nearest train recording is found: its report is "
         "one more baseline.")]
TrainStoreOpt = Annotated[Path | None, typer.Option(
    "--train-store", metavar="STORE", show_default=False,
    help="The store the run was trained on, where that is of another data set; its train reports make baselines too. "
         "Else what the run names.")]
ProfileOpt = Annotated[str | None, typer.Option(
    "--profile", metavar="NAME", autocompletion=words("standard", *PROFILES, *COMPAT), show_default=False,
    help=f"The metrics: standard (all that can be computed), {', '.join(PROFILES)}, or another system's arithmetic "
         "alone. [standard]")]
SuiteOpt = Annotated[str | None, typer.Option(
    "--suite", metavar="|".join(SUITES), autocompletion=words(*SUITES), show_default=False,
    help="A benchmark's metrics instead: ecg-grounding (GEM's eight criteria by a judge, and the evidence score), or "
         "ecgbench (labels, choices, ECG-QA; reports and dialogues by a judge).")]
TaskOpt = Annotated[str | None, typer.Option(
    "--task", metavar="NAME", show_default=False, help="Which task of --suite ecgbench a file is of, where its rows do "
    "not say it (task, dataset): ptb-test, code15-test, cpsc-test, csn-test-no-cot, g12-test-no-cot, ecgqa-test, "
    "mmmu-ecg, ptb-test-report, arena.")]
CompatOpt = Annotated[list[str] | None, typer.Option(
    "--compat", metavar="|".join(COMPAT), autocompletion=words(*COMPAT), show_default=False,
    help="Another system's arithmetic beside them, so that its published tables can be read; may be repeated.")]
FieldOpt = Annotated[list[str] | None, typer.Option(
    "--field", metavar="NAME=FIELD,…", show_default=False,
    help="Which field of someone else's file is which of ours: prediction=output,reference=report,record_id=id.")]
NameOpt = Annotated[list[str] | None, typer.Option(
    "--name", metavar="NAME", show_default=False,
    help="What a system is called, once for each file in their order; the names of several files if not given.")]
CommonOpt = Annotated[bool, typer.Option("--common", help="Several systems are scored on the records that all have.")]
RandomisationsOpt = Annotated[int, typer.Option("--randomisations", min=100, max=1_000_000,
                                                help="Random swaps of the paired test between systems.")]
FormatOpt = Annotated[str | None, typer.Option(
    "--format", metavar="|".join(SCORE_FORMATS), show_default=False, autocompletion=words(*SCORE_FORMATS),
    help="What is printed on stdout; table if not given.")]
CurveOpt = Annotated[bool, typer.Option("--curve", help="The files are of one run on a store that was perturbed more "
                                                        "and more: draw scores against the level.")]
PageOpt = Annotated[Path | None, typer.Option("--page", metavar="HTML", show_default=False,
                                              help="Also write a page: scores as charts, and reports to browse "
                                                   "beside their records.")]
ExamplesOpt = Annotated[int | None, typer.Option("--examples", min=0, max=1000, show_default=False,
                                                 help="Records on that page, half of them the worst. "
                                                      f"[{ScoreDefaults.examples}]")]
JUDGE_CACHE = ".judge.jsonl"  # beside the scores
CURVE_TAKES = ("predictions", "metric", "segmentation", "resamples", "seed", "page", "out", "form", "as_json")
Command = TypeVar("Command", bound=Callable[..., Any])


def _takes_metric_settings(command: Command) -> Command:
    """Give the command an option for each setting of `names.METRIC_SETTINGS`, which reaches it as `**of_metrics`."""
    own = list(inspect.signature(command, eval_str=True).parameters.values())[:-1]
    made = [inspect.Parameter(_parameter(metric, name), inspect.Parameter.KEYWORD_ONLY, default=None,
                              annotation=Annotated[one.type | None, typer.Option(
                                  one.called(metric, name), metavar=one.metavar, help=one.help, show_default=False)])
            for metric, settings in METRIC_SETTINGS.items() for name, one in settings.items()]
    parameters = [*own, *made]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in parameters} | {"return": None}
    return command


def _parameter(metric: str, name: str) -> str:
    """The parameter of a setting."""
    return f"{metric}_{name}".replace("-", "_")


@_takes_metric_settings
def score(context: typer.Context, predictions: SystemsArg = None, name: NameOpt = None, field: FieldOpt = None,
          common: CommonOpt = False, metric: MetricsOpt = None, profile: ProfileOpt = None, suite: SuiteOpt = None,
          task: TaskOpt = None, compat: CompatOpt = None, store: StoreOpt = None,
          train_store: TrainStoreOpt = None, baseline_encoder: EncoderOpt = None, foreign: ForeignOpt = False,
          language: LanguageOpt = None, segmentation: SegmentationOpt = None, section: SectionOpt = "all",
          resamples: ResamplesOpt = ScoreDefaults.resamples,
          randomisations: RandomisationsOpt = ScoreDefaults.randomisations,
          judge: endpoint_options.JudgeOpt = None, base_url: endpoint_options.JudgeUrlOpt = None,
          requests_at_once: endpoint_options.RequestsOpt = None,
          price_in: endpoint_options.PricesInOpt = None, price_out: endpoint_options.PricesOutOpt = None,
          seed: SeedOpt = ScoreDefaults.seed, curve: CurveOpt = False, page: PageOpt = None,
          examples: ExamplesOpt = None,
          out: OutOpt = None, form: FormatOpt = None, as_json: JsonOpt = False, **of_metrics: Any) -> None:
    """Score reports against their references; every value has a confidence interval and says how it was computed.

    Several files are compared with the first by paired tests.
    """
    shown = _format(form, as_json)
    if examples is not None and page is None:
        raise MedReportError("--examples has no effect without --page", "add --page FILE.html")
    settings, chosen = _metric_settings(of_metrics), _metric_set(metric, profile, suite, compat)
    if curve:
        refuse_all_but(context, CURVE_TAKES, "--curve")
        score_curve(predictions or [], out, page, form=shown, metrics=metric, resamples=resamples, seed=seed,
                    segmentation=segmentation)
        return
    sources = predictions or [find_one("predictions").as_posix()]
    systems, target = _systems(sources, name or []), out or _target(sources)
    cache = (target.parent if target else Path(SCORES)) / JUDGE_CACHE
    judges = endpoint_options.panel(judge, base_url, cache, requests_at_once, price_in, price_out)
    _score_and_show(systems, target, page, shown, baseline_encoder, store_path=store, foreign=foreign, judge=judges,
                    likely_store=_only_store() if "-" in sources and store is None else None, train_store=train_store,
                    fields=field or [], common=common, randomisations=randomisations, task=task, settings=settings,
                    examples=ScoreDefaults.examples if examples is None else examples,
                    seed=seed, resamples=resamples, language=language, segmentation=segmentation, section=section,
                    **chosen)


def _score_and_show(systems: Any, target: Path | None, page: Path | None, shown: str, baseline_encoder: Path | None, *,
                    judge: Panel | None, fields: Sequence[str], **settings: Any) -> None:
    """The one call of the core, and what is shown of it."""
    from emgecg_cli.core.evaluation.files import score_file
    from emgecg_cli.core.predictions import parse_fields

    with console.progress("score", unit="metrics") as progress:
        scores = score_file(systems, target, page=page, judge=judge, fields=parse_fields(fields), progress=progress,
                            encode=_encoder(baseline_encoder, progress), **settings)
    _show(scores, shown)
    for one in judge.judges if judge else ():
        endpoint_options.say_spent(one.client)
    for written in (target, page):
        if written:
            console.note(f"wrote {written.as_posix()}")


def _metric_set(metric: Sequence[str] | None, profile: str | None, suite: str | None,
                compat: Sequence[str] | None) -> dict[str, Any]:
    """What decides which metrics are computed, of which one alone may be given beside --compat."""
    sets = {"--metric": metric, "--profile": profile, "--suite": suite}
    given = [option for option, value in sets.items() if value]
    if len(given) > 1:
        raise MedReportError(f"{' and '.join(given)} are {'both' if len(given) == 2 else 'all'} given",
                             "leave all but one out; --compat goes with each")
    return {"metrics": suite_of(suite) if suite else metric, **({"profile": profile} if profile else {}),
            **({"compat": compat} if compat else {})}


def _systems(sources: Sequence[str], named: Sequence[str]) -> Any:
    """The only file or stream, or several by the names that systems are called."""
    from emgecg_cli.core.evaluation.systems import names_of

    names = names_of(sources, named)
    if "-" in sources and sys.stdin is None:
        raise MedReportError("stdin is closed", "pipe predictions into it")
    if sources.count("-") > 1:
        raise MedReportError("stdin is given twice", "give one system on stdin, the others as files")
    files = [sys.stdin if source == "-" else Path(source) for source in sources]
    return files[0] if len(files) == 1 and not named else dict(zip(names, files, strict=True))


def _encoder(folder: Path | None, progress: Callable[..., None]) -> Any:
    """What finds the nearest train recording, if it was asked for."""
    if folder is None:
        return None
    from emgecg_cli.core.studies.encoder_features import open_recording_encoder

    return open_recording_encoder(folder, progress)


def _format(given: str | None, as_json: bool) -> str:
    """What to print, of --format and --json."""
    if given and given not in SCORE_FORMATS:
        raise MedReportError(f"no format '{given}'", f"--format takes {', '.join(SCORE_FORMATS)}")
    if as_json and given not in (None, "json"):
        raise MedReportError(f"--json and --format {given} are both given", "leave one of them out")
    return "json" if as_json else given or "table"


def _target(sources: Sequence[str]) -> Path | None:
    """Where scores are written if nothing is said: by the names of the files, for a stream nowhere."""
    stems = [Path(source).stem for source in sources]
    return None if "-" in sources else Path(SCORES) / f"{'-vs-'.join(stems)[:120]}.json"


def _show(scores: Any, form: str) -> None:
    from emgecg_cli.core.evaluation import tables

    if form == "json":
        console.print_json(scores)
    elif form == "table":
        show_scores(scores)
    else:
        written = {"csv": tables.as_csv, "markdown": tables.as_markdown, "latex": tables.as_latex}[form](scores)
        console.print_text(written)


def _metric_settings(given: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The settings by metric; refuses one that has no effect without another."""
    found = {metric: {name: given[_parameter(metric, name)] for name in known}
             for metric, known in METRIC_SETTINGS.items()}
    for metric, settings in found.items():
        for name, value in settings.items():
            beside = METRIC_SETTINGS[metric][name].beside
            if value is not None and beside and settings[beside] is None:
                other = METRIC_SETTINGS[metric][beside]
                raise MedReportError(f"{METRIC_SETTINGS[metric][name].called(metric, name)} has no effect without "
                                     f"{other.called(metric, beside)}",
                                     f"add {other.called(metric, beside)} {other.metavar}")
    return found


def _only_store() -> Path | None:
    """For predictions on the pipe, which cannot say where they come from."""
    try:
        return find_one("store") if Path(STORES).is_dir() else None
    except MedReportError as error:
        console.note(f"no baselines: {error.message}")
        return None
