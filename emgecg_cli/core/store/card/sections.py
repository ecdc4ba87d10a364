"""What a data card says and in which order, as plain sections; Markdown and HTML are written from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emgecg_cli.core.pages.charts import share
from emgecg_cli.core.store.card.blocks import Bars, Code, Section, Table, clean, short
from emgecg_cli.core.store.card.facts import MEASURED, RESIDUALS, CardFacts
from emgecg_cli.core.store.card.findings import Findings
from emgecg_cli.core.store.card.of_tables import of_tables, sections_of_tables
from emgecg_cli.core.store.card.origin import ORIGINS
from emgecg_cli.core.store.card.tallies import Quantiles, Tally


def title_of(facts: CardFacts) -> str:
    """The heading of the card."""
    return f"Data card: {clean(str(facts.details.get('dataset', 'unnamed')))}"


def sections(facts: CardFacts) -> list[Section]:
    """The whole card."""
    about = sections_of_tables(facts) if of_tables(facts) else [
        _signals(facts), _checks(facts), *_found(facts)]
    return [section for section in (_set(facts), _who(facts), *about, _labels(facts), _reports(facts),
                                    _measured(facts), _left_out(facts), _origin(facts)) if section.blocks]


def _set(facts: CardFacts) -> Section:
    rows = [("records", f"{facts.n_records:,}"), ("recordings", f"{facts.n_recordings:,}"),
            ("patients", f"{facts.n_subjects:,}")]
    if not of_tables(facts):
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
        blocks.append(f"Age: median {_number(age.p50)} years, 5–95 % {_number(age.p5)}–{_number(age.p95)}, "
                      f"not known for {age.n_null:,} records.")
        blocks.append(_bars("Age", tallies["ages"], facts.n_records))
    if any(sex != "not known" for sex, _ in tallies["sexes"].rows):
        names = {"F": "women", "M": "men"}
        rows = tuple((names.get(sex, sex), n) for sex, n in tallies["sexes"].rows)
        blocks.append(Bars("Sex", rows, facts.n_records))
    return Section("Patients", tuple(blocks))


def _signals(facts: CardFacts) -> Section:
    tallies, n = facts.tallies, facts.n_records
    blocks: list[str | Table | Bars | Code] = [
        _bars("Length of the recordings", tallies["lengths"], tallies["lengths"].total),
        _bars("Rate of the files", tallies["rates"], n),
        _bars("Missing samples of a record", tallies["missing"], n),
        *_fractions(tallies),
        *(_bars(title, tallies[key], n) for key, title in
          (("absent_leads", "Leads that were not recorded"), ("unused_signals", "Signals of the files, not used"),
           ("derived_leads", "Limb leads computed from two others"), ("flat_leads", "Leads that are flat"))
          if key in tallies and tallies[key].rows),
        *_derivable(facts),
        "How far the limb leads disagree with Einthoven's and Goldberger's identities, in microvolts; rounding alone "
        "leaves a few.",
        Table(("residual, µV", "5 %", "median", "95 %", "99 %", "highest", "not checked"),
              tuple((name, *_five(facts.quantiles[key])) for key, name in RESIDUALS.items()),
              ("5 %", "median", "95 %", "99 %", "highest", "not checked")),
        _bars("Einthoven, median of a record", tallies["einthoven_p50_uv"], n),
        _bars("Goldberger, median of a record", tallies["goldberger_p50_uv"], n),
        _bars("Verdict on the limb leads", tallies["lead_checks"], n)]
    return Section("Signals", tuple(blocks))


def _fractions(tallies: Mapping[str, Tally]) -> list[str]:
    """How rates that are no whole number were resampled."""
    found = tallies.get("fractions")
    if not found or not found.total:
        return []
    listed = ", ".join(clean(label) for label, _ in found.rows) + (f" and {found.n_more} others" * bool(found.n_more))
    return [f"Rates that are no whole number were resampled by the nearest fraction: {listed}."]


def _derivable(facts: CardFacts) -> list[str | Table | Bars | Code]:
    """What --derive-leads would do, and what it did."""
    blocks: list[str | Table | Bars | Code] = []
    if facts.n_derivable:
        n = facts.n_derivable
        blocks.append(Code(f"{n:,} record{'s lack' if n > 1 else ' lacks'} limb leads that follow from two that are "
                           "there; they are computed by", "medreport prepare --derive-leads"))
    derived = facts.tallies.get("derived_leads")
    if derived and derived.rows:
        blocks.append("Computed limb leads are left out of all checks below: they agree with the leads they were made "
                      "of, whatever those are.")
    return blocks


def _checks(facts: CardFacts) -> Section:
    rows = tuple((one.title, f"{one.n:,}" if one.n else "none",
                  share(one.n, facts.n_subjects if one.kind == "patients_across_splits" else facts.n_records)
                  if one.n else "") for one in facts.findings)
    return Section("Honesty checks", (
        "What was looked for in every record. A finding is a reason to look, not a failure: nothing was changed or "
        "left out because of it.", Table(("check", "found", "share"), rows, ("found", "share"))))


def _found(facts: CardFacts) -> list[Section]:
    return [_findings(one) for one in facts.findings if one.n]


def _findings(found: Findings) -> Section:
    rows = tuple((clean(one.record_id), clean(one.evidence)) for one in found.first)
    blocks: list[str | Table | Bars | Code] = [found.meaning, Table(("record", "evidence"), rows)]
    if found.n_more and not found.filter:
        blocks.append(f"and {found.n_more:,} more.")
    elif found.n_more:
        blocks.append(Code(f"and {found.n_more:,} more: filter records.parquet by", found.filter))
    return Section(f"{found.title}: {found.n:,}", tuple(blocks), level=3)


def _labels(facts: CardFacts) -> Section:
    codes = facts.tallies["codes"]
    if not codes.rows:
        return Section("Labels", ())
    more = f" The {len(codes.rows)} most frequent are shown." if codes.n_more else ""
    return Section("Labels", (f"{facts.n_codes:,} different labels; a record may have several.{more}",
                              _bars("Records with a label", codes, facts.n_records)))


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
        f"Words of a report: median {_number(words.p50)}, 5–95 % {_number(words.p5)}–{_number(words.p95)}, at most "
        f"{_number(words.highest)}.",
        _bars("Who wrote the reports", facts.tallies["report_kinds"], n),
        _bars("Language", facts.tallies["languages"], n)]
    if facts.reports:
        rows = tuple((short(one.report), f"{one.n_records:,}", f"{one.n_subjects:,}") for one in facts.reports)
        blocks.append(Table(("most frequent reports", "records", "patients"), rows, ("records", "patients")))
    return Section("Reports", tuple(blocks))


def _measured(facts: CardFacts) -> Section:
    rows = tuple((name, _number(found.p50), f"{_number(found.p5)}–{_number(found.p95)}" if found.n else "–",
                  share(found.n_null, found.n + found.n_null))
                 for key, name in MEASURED.items() if (found := facts.quantiles.get(key)) is not None)
    if not rows:
        return Section("Measurements", ())
    charts = tuple(_bars(title, facts.tallies[key], facts.n_records)
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


def _bars(title: str, tally: Tally, total: int) -> Bars:
    rows = tuple((clean(label), count) for label, count in tally.rows)
    if tally.n_more:
        rows += ((f"{tally.n_more:,} others", tally.more),)
    return Bars(title, rows, total)


def _five(found: Quantiles) -> tuple[str, ...]:
    return (*(_number(value) for value in (found.p5, found.p50, found.p95, found.p99, found.highest)),
            f"{found.n_null:,}")


def _number(value: float | None) -> str:
    """Whole above ten, one decimal below; a dash where there is none."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 10 or value == int(value) else f"{value:.1f}"


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:,.1f} seconds"
