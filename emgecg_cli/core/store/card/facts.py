"""What a data card says, counted from a store's table: streamed, so that a set of any size can be described."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars

from emgecg_cli.core.artifacts import SPLITS
from emgecg_cli.core.signals.derived_leads import LIMB_LEADS
from emgecg_cli.core.signals.leads import LEADS
from emgecg_cli.core.store.card.findings import Alike, Finding, Findings, find_all, missing_share
from emgecg_cli.core.store.card.tallies import Quantiles, Tally, bins, collect, quantiles, tally

RESIDUALS = {"einthoven_p50_uv": "Einthoven, median", "einthoven_p99_uv": "Einthoven, 99th percentile",
             "goldberger_p50_uv": "Goldberger, median", "goldberger_p99_uv": "Goldberger, 99th percentile"}
MEASURED = {"heart_rate_bpm": "heart rate, bpm", "p_ms": "P, ms", "pr_ms": "PR, ms", "qrs_ms": "QRS, ms",
            "qt_ms": "QT, ms", "qtc_bazett_ms": "QTc (Bazett), ms", "qtc_fridericia_ms": "QTc (Fridericia), ms",
            "qrs_axis_deg": "QRS axis, degrees"}
_SECONDS = (5, 8, 9.95, 10.05, 12, 15, 20, 30, 60, 120)
_MISSING = (1e-12, 0.001, 0.01, 0.05, 0.2, 0.5)
_RESIDUAL_UV = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_AGES = (10, 20, 30, 40, 50, 60, 70, 80, 90)
FLAGS_SHOWN = 5  # lines named per reason
_col = polars.col


@dataclass(frozen=True)
class SplitFacts:
    """Size of one split."""

    split: str
    n_records: int
    n_subjects: int


@dataclass(frozen=True)
class ReportFacts:
    """A report that several records share, word for word."""

    report: str
    n_records: int
    n_subjects: int


@dataclass(frozen=True)
class FlagFacts:
    """A fault of tables that did not set a record aside: how often it was met, in how many records, and the first."""

    reason: str
    n_flags: int
    n_records: int
    first: tuple[Finding, ...]


@dataclass(frozen=True)
class CardFacts:
    """All that the card of a store says. Quantiles and tallies are over its rows, `lengths` over recordings."""

    details: Mapping[str, Any]
    n_records: int
    n_recordings: int
    n_subjects: int
    seconds: float
    splits: tuple[SplitFacts, ...]
    tallies: Mapping[str, Tally]
    quantiles: Mapping[str, Quantiles]
    n_codes: int
    reports: tuple[ReportFacts, ...]
    n_distinct_reports: int
    n_sharing_report: int
    test_reports_in_train: int
    findings: tuple[Findings, ...]
    quarantine: Mapping[str, int]
    cleaning: Mapping[str, int]
    flags: tuple[FlagFacts, ...] = ()
    unused: Mapping[str, int] = field(default_factory=dict)
    n_derivable: int = 0


def gather_facts(records: polars.LazyFrame, quarantine: Path | Mapping[str, int], details: Mapping[str, Any],
                 cleaning: Mapping[str, int] | None = None, alike: Alike | None = None,
                 unused: Mapping[str, int] | None = None) -> CardFacts:
    """Count what the card says from the columns of `RecordRow`.

    `quarantine` is `quarantine.jsonl`, or how many records each reason set aside; `details` is what the manifest says
    of the source, with at least `dataset`; `cleaning` how many reports each rule changed, and `unused` how many records
    have a column that nothing was read from. Nothing of it is a path or a time, so the same store gives the same
    facts. `alike((shard, row), (shard, row))` compares two signals with near fingerprints and says whether they are of
    one recording; without it no such pair is reported.
    """
    n_records, n_subjects, n_recordings, samples = collect(records.select(
        polars.len().alias("n"), _col("subject_id").n_unique().alias("subjects"),
        _recording().n_unique().alias("recordings"),
        ((_col("sig_len") - _col("n_padded")) / _col("fs")).sum().round(3).alias("seconds"))).row(0)
    columns = records.collect_schema().names()
    reports, n_distinct, n_sharing, leaked = _reports(records)
    return CardFacts(
        dict(details), n_records, n_recordings, n_subjects, float(samples), _splits(records),
        _tallies(records, columns), _quantiles(records, columns),
        int(collect(records.select(_col("codes").explode().drop_nulls().n_unique())).item()), reports, n_distinct,
        n_sharing, leaked, find_all(records, alike), _reasons(quarantine), dict(cleaning or {}),
        _flags(records, columns), dict(unused or {}), int(collect(records.select(_derivable().sum())).item()))


def _recording() -> polars.Expr:
    return polars.when(_col("recording_id") == "").then(_col("record_id")).otherwise(_col("recording_id"))


def _splits(records: polars.LazyFrame) -> tuple[SplitFacts, ...]:
    counted = collect(records.group_by("split").agg(polars.len().alias("n"), _col("subject_id").n_unique().alias("m")))
    found = {split: SplitFacts(split, n, m) for split, n, m in counted.iter_rows()}
    order = [*SPLITS, *sorted(set(found) - set(SPLITS))]
    return tuple(found[split] for split in order if split in found)


def _tallies(records: polars.LazyFrame, columns: list[str]) -> dict[str, Tally]:
    length = records.group_by(_recording().alias("recording")).agg(
        ((_col("sig_len") - _col("n_padded") + _col("n_cropped")).sum() / _col("fs").first()).alias("s"))
    rate = _col("resampled_from").fill_null(_col("fs")).cast(polars.String).str.replace(r"\.0$", "")
    found = {
        "lengths": bins(length, _col("s"), _SECONDS, _labels(_SECONDS, "s")),
        "rates": tally(records.select(polars.format("{} Hz", rate).alias("rate")), _col("rate")),
        "missing": bins(records, missing_share(), _MISSING,
                        ["none", "up to 0.1 %", "0.1–1 %", "1–5 %", "5–20 %", "20–50 %", "50 % or more"]),
        "languages": tally(records, _col("language")),
        "report_kinds": tally(records, _col("report_kind")),
        "sexes": tally(records, _col("sex")),
        "ages": bins(records, _col("age"), _AGES, _labels(_AGES, "years"), null="not known"),
        "codes": tally(records.select(_col("codes").explode().alias("code")).drop_nulls(), _col("code")),
        "lead_checks": tally(records.select(_verdict().alias("verdict")), _col("verdict")),
    }
    for name in ("einthoven_p50_uv", "goldberger_p50_uv"):
        found[name] = bins(records, _col(name), _RESIDUAL_UV, _labels(_RESIDUAL_UV, "µV"), null="not checked")
    for name in ("absent_leads", "flat_leads"):
        found[name] = _of_leads(records, name)
    if "unused_signals" in columns:
        found["unused_signals"] = tally(records.select(_col("unused_signals").explode()).drop_nulls(),
                                        _col("unused_signals"))
        found["derived_leads"] = _of_leads(records, "derived_leads")
        by = records.filter(_col("resampled_by").is_not_null())
        found["fractions"] = tally(by.select(polars.format("{} Hz by {}", rate, "resampled_by").alias("by")),
                                   _col("by"))
    for name in ("regular", "p_present"):
        if name in columns:
            found[name] = tally(records, _col(name), null="undetected")
    return found


def _of_leads(records: polars.LazyFrame, name: str) -> Tally:
    """How often each lead is in a column of lists, in the order of the leads."""
    counts = dict(tally(records.select(_col(name).explode().alias("lead")).drop_nulls(), _col("lead")).rows)
    return Tally(tuple((lead, counts[lead]) for lead in LEADS if lead in counts))


def _derivable() -> polars.Expr:
    """Whether a record lacks limb leads that follow from those it has."""
    n_absent = _col("absent_leads").list.set_intersection(list(LIMB_LEADS)).list.len()
    return (n_absent > 0) & (n_absent <= len(LIMB_LEADS) - 2)


def _verdict() -> polars.Expr:
    """The verdict on the limb leads, without its number."""
    text = _col("lead_check")
    remedy = text.str.extract(r"; (.*)$")
    return polars.when(text.str.starts_with("suspect")).then(remedy.fill_null("I, II and III disagree")) \
        .otherwise(text.str.extract(r"^([^:]*)"))


def _quantiles(records: polars.LazyFrame, columns: list[str]) -> dict[str, Quantiles]:
    found = {name: quantiles(records, _col(name)) for name in (*RESIDUALS, "age")}
    found["words"] = quantiles(records, _col("report").str.count_matches(r"\S+"))
    return found | {name: quantiles(records, _col(name)) for name in MEASURED if name in columns}


def _labels(edges: tuple[float, ...], unit: str) -> list[str]:
    inner = [f"{low:g}–{high:g} {unit}" for low, high in pairwise(edges)]
    return [f"below {edges[0]:g} {unit}", *inner, f"{edges[-1]:g} {unit} or more"]


def _reports(records: polars.LazyFrame) -> tuple[tuple[ReportFacts, ...], int, int, int]:
    """The most shared reports, how many there are, how many records share one, and how many test records have one
    that a train record has too. Only hashes of the texts are held; no text is shared by those that have none."""
    records = records.filter(_col("report").is_not_null())
    by_text = collect(records.select(_col("report").hash().alias("text"), "split").group_by("text")
                      .agg(polars.len().alias("n"), (_col("split") == "train").sum().alias("train"),
                           (_col("split") == "test").sum().alias("test")))
    n_sharing = int(by_text.filter(_col("n") > 1)["n"].sum())
    leaked = int(by_text.filter(_col("train") > 0)["test"].sum())
    often = by_text.filter(_col("n") > 1).sort("n", descending=True)
    least = often["n"][min(9, often.height - 1)] if often.height else 0
    texts = often.filter(_col("n") >= least)["text"]
    shown = collect(records.filter(_col("report").hash().is_in(texts.implode())).group_by("report")
                    .agg(polars.len().alias("n"), _col("subject_id").n_unique().alias("m"))
                    .sort(["n", "report"], descending=[True, False]).head(10))
    return tuple(ReportFacts(*row) for row in shown.iter_rows()), by_text.height, n_sharing, leaked


def _flags(records: polars.LazyFrame, columns: list[str]) -> tuple[FlagFacts, ...]:
    """The faults of tables by reason, the most frequent first."""
    if "flags" not in columns:
        return ()
    flags = records.select("record_id", _col("flags").alias("flag")).explode("flag").drop_nulls("flag") \
        .with_columns(_col("flag").str.extract(r"^([^:]*)").alias("reason"))
    found = collect(flags.group_by("reason").agg(polars.len().alias("n"), _col("record_id").n_unique().alias("m"))
                    .sort(["n", "reason"], descending=[True, False]))
    return tuple(FlagFacts(reason, n, m, tuple(
        Finding(record_id, flag.removeprefix(f"{reason}: ")) for record_id, flag in collect(
            flags.filter(_col("reason") == reason).select("record_id", "flag").head(FLAGS_SHOWN)).iter_rows()))
        for reason, n, m in found.iter_rows())


def _reasons(quarantine: Path | Mapping[str, int]) -> dict[str, int]:
    if isinstance(quarantine, Path):
        counts: Counter[str] = Counter()
        with quarantine.open(encoding="utf-8", errors="surrogatepass") as lines:
            counts.update(str(json.loads(line)["reason"]) for line in lines if line.strip())
        quarantine = counts
    return dict(sorted(quarantine.items(), key=lambda item: (-item[1], item[0])))


def facts_for_manifest(facts: CardFacts) -> dict[str, Any]:
    """The quality checks as JSON values: how many, and the first records of each kind with their evidence."""
    checks = {one.kind: {"found": one.n, "first": [asdict(finding) for finding in one.first]}
              for one in facts.findings}
    fractions = facts.tallies.get("fractions")
    said = {"resampled_by_fraction": dict(fractions.rows)} if fractions and fractions.rows else {}
    return {"checks": checks, **said,
            "residuals": {name: asdict(facts.quantiles[name]) for name in RESIDUALS},
            "reports": {"distinct": facts.n_distinct_reports, "records_sharing_one": facts.n_sharing_report,
                        "test_records_with_a_train_report": facts.test_reports_in_train}}
