"""Document frequencies in a file, so that CIDEr-D is weighed alike on small sets, subsets and other machines.

The file is JSON: how many documents they were counted in, by which tokenizer, and for each order 1..4 in how many
documents each n-gram stands, its words joined by blanks.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.files import write_atomically
from emgecg_cli.core.metrics.text.ngrams import tokenize_all
from emgecg_cli.core.metrics.text.tokens import Tokens

MAX_ORDER = 4
_KIND = "document-frequencies"
_HINT = "write one with `medreport score … --write-idf FILE`"


@dataclass(frozen=True)
class DocumentFrequencies:
    """Of each order the n-grams and in how many of `documents` they stand; `name` is the file's, with its hash."""

    name: str
    tokenizer: str
    documents: int
    orders: tuple[Mapping[str, int], ...]


def write_idf(path: Path, texts: Sequence[str], tokens: Tokens, origin: str) -> None:
    """Count the n-grams of some documents and write them, atomically; the same documents give the same bytes."""
    copies = Counter(texts)
    orders: list[Counter[str]] = [Counter() for _ in range(MAX_ORDER)]
    for words, n in zip(tokenize_all(list(copies), tokens.tokenize), copies.values(), strict=True):
        for order, counted in enumerate(orders, 1):
            for gram in {" ".join(words[i:i + order]) for i in range(len(words) - order + 1)}:
                counted[gram] += n
    values = {"kind": _KIND, "version": 1, "origin": origin, "tokenizer": tokens.name, "documents": len(texts),
              "frequencies": [dict(sorted(counted.items())) for counted in orders]}
    write_atomically(path, (json.dumps(values, ensure_ascii=False, indent=0) + "\n").encode())


def read_idf(path: Path) -> DocumentFrequencies:
    """Read such a file; raises MedReportError for another one."""
    try:
        content = path.read_bytes()
        values: Any = json.loads(content)
    except OSError as error:
        raise MedReportError(f"{path}: cannot be read ({error.strerror})", _HINT) from None
    except (ValueError, RecursionError):
        raise MedReportError(f"{path}: not JSON", _HINT) from None
    if not isinstance(values, dict) or values.get("kind") != _KIND or values.get("version") != 1:
        raise MedReportError(f"{path}: holds no document frequencies", _HINT)
    try:
        tokenizer, documents, orders = (values[name] for name in ("tokenizer", "documents", "frequencies"))
        whole = isinstance(tokenizer, str) and _is_count(documents) and len(orders) == MAX_ORDER and \
            all(_are_frequencies(own, n, documents) for n, own in enumerate(orders, 1))
    except (KeyError, TypeError):
        whole = False
    if not whole:
        raise MedReportError(f"{path}: its document frequencies are damaged", _HINT)
    return DocumentFrequencies(f"{path.name}@{hashlib.sha256(content).hexdigest()[:12]}", tokenizer, documents,
                               tuple(orders))


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _are_frequencies(own: Any, order: int, documents: int) -> bool:
    return isinstance(own, dict) and all(_is_count(n) and n <= documents and gram.count(" ") == order - 1
                                         for gram, n in own.items())
