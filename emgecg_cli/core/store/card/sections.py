"""What a data card says and in which order, as plain sections; Markdown and HTML are written from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any

from emgecg_cli.core.pages.charts import share
from emgecg_cli.core.store.card.blocks import Bars, Code, Section, Table, bars, clean, number, short
from emgecg_cli.core.store.card.facts import MEASURED, CardFacts
from emgecg_cli.core.store.card.origin import ORIGINS

About = Callable[[CardFacts], list[Section]]  # what a card says of this kind of record alone


def title_of(facts: CardFacts) -> str:
    """The heading of the card."""
    return f"Data card: {clean(str(facts.details.get('dataset', 'unnamed')))}"


def sections(facts: CardFacts, about: About) -> list[Section]:
    """The whole card; `about` gives its middle."""
    return [section for section in (_set(facts), _who(facts), *about(facts), _labels(facts), _reports(facts),
                                    _measured(facts), _left_out(facts), _origin(facts)) if section.blocks]


def _set(facts: CardFacts) -> Section:
    rows = [("records", f"{facts.n_records:,}"), ("recordings", f"{facts.n_recordings:,}"),
            ("patients", f"{facts.n_subjects:,}")]
    if isfinite(facts.seconds):  # records without samples last no time
        rows.append(("signal", _duration(facts.seconds)))
    if facts.details.get("fs"):
        rows.append(("stored at", f"{facts.details['fs']} Hz, {facts.details.get('sig_len', '?')} samples a record"))
    splits = tuple((split.split, f"{split.n_records:,}", share(split.n_records, facts.n_records),
                    f"{split.n_subjects:,}") for split in facts.splits)
    return Section("The set", (Table(("", ""), tuple(rows)),
                               Table(("split", "records", "share", "patients"), splits,
                                     ("records", "share", "patients"))))


def _who(facts: CardFacts) -> Section:
    tallies, age = facts.tallies, facts.quantiles["age"]
    blocks: list[str | Table | Bars | Code] = []
    if age.n:
        blocks.append(f"Age: median {number(age.p50)} years, 5–95 % {number(age.p5)}–{number(age.p95)}, "
                      f"not known for {age.n_null:,} records.")
        blocks.append(bars("Age", tallies["ages"], facts.n_records))
    if any(sex != "not known" for sex, _ in tallies["sexes"].rows):
        names = {"F": "women", "M": "men"}
        rows = tuple((names.get(sex, sex), n) for sex, n in tallies["sexes"].rows)
        blocks.append(Bars("Sex", rows, facts.n_records))
    return Section("Patients", tuple(blocks))


def _labels(facts: CardFacts) -> Section:
    codes = facts.tallies["codes"]
    if not codes.rows:
        return Section("Labels", ())
    more = f" The {len(codes.rows)} most frequent are shown." if codes.n_more else ""
    return Section("Labels", (f"{facts.n_codes:,} different labels; a record may have several.{more}",
                              bars("Records with a label", codes, facts.n_records)))


def _reports(facts: CardFacts) -> Section:
    words, n = facts.quantiles["words"], facts.n_records
    unreported = words.n_null
    test = next((split.n_records for split in facts.splits if split.split == "test"), 0)
    leaked = (f"{facts.test_reports_in_train:,} of {test:,} test records ({share(facts.test_reports_in_train, test)}) "
              "have a report that a train record has word for word." if test else "")
    none = [f"{unreported:,} of {n:,} records ({share(unreported, n)}) have no report: none of them is in train, and "
            "nothing can be scored with them."] if unreported else []
    if unreported == n:
        return Section("Reports", tuple(none))
    blocks: list[str | Table | Bars | Code] = [
        *none,
        f"{facts.n_distinct_reports:,} different reports; {facts.n_sharing_report:,} records "
        f"({share(facts.n_sharing_report, n - unreported)}) share theirs with another. {leaked}".strip(),
        f"Words of a report: median {number(words.p50)}, 5–95 % {number(words.p5)}–{number(words.p95)}, at most "
        f"{number(words.highest)}.",
        bars("Who wrote the reports", facts.tallies["report_kinds"], n),
        bars("Language", facts.tallies["languages"], n)]
    if facts.reports:
        rows = tuple((short(one.report), f"{one.n_records:,}", f"{one.n_subjects:,}") for one in facts.reports)
        blocks.append(Table(("most frequent reports", "records", "patients"), rows, ("records", "patients")))
    return Section("Reports", tuple(blocks))


def _measured(facts: CardFacts) -> Section:
    rows = tuple((name, number(found.p50), f"{number(found.p5)}–{number(found.p95)}" if found.n else "–",
                  share(found.n_null, found.n + found.n_null))
                 for key, name in MEASURED.items() if (found := facts.quantiles.get(key)) is not None)
    if not rows:
        return Section("Measurements", ())
    charts = tuple(bars(title, facts.tallies[key], facts.n_records)
                   for key, title in (("regular", "Regular rhythm"), ("p_present", "P waves present"))
                   if key in facts.tallies)
    return Section("Measurements", ("Measured by medreport on every record; what was not detected is null, never 0.",
                                    Table(("measure", "median", "5–95 %", "undetected"), rows,
                                          ("median", "5–95 %", "undetected")), *charts))


def _left_out(facts: CardFacts) -> Section:
    blocks: list[str | Table | Bars | Code] = []
    total = sum(facts.quarantine.values())
    if total:
        blocks.append(f"{total:,} records were set aside; quarantine.jsonl says why for each.")
        blocks.append(Table(("reason", "records"), tuple((clean(reason), f"{n:,}")
                                                         for reason, n in facts.quarantine.items()), ("records",)))
    else:
        blocks.append("No record was set aside.")
    if facts.cleaning:
        blocks.append(Table(("cleaning rule", "reports changed"),
                            tuple((clean(rule), f"{n:,}") for rule, n in facts.cleaning.items()),
                            ("reports changed",)))
    return Section("Left out, and cleaned", tuple(blocks))


def _origin(facts: CardFacts) -> Section:
    origin = ORIGINS.get(str(facts.details.get("dataset")))
    rows = [("set", origin.name), ("licence", origin.licence), ("cite", origin.cite)] if origin else []
    rows += [(clean(key), short(value, 200)) for key, value in _flat(facts.details)]
    return Section("Where it comes from", (Table(("", ""), tuple(rows)),))


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested values as rows, "reports: sha256", without those that stand elsewhere on the card."""
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        if key in ("fs", "sig_len", "languages", "checks", "residuals"):
            continue
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, Mapping):
            rows += _flat(value, f"{name}: ")
        elif isinstance(value, (str, int, float)):
            rows.append((name, str(value)))
    return rows


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:,.1f} seconds"
