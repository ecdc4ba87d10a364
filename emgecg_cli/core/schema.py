"""What a manifest must hold before anything is made of it: the type of every field that a later stage reads.

A manifest may come from anybody. A field that is not listed here is read by nobody, or only compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LARGEST = 1 << 40  # of any count; what is beyond it is no rate and no length
# word -> the JSON values it takes; "?" behind it: may be left out or null; "~": may be left out
_TYPES: dict[str, tuple[type, ...]] = {"text": (str,), "whole number": (int,), "number": (int, float),
                                       "object": (dict,), "list": (list,), "count": (int,)}
_EVERY = {"kind": "text", "command": "text", "arguments": "object", "seed": "whole number?", "counts": "object",
          "inputs": "object", "details": "object", "format_version": "count", "versions": "object",
          "content_hash": "text?", "details.files": "hashes~", "details.machine": "object?",
          "details.dataset": "text?", "details.max_new_tokens": "count?", "counts.records": "count?",
          "counts.truncated": "count?"}
_OF_SIGNALS = {"details.dataset": "text", "details.fs": "count", "details.sig_len": "count"}
_OF_KIND: dict[str, dict[str, str]] = {
    "store": _OF_SIGNALS | {"counts.records": "count", "details.modality": "text?", "details.population": "text?",
                            "details.shards": "hashes~", "details.references": "object?",
                            "details.perturbation": "object?", "details.view": "object~", "details.view.kind": "text",
                            "details.view.level": "number", "details.view.seed": "whole number",
                            "details.listed": "object~", "details.listed.made_of": "text",
                            "details.listed.hash": "text", "details.listed.records": "count"},
    "instructions": {"counts.records": "count", "counts.values": "count?", "details.pool_hash": "text",
                     "details.draw_hash": "text", "details.modality": "text?", "inputs.store": "object"},
    "encoder": {"details.trains": "parts?"},
    "run": _OF_SIGNALS | {
        "counts.longest_report_tokens": "count?", "details.trains": "parts?", "details.validation": "object?",
        "details.kept_step": "count?", "details.machine.precision": "text", "details.machine.device": "text",
        "details.tables": "object?", "details.tables.random_seed": "whole number?", "details.model": "object",
        "details.model.backbone": "text", "details.model.revision": "text?", "details.model.tuning": "text",
        "details.model.encoder": "text", "details.model.projector": "text", "details.model.fusion": "text",
        "details.model.signal_tokens": "count", "details.model.token_norm": "text",
        "details.model.token_lengths": "lengths~",
        "details.model.tokens_from": "text~", "details.model.fusion_layers": "text~", "details.model.values": "text~",
        "details.model.emg_reshape": "text~", "details.model.emg_dropout": "number~",
        "details.model.value_identity": "text~", "details.model.sizes": "object~", "details.turn": "object?",
        "details.turn.end": "tokens", "details.turn.stop": "tokens", "details.turn.text": "text?"},
}
_OPTIONAL = ("details.turn", "details.tables", "details.view", "details.listed")
_MISSING = object()


def why_not(values: Mapping[str, Any]) -> str | None:
    """What a manifest, as it was read from its file, lacks or has of another type; None when it can be used."""
    for place, wanted in {**_EVERY, **_OF_KIND.get(str(values.get("kind")), {})}.items():
        within = place.rpartition(".")[0]
        left_out = within in _OPTIONAL and _find(values, within) in (_MISSING, None)
        if not left_out and (why := _why_not(_find(values, place), wanted)):
            return f"{place} {why}"
    for role, named in values["inputs"].items():
        if not isinstance(named, dict) or not all(isinstance(named.get(key), str) for key in ("path", "hash")):
            return f"inputs.{role} is not a path and a hash"
    return None


def _find(values: Any, place: str) -> Any:
    for name in place.split("."):
        values = values.get(name, _MISSING) if isinstance(values, dict) else _MISSING
    return values


def _why_not(value: Any, wanted: str) -> str | None:
    word = wanted.rstrip("?~")
    if value is _MISSING:
        return "is missing" if word == wanted else None
    if value is None and wanted.endswith("?"):
        return None
    return None if _fits(value, word) else f"is not {_CALLED.get(word, f'a {word}')}"


_CALLED = {"object": "an object", "hashes": "a table of files and their hashes", "tokens": "a list of token ids",
           "lengths": "a list of lengths",           "parts": "a table of what trains"}


def _fits(value: Any, word: str) -> bool:
    """Whether a value is what this word stands for."""
    if word == "hashes":
        return isinstance(value, dict) and all(isinstance(digest, str) for digest in value.values())
    if word == "lengths":
        return isinstance(value, list) and bool(value) and all(_fits(one, "number") and 0 < one < LARGEST
                                                               for one in value)
    if word == "tokens":
        return isinstance(value, list) and bool(value) and all(_fits(token, "count") for token in value)
    if word == "parts":
        return isinstance(value, list) and all(
            isinstance(part, dict) and all(_fits(part.get(name), of) for name, of in _PART.items()) for part in value)
    fits = isinstance(value, _TYPES[word]) and not isinstance(value, bool)
    return fits and (word != "count" or 0 <= value < LARGEST)


_PART = {"part": "text", "tuning": "text", "parameters": "count", "trainable": "count"}
