"""Which reader of statements this is: two scores with the same one were read alike."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Set
from dataclasses import asdict, is_dataclass
from functools import lru_cache
from types import ModuleType
from typing import Any

from emgecg_cli.core.emg import terms, words
from emgecg_cli.core.reports import sections
from emgecg_cli.core.reports.emg import (
    needle_read,
    statement_clauses,
    statement_sections,
    statement_words,
    statements,
    statements_read,
)

# To be raised by one whenever the same words and rules read a report otherwise than before.
VERSION = 1
_MODULES = (needle_read, sections, statement_clauses, statement_sections, statement_words, statements,
            statements_read, terms, words)
# The headings of tables, which no report is read by; and what is made from words that are hashed themselves.
_OTHER = frozenset(("COLUMNS", "EMG_COLUMNS", "NCV_COLUMNS", "_TABLES"))


@lru_cache(maxsize=1)
def reader_version() -> str:
    """The version of the reader, and the beginning of the SHA-256 of the words, patterns and tables it reads with."""
    data = {module.__name__.rpartition(".")[2]: _constants(module) for module in _MODULES}
    return f"{VERSION}@{hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:12]}"


def _constants(module: ModuleType) -> dict[str, Any]:
    """The constants of a module that are data, by name."""
    return {name: _plain(value) for name, value in vars(module).items()
            if name.lstrip("_").isupper() and not name.startswith("__") and name not in _OTHER}


def _plain(value: Any) -> Any:
    """Data as JSON, whatever order a set or a mapping has in memory."""
    if isinstance(value, re.Pattern):
        return [value.pattern, value.flags]
    if isinstance(value, Mapping):
        return sorted([json.dumps(_plain(key)), _plain(item)] for key, item in value.items())
    if isinstance(value, Set):
        return sorted(json.dumps(_plain(item)) for item in value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if value is None or isinstance(value, (str, int, float)):
        return value
    raise TypeError(f"{type(value).__name__} is no data")
