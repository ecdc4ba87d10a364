"""Weights of an encoder as others publish them: a checkpoint of PyTorch, from which tensors are read and nothing else.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from emgecg_cli.core.errors import MedReportError

SUFFIXES = (".pt", ".pth", ".bin")
PREFIXES = ("module.ecg.", "ecg.")  # of the recording's part of ECG-CoCa, as several processes or one have saved it


def read_published(file: Path) -> dict[str, Tensor]:
    """The tensors of ECG-CoCa's recording encoder, by their names in it.

    Raises MedReportError for a file that holds anything but numbers, texts, lists, dictionaries and tensors, whose
    unpickling could run code; and for one without such an encoder.
    """
    try:
        with _nothing_else_allowed():
            held = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except Exception as error:  # whatever a foreign or damaged file makes of it
        reason = " ".join(str(error).split()).split(". ")[0][:200]
        raise MedReportError(f"{file}: cannot be read as tensors alone ({reason})",
                             "give the published checkpoint; a file that needs more could run code") from None
    tensors = held.get("state_dict", held) if isinstance(held, Mapping) else {}
    named = {name: value for name, value in tensors.items() if isinstance(name, str)}
    for prefix in PREFIXES:
        found = {name.removeprefix(prefix): _tensor(file, name, value) for name, value in named.items()
                 if name.startswith(prefix)}
        if found:
            return found
    some = ", ".join(list(named)[:4]) or "nothing"
    raise MedReportError(f"{file}: no weights of an encoder: no name begins with {' or '.join(PREFIXES)} (it holds "
                         f"{some} …)", "give the checkpoint that ECG-CoCa was published as")


def _tensor(file: Path, name: str, value: Any) -> Tensor:
    if not isinstance(value, Tensor):
        raise MedReportError(f"{file}: {name} is no tensor", "give the published checkpoint")
    return value.detach().float()


@contextmanager
def _nothing_else_allowed() -> Iterator[None]:
    """Without the classes that this process, or a package of it, allows to be unpickled besides."""
    before = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    try:
        yield
    finally:
        torch.serialization.add_safe_globals(before)
