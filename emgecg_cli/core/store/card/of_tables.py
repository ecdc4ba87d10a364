"""What the card says of a store of EMG tables: its references, faults of the tables, columns that were not used."""

from __future__ import annotations

from collections import Counter

from emgecg_cli.core.pages.charts import share
from emgecg_cli.core.store.card.blocks import Bars, Code, Section, Table, clean, short
from emgecg_cli.core.store.card.facts import CardFacts


def sections_of_tables(facts: CardFacts) -> list[Section]:
    """The sections that a store of tables has in place of those on signals."""
    return [_tables(facts), _flags(facts), *_flagged(facts)]


def _tables(facts: CardFacts) -> Section:
    """A store of EMG tables: its references, and whom they were fitted on."""
    known = facts.details.get("references", {})
    pool = Counter(known.get("pool", {}))
    healthy = pool.pop("healthy", 0)
    total = healthy + sum(pool.values())
    rows = tuple((clean(why), f"{n:,}", share(n, total)) for why, n in pool.most_common())
    blocks: list[str | Table | Bars | Code] = [
        f"References for {known.get('items', 0)} items in references.json, of {healthy:,} healthy examinations of the "
        f"train split ({share(healthy, total)})."]
    if nerves := known.get("nerves"):
        blocks.append(f"{nerves['examinations']:,} other examinations gave {nerves['values']:,} values of single "
                      "nerves that their reports call normal. These are nerves of patients, and no healthy sample.")
    if rows:
        blocks += ["The others of the train split were not taken for healthy:",
                   Table(("why", "records", "share"), rows, ("records", "share"))]
    return Section("Tables", tuple(blocks))


def _flags(facts: CardFacts) -> Section:
    """Faults of the tables that set no record aside, and columns that nothing was read from."""
    rows = tuple((clean(one.reason), f"{one.n_flags:,}", f"{one.n_records:,}", share(one.n_records, facts.n_records))
                 for one in facts.flags)
    blocks: list[str | Table | Bars | Code] = []
    if rows:
        blocks += ["Faults of the tables in records that were kept; what was done about each stands in its line.",
                   Table(("flag", "found", "records", "share"), rows, ("found", "records", "share"))]
    if facts.unused:
        unused = tuple((clean(name), f"{n:,}") for name, n in facts.unused.items())
        blocks += ["Columns that stand for nothing known, and were not used:",
                   Table(("column", "records"), unused, ("records",))]
    return Section("Flags", tuple(blocks))


def _flagged(facts: CardFacts) -> list[Section]:
    return [Section(f"{clean(one.reason)}: {one.n_flags:,}", (
        Table(("record", "evidence"), tuple((clean(found.record_id), short(found.evidence, 300))
                                            for found in one.first)),
        Code("all of them: filter records.parquet by",
             f'flags.list.eval(element().str.starts_with("{clean(one.reason)}:")).list.any()')
        ), level=3) for one in facts.flags]
