"""`medreport prepare`: recordings and reports of one dataset in, a store out."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emgecg_cli.commands import console
from emgecg_cli.commands.endpoint_options import (
    PriceInOpt,
    PriceOutOpt,
    RequestsOpt,
    prices_of,
    refuse_without_endpoint,
    say_spent,
)
from emgecg_cli.commands.options import (
    HEALTHY_HELP,
    DatasetArg,
    FileFsOpt,
    FileLeadsOpt,
    FileUnitsOpt,
    JsonOpt,
    OutOpt,
    complete,
    words,
)
from emgecg_cli.commands.verify import show, verified
from emgecg_cli.core import names
from emgecg_cli.core.artifacts import WITHOUT_REPORT
from emgecg_cli.core.config import (
    CLEANING,
    DATA,
    HEALTHY,
    LARGEST_SEED,
    REQUESTS_AT_ONCE,
    STORES,
    WINDOWS,
    PrepareConfig,
)
from emgecg_cli.core.errors import MedReportError

if TYPE_CHECKING:
    from emgecg_cli.core.llm import LLMClient, Prices

UNUSED_SHOWN = 20

RootOpt = Annotated[Path | None, typer.Option("--root", metavar="DIR", show_default=False,
                                              help=f"The dataset's folder, as its publisher lays it out; "
                                                   f"{DATA}/DATASET if not given.")]
DownloadOpt = Annotated[bool, typer.Option("--download", help="First fetch what is missing of an open dataset into "
                                                              "--root; goes on where it stopped.")]
MirrorOpt = Annotated[str | None, typer.Option("--mirror", metavar="URL", show_default=False,
                                               help="Where to fetch it from; the publisher's address if not given.")]
FsOpt = Annotated[int, typer.Option("--fs", metavar="HZ", help="Sampling frequency to store.")]
SecondsOpt = Annotated[float, typer.Option("--seconds", metavar="S", help="Length of each signal.")]
WindowOpt = Annotated[str, typer.Option("--window", metavar="|".join(WINDOWS), autocompletion=words(*WINDOWS),
                                        help="What a longer recording gives: its first seconds, its middle, or all of "
                                             "it as several records.")]
ReportsOpt = Annotated[Path | None, typer.Option("--reports", metavar="CSV", show_default=False,
                                                 help="ptb-xl: other texts, columns ecg_id,report_en; "
                                                      "wfdb, files: the texts, columns record,report or file,report.")]
KeepOpt = Annotated[bool, typer.Option("--keep-original", help="ptb-xl: a record that --reports has no text for keeps "
                                                               "its original.")]
NoReportsOpt = Annotated[bool, typer.Option("--no-reports", help="Keep recordings that have no report, to have reports "
                                                                 "written: never in train, not scored. wfdb, files: "
                                                                 "goes without --reports.")]
TranslateOpt = Annotated[str | None, typer.Option(
    "--translate", metavar="MODEL", show_default=False,
    help="ptb-xl, wfdb, files: send reports that are not English to this model at --base-url; keep its translation.")]
BaseUrlOpt = Annotated[str | None, typer.Option("--base-url", metavar="URL", show_default=False,
                                                help="The OpenAI-compatible endpoint of --translate.")]
CodesOpt = Annotated[Path | None, typer.Option("--codes", metavar="CSV", show_default=False,
                                               help="SNOMED sets: more statements, columns code,statement.")]
RecordsOpt = Annotated[int | None, typer.Option("--records", metavar="N", show_default=False,
                                                help="synthetic, synthetic-emg: how many records; 5000 and 2000 if "
                                                     "not given.")]
FindingsOpt = Annotated[str | None, typer.Option("--findings", metavar="core|full", show_default=False,
                                                 autocompletion=words("core", "full"),
                                                 help="synthetic: 17 (core) or 22 findings; core if not given.")]
LanguageOpt = Annotated[str | None, typer.Option("--language", metavar="both|zh|en", show_default=False,
                                                 autocompletion=words("both", "zh", "en"),
                                                 help="synthetic-emg: of the reports; both if not given.")]
MappingOpt = Annotated[Path | None, typer.Option("--mapping", metavar="JSON", show_default=False,
                                                 help="etm: what the columns of your tables are called.")]
PercentilesOpt = Annotated[str, typer.Option("--percentiles", metavar="P,…",
                                             help="Tables: the lower reference percentiles; mirrored for the upper.")]
CovariatesOpt = Annotated[str, typer.Option("--covariates", metavar="none|age|age+height+sex",
                                            autocompletion=words("none", "age", "age+height+sex"),
                                            help="Tables: what is taken out of values before references are fitted.")]
HealthyOpt = Annotated[str, typer.Option("--healthy", metavar="|".join(HEALTHY), autocompletion=words(*HEALTHY),
                                         help=f"Tables: references are {HEALTHY_HELP}")]
DeriveOpt = Annotated[bool, typer.Option("--derive-leads", help="Compute limb leads that a file lacks from two that it "
                                                                "has; said of each record.")]
SplitOpt = Annotated[str | None, typer.Option("--split", metavar="70/10/20", show_default=False,
                                              help="Shares of train, val and test, by patient; "
                                                   "else the official folds, or 70/10/20.")]
CleanOpt = Annotated[str | None, typer.Option(
    "--clean", metavar="RULES|none", show_default=False,
    help=f"Text rules to apply, in this order; if not given {CLEANING['signals']}, of tables {CLEANING['tables']}.")]
MinWordsOpt = Annotated[int, typer.Option("--min-words", min=0, help="Set aside shorter reports (the paper: 5).")]
MeasureOpt = Annotated[bool, typer.Option("--measure", help="Measure rate, intervals, axes and ST levels as well.")]
SeedOpt = Annotated[int, typer.Option("--seed", min=0, max=LARGEST_SEED,
                                      help="Seed of the split, and of a simulated cohort.")]
VerifyOpt = Annotated[bool, typer.Option("--verify", help="Read every file of the store when it is finished, and "
                                                          "compare it with its hash; exit 1 if any was changed.")]
EngineOpt = Annotated[str, typer.Option("--engine", metavar="NAME", autocompletion=complete("engine"),
                                        help=f"Where to work: {' or '.join(names.choices('engine'))} (processes here, "
                                             "or a Ray cluster).")]
WorkersOpt = Annotated[int | None, typer.Option("--workers", metavar="N", min=1, show_default=False,
                                                help="Processes; as many as there are processors if not given.")]


def prepare(dataset: DatasetArg, root: RootOpt = None, download: DownloadOpt = False, mirror: MirrorOpt = None,
            fs: FsOpt = PrepareConfig.fs, seconds: SecondsOpt = PrepareConfig.seconds,
            window: WindowOpt = PrepareConfig.window,
            reports: ReportsOpt = None, keep_original: KeepOpt = False, no_reports: NoReportsOpt = False,
            translate: TranslateOpt = None, base_url: BaseUrlOpt = None, requests_at_once: RequestsOpt = None,
            price_in: PriceInOpt = None, price_out: PriceOutOpt = None,
            codes: CodesOpt = None, records: RecordsOpt = None,
            findings: FindingsOpt = None, language: LanguageOpt = None, mapping: MappingOpt = None,
            percentiles: PercentilesOpt = PrepareConfig.percentiles,
            covariates: CovariatesOpt = PrepareConfig.covariates, healthy: HealthyOpt = PrepareConfig.healthy,
            split: SplitOpt = None,
            clean: CleanOpt = PrepareConfig.clean,
            min_words: MinWordsOpt = PrepareConfig.min_words, measure: MeasureOpt = False,
            derive_leads: DeriveOpt = PrepareConfig.derive_leads,
            file_fs: FileFsOpt = None, file_units: FileUnitsOpt = None, file_leads: FileLeadsOpt = None,
            seed: SeedOpt = PrepareConfig.seed, engine: EngineOpt = "local", workers: WorkersOpt = None,
            verify: VerifyOpt = False, out: OutOpt = None, as_json: JsonOpt = False) -> None:
    """Read a dataset into a store: leads by name, microvolts, splits by patient, clean reports, and a data card that
    says what is wrong with it. Exits with 1 where more than half of the recordings had to be set aside."""
    from emgecg_cli.core.datasets import open_dataset
    from emgecg_cli.core.store import Engine, prepare_store
    from emgecg_cli.core.translation import translated

    _check_dataset(dataset)
    names.check("engine", engine)
    out = out or Path(STORES) / dataset
    config = PrepareConfig(fs=fs, seconds=seconds, window=window, clean=clean, min_words=min_words, split=split,
                           seed=seed, measure=measure, percentiles=percentiles, covariates=covariates,
                           healthy=healthy, derive_leads=derive_leads, no_reports=no_reports)
    root = _find_root(dataset, root, download, mirror, fs)
    source = open_dataset(dataset, seed=seed, fs=fs, root=root, reports=reports, codes=codes, records=records,
                          findings=findings, language=language, mapping=mapping, keep_original=keep_original or None,
                          no_reports=no_reports or None, file_fs=file_fs, file_units=file_units,
                          file_leads=file_leads)
    client = None
    if translate or base_url:
        client = _translator(translate, base_url, out, requests_at_once, prices_of(price_in, price_out))
    else:
        refuse_without_endpoint("--translate", "add --translate MODEL --base-url URL", price_in=price_in,
                                price_out=price_out, requests_at_once=requests_at_once)
    with console.progress(f"prepare {dataset}") as progress:
        if client:
            source = translated(source, client, progress=lambda done: progress(0, 1, translated=done))
        result = prepare_store(source, out, config, Engine(engine, workers), progress)
    if client:
        say_spent(client)
    if result.already_finished:
        console.note(f"{result.path.as_posix()} is finished already")
    found = verified([result.path]) if verify else []
    details = result.manifest.details
    if as_json:
        told: dict[str, Any] = {"references": details["references"]} if "references" in details else {}
        told |= {"verified": found[0]} if found else {}
        console.print_json({"path": result.path, "counts": result.manifest.counts} | told)
        _say_faults(result.path.as_posix(), result.manifest.counts, details)
    else:
        _render(result.path, result.manifest.counts, details)
        if found:
            show(found)
    most_lost = _say_what_was_set_aside(result.path, result.manifest.counts, no_reports)
    lost = {*result.manifest.counts["quarantined"]}
    if dataset == "ptb-xl" and reports and not keep_original and lost & {*WITHOUT_REPORT, "refused translation"}:
        console.note(f"--keep-original keeps the texts of PTB-XL for records that {reports.as_posix()} lacks")
    if not as_json:
        console.next_step("build-instructions", result.path)
    if most_lost or any(one.damaged for one in found):
        raise typer.Exit(1)


def _check_dataset(dataset: str) -> None:
    """Refuse an unknown data set; for a folder in its place, say how a folder is read."""
    if dataset not in names.choices("dataset") and Path(dataset).is_dir():
        root = shlex.quote(dataset)
        raise MedReportError(f"{dataset}: a folder, where the name of a data set is needed",
                             f"`medreport prepare files --root {root} --reports CSV` reads a folder of recordings, "
                             f"`medreport prepare etm --root {root}` one of EMG tables; see `medreport prepare --help`")
    names.check("dataset", dataset)


def _find_root(dataset: str, root: Path | None, download: bool, mirror: str | None, fs: int) -> Path | None:
    """Where the dataset lies, downloaded first if asked for; None for one that has no folder."""
    from emgecg_cli.core.datasets import takes
    from emgecg_cli.core.downloads.sets import SETS

    if mirror and not download:
        raise MedReportError("--mirror says where to download from", "add --download, or leave --mirror out")
    if not takes(dataset, "root"):
        if download:
            raise MedReportError(f"prepare {dataset} reads no files, so there is nothing to download",
                                 "leave --download out")
        return root
    place = root or Path(DATA) / dataset
    if download:
        from emgecg_cli.core.downloads.run import download as fetch

        with console.progress(f"download {dataset}", "files") as progress:
            fetched = fetch(dataset, place, fs=fs, base_url=mirror, progress=progress)
        console.note(f"{place.as_posix()}: {fetched.files} files, {fetched.fetched} of them fetched now")
    elif root is None:
        if not place.is_dir():
            open_set = ", or add --download where the set is open" if dataset in SETS else ""
            raise MedReportError(f"prepare {dataset} needs --root, and there is no {place.as_posix()}",
                                 f"give --root DIR{open_set}")
        console.note(f"reading {place.as_posix()}")
    return place


def _translator(model: str | None, base_url: str | None, out: Path, requests_at_once: int | None,
                prices: Prices | None) -> LLMClient:
    """Who translates; the answers are kept beside the store, for stores at other rates."""
    from emgecg_cli.core.llm import LLMClient

    if not model or not base_url:
        raise MedReportError("a translation needs both --translate MODEL and --base-url URL",
                             "reports are sent to no endpoint that was not named")
    return LLMClient(model, base_url, out.parent / f".{out.name}.translations.jsonl",
                     at_once=requests_at_once or REQUESTS_AT_ONCE, prices=prices)


def _dialect(told: dict[str, str]) -> str:
    """How a CSV was read that is no comma-separated UTF-8."""
    parts = [f"cells parted by {told['separator']}"] if "separator" in told else []
    parts += [told["encoding"]] if "encoding" in told and "note" not in told else []
    parts += [f"decimal commas in {told['decimal_comma']}"] if "decimal_comma" in told else []
    return "; ".join([*parts, *([told["note"]] if "note" in told else [])])


def _say_faults(place: str, counts: dict[str, Any], details: Mapping[str, Any]) -> None:
    """How CSVs were read, what is wrong with tables that were kept, and which columns and signals were not used."""
    from emgecg_cli.core.datasets.report_rows import UNREAD

    for file, told in details.get("tables", {}).items():
        (console.warn if "note" in told else console.note)(f"{file}: {_dialect(told)}")
    for file, said in details.get(UNREAD, {}).items():
        console.warn(f"{file}: columns not used: {', '.join(said['columns'])} (known are {', '.join(said['known'])})")
    for reason, number in counts.get("flagged", {}).items():
        console.warn(f"{number} flagged: {reason}; see {place}/card.md")
    for what in ("columns", "signals"):
        if unused := list(counts.get(f"unused_{what}", {})):
            more = f" and {len(unused) - UNUSED_SHOWN} more" if len(unused) > UNUSED_SHOWN else ""
            console.warn(f"{what} not used: {', '.join(unused[:UNUSED_SHOWN])}{more}; see {place}/card.md")


def _render(path: Path, counts: dict[str, Any], details: Mapping[str, Any]) -> None:
    place, references = path.as_posix(), details.get("references")
    console.table(["store", "records", "patients", "train", "val", "test", "set aside"],
                  [[place, *(counts[key] for key in ("records", "subjects", "train", "val", "test")),
                    sum(counts["quarantined"].values())]])
    _say_faults(place, counts, details)
    if references:
        nerves = references.get("nerves")
        more = f", and {nerves['values']} values of single nerves of {nerves['examinations']} others" if nerves else ""
        console.note(f"references for {references['items']} items, of {references['pool']['healthy']} healthy "
                     f"examinations{more}")
    if unreported := counts.get("without_report"):
        console.note(f"{unreported} {'have' if unreported > 1 else 'has'} no report: never in train, and not scored")
    console.note(f"what was found: {place}/card.md, {place}/card.html")


def _say_what_was_set_aside(path: Path, counts: dict[str, Any], no_reports: bool) -> bool:
    """The reasons, counted; whether more than half of the recordings were set aside."""
    reasons = sorted(counts["quarantined"].items(), key=lambda item: (-item[1], item[0]))
    n = sum(number for _, number in reasons)
    total = counts["recordings"] + n
    if n:
        why = ", ".join(f"{number} {reason}" for reason, number in reasons)
        console.warn(f"{n} of {total} set aside: {why}; {path.as_posix()}/quarantine.jsonl says why for each")
    if WITHOUT_REPORT & {reason for reason, _ in reasons} and not no_reports:
        console.note("--no-reports keeps recordings that have none, to have reports written for them")
    return 2 * n > total
