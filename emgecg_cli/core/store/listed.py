"""What a finished store was listed from, so that the same source need not be listed again to know that it is the same.

A listing of 800,000 records takes half a minute. Where a source says what its listing is made of (`datasets.Listing`),
a store's manifest keeps one hash of that, the hash of what was listed, and how many records that was. A source whose
listing is made of the same is taken to list the same; any other is listed, and what it lists is compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from emgecg_cli.core.config import PrepareConfig
from emgecg_cli.core.datasets import Listing, Source
from emgecg_cli.core.manifest import is_finished, json_hash, package_versions, read_manifest
from emgecg_cli.core.store.writer import DECIDING

LISTED = "listed"  # of a manifest's details


@dataclass(frozen=True)
class Listed:
    """A listing in short: what decided the splits of its records, its hash, and its number of records."""

    split: str
    hash: str
    records: int


def made_of(source: Source, config: PrepareConfig, rules: Sequence[str]) -> str | None:
    """The hash of all that decides what is listed and how it is split; None where only the listing itself says it."""
    if not isinstance(source.listing, Listing):
        return None
    marked_by = [*rules] if config.no_reports else None
    return json_hash([source.dataset, source.listing.made_of, config.split, marked_by, package_versions(DECIDING)])


def listed_before(out: Path, made: str | None) -> Listed | None:
    """What a finished store was made from, where that is made of the same; None where it has to be listed."""
    if made is None or not is_finished(out):
        return None
    manifest = read_manifest(out, "store")
    told = manifest.details.get(LISTED)
    if told is None or told["made_of"] != made:
        return None
    return Listed(str(manifest.arguments.get("split")), told["hash"], told["records"])


def for_manifest(listed: Listed, made: str | None) -> dict[str, Any]:
    """What a manifest's details say of it; nothing where it must be listed again to be compared."""
    return {} if made is None else {LISTED: {key: value for key, value in asdict(listed).items() if key != "split"}
                                    | {"made_of": made}}
