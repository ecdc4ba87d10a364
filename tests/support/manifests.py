"""Change the manifest of a finished artefact, as its writer would have written it or as damage leaves it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from emgecg_cli.core.manifest import json_hash, manifest_path


def change_manifest(artefact: Path, change: Callable[[dict[str, Any]], object], seal: bool = True) -> None:
    """Let `change` work on the values; `seal` renews the hash of the manifest's content, as its writer would."""
    path = manifest_path(artefact)
    values = json.loads(path.read_bytes())
    change(values)
    if seal:
        values["content_hash"] = json_hash({key: value for key, value in values.items() if key != "content_hash"})
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def make_old(artefact: Path) -> None:
    """Make a manifest as it was before manifests and shards were hashed."""
    def older(values: dict[str, Any]) -> None:
        values.pop("content_hash")
        values["format_version"] = 1
        values["details"].pop("shards", None)

    change_manifest(artefact, older, seal=False)
