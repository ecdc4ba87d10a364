"""What the card says of a store of recordings: their signals, and what the quality checks found in them."""

from __future__ import annotations

from collections.abc import Mapping

from emgecg_cli.core.pages.charts import share
from emgecg_cli.core.store.card.blocks import Bars, Code, Section, Table, bars, clean, number
from emgecg_cli.core.store.card.facts import RESIDUALS, CardFacts
from emgecg_cli.core.store.card.findings import Findings
from emgecg_cli.core.store.card.tallies import Quantiles, Tally


def sections_of_signals(facts: CardFacts) -> list[Section]:
    """The sections that a store of recordings has in place of those on tables."""
    return [_signals(facts), _checks(facts), *_found(facts)]


def _signals(facts: CardFacts) -> Section:
    tallies, n = facts.tallies, facts.n_records
    blocks: list[str | Table | Bars | Code] = [
        bars("Length of the recordings", tallies["lengths"], tallies["lengths"].total),
        bars("Rate of the files", tallies["rates"], n),
        bars("Missing samples of a record", tallies["missing"], n),
        *_fractions(tallies),
        *(bars(title, tallies[key], n) for key, title in
          (("absent_leads", "Leads that were not recorded"), ("unused_signals", "Signals of the files, not used"),
           ("derived_leads", "Limb leads computed from two others"), ("flat_leads", "Leads that are flat"))
          if key in tallies and tallies[key].rows),
        *_derivable(facts),
        "How far the limb leads disagree with Einthoven's and Goldberger's identities, in microvolts; rounding alone "
        "leaves a few.",
        Table(("residual, µV", "5 %", "median", "95 %", "99 %", "highest", "not checked"),
              tuple((name, *_five(facts.quantiles[key])) for key, name in RESIDUALS.items()),
              ("5 %", "median", "95 %", "99 %", "highest", "not checked")),
        bars("Einthoven, median of a record", tallies["einthoven_p50_uv"], n),
        bars("Goldberger, median of a record", tallies["goldberger_p50_uv"], n),
        bars("Verdict on the limb leads", tallies["lead_checks"], n)]
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


def _five(found: Quantiles) -> tuple[str, ...]:
    return (*(number(value) for value in (found.p5, found.p50, found.p95, found.p99, found.highest)),
            f"{found.n_null:,}")
