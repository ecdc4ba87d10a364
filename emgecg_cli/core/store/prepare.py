"""`prepare`: from an opened source to a finished store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import polars

from emgecg_cli.core.artifacts import SPLITS, QuarantineRow
from emgecg_cli.core.config import CLEANING, PrepareConfig
from emgecg_cli.core.datasets import Read, RecordRef, Source
from emgecg_cli.core.datasets.formats.wfdb_files import RecordError
from emgecg_cli.core.datasets.report_rows import UNREAD
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.files import write_atomically
from emgecg_cli.core.manifest import ENDPOINT, Manifest
from emgecg_cli.core.reports.text import clean_report, parse_rules
from emgecg_cli.core.signals.quality import SUSPECT
from emgecg_cli.core.store.card import card_markdown, card_page, facts_for_manifest, gather_facts
from emgecg_cli.core.store.index import build_index
from emgecg_cli.core.store.listed import Listed, for_manifest, listed_before, made_of
from emgecg_cli.core.store.payloads import KINDS, Kind
from emgecg_cli.core.store.payloads.tables import UNUSED
from emgecg_cli.core.store.payloads.texts import CLEANED, FLAGGED, SetAside
from emgecg_cli.core.store.shards import Shard, make_shard
from emgecg_cli.core.store.splits import split_hash
from emgecg_cli.core.store.writer import IN_THIS_PROCESS, Engine, Progress, Written, finished_before, write_store

# why a recording without a report is set aside although such are kept
IN_TRAIN = ("no report", "its patient is in train by the official split, where every recording has a report")
TEXTS = ("report", "findings", "impression")  # of the details of a reference
CARD = ("card.md", "card.html")
READ_OTHERWISE = ("unused_signals", "derived_leads")


@dataclass(frozen=True)
class PrepareResult:
    """A prepared store: where it is, its manifest, and how much of it had been there before this call."""

    path: Path
    manifest: Manifest
    already_finished: bool
    n_reused_shards: int


def prepare_store(source: Source, out: Path, config: PrepareConfig, engine: Engine = IN_THIS_PROCESS,
                  progress: Progress | None = None) -> PrepareResult:
    """Write a store from an opened source, or resume a killed run; the result is the same bytes.

    The split is drawn over all listed records, so that it does not move with what is set aside later; so are the
    shards, each of which is a pure function of its references. A store that is finished is compared with what this
    call would make, its arguments, inputs and listing; the source is listed for that only where it does not say what
    its listing is made of (`datasets.Listing`), or says something else than the store's manifest. `progress(done,
    total)` counts recordings. Raises MedReportError when an option is wrong, `out` holds something else, or no record
    can be read.
    """
    kind = KINDS[source.modality]
    rules = parse_rules(CLEANING[kind.name] if config.clean is None else config.clean)
    plan = _Plan(source, config, source.arguments | settings_for(kind, config) | {"clean": ",".join(rules) or "none"})
    made = made_of(source, config, rules)
    if listed := listed_before(out, made):
        return PrepareResult(out, finished_before(out, plan.identity(listed)), True, len(plan.starts(listed)))
    index = build_index(_marked(source.listing(), rules) if config.no_reports else source.listing())
    try:
        listed = Listed(index.assign_splits(config.split, config.seed), index.hash, index.n_records)
        starts = plan.starts(listed)
        written = write_store(
            out, identity=plan.identity(listed), sizes=[min(config.shard_size, listed.records - at) for at in starts],
            job=lambda number: index.refs(starts[number], starts[number] + config.shard_size),
            build=partial(build_shard, source.read, kind, config, rules),
            make_manifest=partial(_finish, out, plan, kind, listed, for_manifest(listed, made)), kind=kind, files=CARD,
            set_aside=index.set_aside(), engine=engine, progress=progress)
    finally:
        index.close()
    return PrepareResult(out, written.manifest, written.already_finished, written.n_reused)


@dataclass(frozen=True)
class _Plan:
    """What was asked for: the source, how it is prepared, and the arguments of the manifest but the split."""

    source: Source
    config: PrepareConfig
    asked: dict[str, Any]

    def arguments(self, listed: Listed) -> dict[str, Any]:
        return self.asked | {"split": listed.split}

    def identity(self, listed: Listed) -> dict[str, Any]:
        return {"command": f"prepare {self.source.dataset}", "arguments": self.arguments(listed),
                "details": {key: value for key, value in self.source.details.items() if key not in (ENDPOINT, UNREAD)},
                "index": listed.hash}

    def starts(self, listed: Listed) -> range:
        return range(0, listed.records, self.config.shard_size)


def settings_for(kind: Kind, config: PrepareConfig) -> dict[str, Any]:
    """The settings that decide a store of this kind; raises MedReportError for one that was changed and would change
    nothing."""
    settings, defaults = asdict(config), asdict(PrepareConfig())
    if not config.no_reports:  # as with `healthy`
        settings.pop("no_reports")
    for name in kind.idle:
        if settings.pop(name) != defaults[name]:
            raise MedReportError(f"--{name.replace('_', '-')} has no effect on {kind.name}", "leave it out")
    kind.check(config)
    for name in ("healthy", "derive_leads"):  # so that a store made before there was a choice is still the same
        if settings.get(name) == defaults[name]:
            settings.pop(name)
    return settings


def _marked(listing: Iterable[RecordRef | QuarantineRow],
            rules: tuple[str, ...]) -> Iterator[RecordRef | QuarantineRow]:
    """The listing, with those recordings marked whose text is empty, or empty after cleaning."""
    for item in listing:
        if isinstance(item, RecordRef):
            texts = [text for name in TEXTS if isinstance(text := item.details.get(name), str)]
            if texts and not any(clean_report(text, rules)[0] for text in texts):
                item = replace(item, unreported=True)
        yield item


def build_shard(read: Read, kind: Kind, config: PrepareConfig, rules: tuple[str, ...], number: int,
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
                found, counted = kind.rows(item, rules, config)
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


def _finish(out: Path, plan: _Plan, kind: Kind, listed: Listed, about_listing: dict[str, Any],
            written: Written) -> Manifest:
    """Write the data card, and say in the manifest what is there."""
    source, config, arguments = plan.source, plan.config, plan.arguments(listed)
    counts = _count(parse_rules(arguments["clean"]), written)
    fs, sig_len = kind.shape(config)
    details = source.details | {
        "dataset": source.dataset, "population": source.population, "modality": kind.name, "fs": fs,
        "sig_len": sig_len, "languages": _tally(written.records, "language"),
        "report_kinds": _tally(written.records, "report_kind"), "split_hash": split_hash(written.records),
        **kind.finish(out, written.records, config)}
    facts = gather_facts(written.records, counts["quarantined"], details, counts["cleaning"],
                         alike=kind.alike(out, config), unused=counts.get("unused_columns"))
    for name, text in zip(CARD, (card_markdown(facts, kind.card), card_page(facts, kind.card)), strict=True):
        write_atomically(out / name, text.encode("utf-8", "backslashreplace"))
    details["honesty"] = facts_for_manifest(facts)
    details |= about_listing
    if "files" in details:  # the hashes of what was read, beside those of what is written
        details["source_files"] = details.pop("files")
    return Manifest("store", f"prepare {source.dataset}", arguments, config.seed, counts, details=details)


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
