"""How the manifest of a perturbed store says what was done to its signals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emgecg_cli.core.store.reader import Store


def perturbation_of(store: Store) -> str | None:
    """Kind and level, "gaussian, snr_db 10", with what was done to the store it was made from; None of other stores."""
    made = store.manifest.details.get("perturbation")
    return f"{_named(made)}{earlier_of(store)}" if made and "kind" in made else None


def earlier_of(store: Store) -> str:
    """What had been done before, last first: "; before that gaussian, snr_db 10, in 20 records"; "" if nothing."""
    made, said = store.manifest.details.get("perturbation") or {}, ""
    while isinstance(made := made.get("earlier"), dict):
        said += f"; before that {_named(made)}, in {made.get('perturbed', 'some')} records"
    return said


def _named(made: Mapping[str, Any]) -> str:
    level = next((f", {name} {value:g}" for name, value in made.items() if isinstance(value, int | float)), "")
    recorded = f", {made['noise']}" if made.get("noise") else ""
    return f"{made.get('kind')}{level}{recorded}"
