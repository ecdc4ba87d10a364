"""`prepare`: from an opened source to a finished store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars

from emgecg_cli.core.artifacts import SPLITS, QuarantineRow
from emgecg_cli.core.config import CLEANING, PrepareConfig
from emgecg_cli.core.datasets import Examination, Read, Recording, RecordRef, Source
from emgecg_cli.core.datasets.formats.wfdb_files import RecordError
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.files import write_atomically
from emgecg_cli.core.manifest import Manifest
from emgecg_cli.core.references import References, write_references
from emgecg_cli.core.references.covariates import check_covariates
from emgecg_cli.core.reports.text import clean_report, parse_rules
from emgecg_cli.core.signals.quality import SUSPECT
from emgecg_cli.core.signals.similarity import SAME_RECORDING, similarity
from emgecg_cli.core.store.card import card_markdown, card_page, facts_for_manifest, gather_facts
from emgecg_cli.core.store.index import build_index
from emgecg_cli.core.store.reader import Store
from emgecg_cli.core.store.rows import SetAside, clean_sections, clean_text, row_of_tables, rows_of
from emgecg_cli.core.store.shards import Shard, make_shard, shard_file
from emgecg_cli.core.store.splits import split_hash
from emgecg_cli.core.store.tables import (
    REFERENCES,
    TABLES,
    check_healthy,
    fit_references,
    iterate_cases,
    parse_percentiles,
)
from emgecg_cli.core.store.writer import IN_THIS_PROCESS, Engine, Progress, Written, write_store

CLEANED = "cleaned:"
FLAGGED = "flagged:"
UNUSED = "unused:"
# why a recording without a report is set aside although such are kept
IN_TRAIN = ("no report", "its patient is in train by the official split, where every recording has a report")
TEXTS = ("report", "findings", "impression")  # of the details of a reference
CARD = ("card.md", "card.html")
TABLE_MODALITY = "tables"
READ_OTHERWISE = ("unused_signals", "derived_leads")
# settings that mean something for signals only, or for tables only
OF_SIGNALS = ("fs", "seconds", "window", "measure", "derive_leads")
OF_TABLES = ("percentiles", "covariates", "healthy")


@dataclass(frozen=True)
class PrepareResult:
    """A prepared store: where it is, its manifest, and what of it had been there before this call."""

    path: Path
    manifest: Manifest
    already_finished: bool
    n_reused_shards: int


def prepare_store(source: Source, out: Path, config: PrepareConfig, engine: Engine = IN_THIS_PROCESS,
                  progress: Progress | None = None) -> PrepareResult:
    """Write a store from an opened source, or go on with a killed run; the result is the same bytes.

    The split is drawn over all listed records, so that it does not move with what is set aside later; so are the
    shards, each of which is a pure function of its references. `progress(done, total)` counts recordings. Raises
    MedReportError when an option is wrong, `out` holds something else, or no record can be read.
    """
    rules = parse_rules(CLEANING[source.modality] if config.clean is None else config.clean)
    settings = settings_for(source.modality, config)
    index = build_index(_marked(source.listing(), rules) if config.no_reports else source.listing())
    try:
        split = index.assign_splits(config.split, config.seed)
        arguments = source.arguments | settings | {"clean": ",".join(rules) or "none", "split": split}
        identity = {"command": f"prepare {source.dataset}", "arguments": arguments, "details": source.details,
                    "index": index.hash}
        starts = range(0, index.n_records, config.shard_size)
        written = write_store(
            out, identity=identity, sizes=[min(config.shard_size, index.n_records - start) for start in starts],
            job=lambda number: index.refs(starts[number], starts[number] + config.shard_size),
            build=partial(build_shard, source.read, config, rules),
            make_manifest=partial(_finish, out, source, arguments, config), files=_files(source.modality),
            set_aside=index.set_aside(), engine=engine, progress=progress)
    finally:
        index.close()
    return PrepareResult(out, written.manifest, written.already_finished, written.n_reused)


def settings_for(modality: str, config: PrepareConfig) -> dict[str, Any]:
    """The settings that decide a store of signals, or of tables; raises MedReportError for one that was changed and
    would change nothing."""
    settings, defaults = asdict(config), asdict(PrepareConfig())
    if not config.no_reports:  # as with `healthy`
        settings.pop("no_reports")
    idle = OF_SIGNALS if modality == TABLE_MODALITY else OF_TABLES
    for name in idle:
        if settings.pop(name) != defaults[name]:
            raise MedReportError(f"--{name.replace('_', '-')} has no effect on {modality}", "leave it out")
    if modality == TABLE_MODALITY:
        parse_percentiles(config.percentiles)
        check_covariates(config.covariates)
        check_healthy(config.healthy)
    for name in ("healthy", "derive_leads"):  # so that a store made before there was a choice is still the same
        if settings.get(name) == defaults[name]:
            settings.pop(name)
    return settings


def _marked(listing: Iterable[RecordRef | QuarantineRow],
            rules: tuple[str, ...]) -> Iterator[RecordRef | QuarantineRow]:
    """The listing with recordings marked whose text is none, or none once it is clean."""
    for item in listing:
        if isinstance(item, RecordRef):
            texts = [text for name in TEXTS if isinstance(text := item.details.get(name), str)]
            if texts and not any(clean_report(text, rules)[0] for text in texts):
                item = replace(item, unreported=True)
        yield item


def _files(modality: str) -> list[str]:
    return [*CARD, *([TABLES, REFERENCES] if modality == TABLE_MODALITY else [])]


def build_shard(read: Read, config: PrepareConfig, rules: tuple[str, ...], number: int,
                refs: Sequence[RecordRef]) -> Shard:
    """Make one shard: depends on nothing but the references, the files they name, `config` and the cleaning rules."""
    kept: list = []
    quarantine: list[QuarantineRow] = []
    counts: Counter[str] = Counter()
    quarantine += [QuarantineRow(ref.record_id, *IN_TRAIN, ref.source) for ref in refs if _must_not_train(ref)]
    for item in read([ref for ref in refs if not _must_not_train(ref)]):
        found: list = [item]
        if not isinstance(item, QuarantineRow):
            try:
                found, counted = _rows_of_tables(item, rules, config) if isinstance(item, Examination) \
                    else _rows_of_signal(item, rules, config)
                counts.update(counted)
            except SetAside as refused:
                found = [refused.row]
            except RecordError as error:
                found = [QuarantineRow(item.ref.record_id, error.reason, error.detail, item.ref.source)]
        quarantine += [one for one in found if isinstance(one, QuarantineRow)]
        kept += [one for one in found if not isinstance(one, QuarantineRow)]
    return make_shard(number, kept, quarantine, dict(counts))


def _must_not_train(ref: RecordRef) -> bool:
    return ref.unreported and ref.split == "train"


def _rows_of_signal(recording: Recording, rules: tuple[str, ...], config: PrepareConfig) -> tuple[list, list[str]]:
    """The rows and signals of a recording, and what is counted of it."""
    report, changed = (None, []) if recording.ref.unreported else clean_text(recording, rules, config.min_words)
    flags = [FLAGGED + flag.partition(":")[0] for flag in recording.file_flags]
    return list(rows_of(recording, report, config)), [CLEANED + rule for rule in changed] + flags


def _rows_of_tables(examination: Examination, rules: tuple[str, ...], config: PrepareConfig) -> tuple[list, list[str]]:
    """The row and tables of an examination, and what is counted of it."""
    report, case, changed = (None, replace(examination.tables, findings="", impression=""), []) \
        if examination.ref.unreported else clean_sections(examination, rules, config.min_words)
    flags = [FLAGGED + flag.partition(":")[0] for flag in examination.flags]
    unused = [UNUSED + column for column in examination.unused]
    return [(row_of_tables(examination, report, case), case)], [CLEANED + rule for rule in changed] + flags + unused


def _finish(out: Path, source: Source, arguments: dict[str, Any], config: PrepareConfig, written: Written) -> Manifest:
    """Write the data card, and say in the manifest what is there."""
    counts = _count(parse_rules(arguments["clean"]), written)
    details = source.details | {
        "dataset": source.dataset, "population": source.population, "modality": source.modality,
        "fs": 0 if source.modality == TABLE_MODALITY else config.fs,
        "sig_len": 0 if source.modality == TABLE_MODALITY else config.sig_len,
        "languages": _tally(written.records, "language"), "report_kinds": _tally(written.records, "report_kind"),
        "split_hash": split_hash(written.records),
    }
    if source.modality == TABLE_MODALITY:
        details["references"] = _write_references(out, written, config)
    facts = gather_facts(written.records, counts["quarantined"], details, counts["cleaning"],
                         alike=partial(_are_alike, out, config.fs), unused=counts.get("unused_columns"))
    for name, text in zip(CARD, (card_markdown(facts), card_page(facts)), strict=True):
        write_atomically(out / name, text.encode("utf-8", "backslashreplace"))
    details["honesty"] = facts_for_manifest(facts)
    return Manifest("store", f"prepare {source.dataset}", arguments, config.seed, counts, details=details)


def _write_references(out: Path, written: Written, config: PrepareConfig) -> dict[str, Any]:
    """Fit and write the references of the healthy of the train split; returns what the manifest says of them."""
    train = written.records.filter(polars.col("split") == "train")
    references, made_of = fit_references(iterate_cases(out, train), parse_percentiles(config.percentiles),
                                         config.covariates, config.healthy)
    write_references(out / REFERENCES, references)
    return {"items": len(references.entries), "rule": references.rule} | made_of


def references_of(store: Store, percentiles: str | None = None, covariates: str | None = None,
                  healthy: str | None = None) -> tuple[References, dict[str, Any]]:
    """The references of a store of tables and whom they were fitted on, as `fit_references` says it; fitted anew where
    percentiles, covariates or who is healthy are given. Raises MedReportError for a store of signals."""
    stored = store.references()
    if stored is None:
        raise MedReportError(f"{store.path}: a store of signals has no references", "give a store of EMG tables")
    if percentiles is None and covariates is None and healthy is None:
        known = store.manifest.details["references"]
        return stored, {name: known[name] for name in ("pool", "nerves") if name in known}
    chances = stored.percentiles if percentiles is None else parse_percentiles(percentiles)
    if healthy is None:
        healthy = store.manifest.arguments.get("healthy", PrepareConfig.healthy)
    train = store.scan().filter(polars.col("split") == "train")
    return fit_references(iterate_cases(store.path, train), chances,
                          stored.covariates if covariates is None else covariates, healthy)


def _are_alike(out: Path, fs: int, one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether two rows of shards, (shard, row) each, are of one recording by their signals."""
    first, second = (np.load(out / shard_file(shard), mmap_mode="r")[row] for shard, row in (one, other))
    found = similarity(first, fs, second, fs)
    return found is not None and found.correlation >= SAME_RECORDING


def _count(rules: tuple[str, ...], written: Written) -> dict[str, Any]:
    column = polars.col
    splits = _tally(written.records, "split")
    totals = written.records.select(
        polars.len().alias("records"), column("subject_id").n_unique().alias("subjects"),
        column("recording_id").n_unique().alias("recordings"),
        column("report").is_null().sum().alias("without_report")).collect(engine="streaming").row(0, named=True)
    unreported = totals.pop("without_report")
    flagged, unused = ({key.removeprefix(prefix): n for key, n in sorted(written.counts.items())
                        if key.startswith(prefix)} for prefix in (FLAGGED, UNUSED))
    return {
        **totals, **{name: splits.get(name, 0) for name in SPLITS},
        "quarantined": dict(sorted(written.quarantined.items())),
        **({"flagged": flagged} if flagged else {}), **({"unused_columns": unused} if unused else {}),
        **({"unused_signals": signals} if (signals := _unused_signals(written.records)) else {}),
        **({"without_report": unreported} if unreported else {}),
        "cleaning": {rule: written.counts.get(CLEANED + rule, 0) for rule in rules},
        **flag_counts(written.records),
    }


def _unused_signals(records: polars.LazyFrame) -> dict[str, int]:
    """The names of signals that are none of the twelve leads, and how many records have one."""
    name = "unused_signals"
    return _tally(records.select(polars.col(name).explode()).drop_nulls(), name) \
        if name in records.collect_schema().names() else {}


def flag_counts(records: polars.LazyFrame) -> dict[str, int]:
    """How many records have each of the flags that their signals give."""
    column = polars.col
    flags = {
        "lead_suspect": column("lead_check").str.starts_with(SUSPECT),
        "with_lead_glitch": column("lead_glitch").is_not_null(),
        "with_flat_leads": column("flat_leads").list.len() > 0,
        "with_saturated_leads": column("saturated_leads").list.len() > 0,
        "scale_suspect": column("scale_check").str.starts_with(SUSPECT),
        "with_missing_samples": column("n_missing") > 0,
        "with_absent_leads": column("absent_leads").list.len() > 0,
        "with_clipped_samples": column("n_clipped") > 0,
        "resampled": column("resampled_from").is_not_null(), "padded": column("n_padded") > 0,
        "cropped": column("n_cropped") > 0, "trimmed": column("n_trimmed") > 0,
    }
    there = set(records.collect_schema().names())
    flags |= {f"with_{name}": column(name).list.len() > 0 for name in READ_OTHERWISE if name in there}
    totals = records.select(flag.sum().alias(name) for name, flag in flags.items()).collect(engine="streaming")
    return {name: int(n) for name, n in totals.row(0, named=True).items()}


def _tally(records: polars.LazyFrame, name: str) -> dict[str, int]:
    return dict(records.group_by(name).len().sort(name).collect(engine="streaming").rows())
