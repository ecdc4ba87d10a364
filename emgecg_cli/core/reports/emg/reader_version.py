"""The version of the statement reader: two scores with the same version read their reports in the same way."""

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

# To be raised by one whenever the same words and rules read a report differently than before.
VERSION = 1
_MODULES = (needle_read, sections, statement_clauses, statement_sections, statement_words, statements,
            statements_read, terms, words)
# Left out: the headings of tables, which play no part in reading reports, and what is made from words that are hashed
# themselves.
_OTHER = frozenset(("COLUMNS", "EMG_COLUMNS", "NCV_COLUMNS", "_TABLES"))
# Constants that were renamed are hashed under their first names, so that their reports need not be scored again.
_FIRST_NAMES = {"_ABNORMAL_DIRECTION": "_BAD_DIRECTION", "_ABNORMAL": "_BAD"}


@lru_cache(maxsize=1)
def reader_version() -> str:
    """The number above, and the first digits of the SHA-256 of the words, patterns and tables that are read with."""
    data = {module.__name__.rpartition(".")[2]: _constants(module) for module in _MODULES}
    return f"{VERSION}@{hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:12]}"


def _constants(module: ModuleType) -> dict[str, Any]:
    """The constants of a module that are data, by name."""
    return {_FIRST_NAMES.get(name, name): _plain(value) for name, value in vars(module).items()
            if name.lstrip("_").isupper() and not name.startswith("__") and name not in _OTHER}


def _plain(value: Any) -> Any:
    """Data as JSON, independent of the order of a set or a mapping in memory."""
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
