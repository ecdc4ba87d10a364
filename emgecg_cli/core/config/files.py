"""Settings as a YAML file: read with every key and type checked, and written so that they can be given back."""

from __future__ import annotations

import difflib
import json
import math
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from emgecg_cli.core.config.settings import described
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.files import write_atomically

CONFIG_FILE = "config.yaml"
LARGEST = 1 << 20  # bytes
_WANTED = {int: "a whole number", float: "a number", str: "a text, in quotes where YAML takes it for something else",
           bool: "true or false", dict: "names and their values: a text, a number, true, false or null"}
_HEAD = """\
# The settings of this {what}, as defaults, recipe, file and options made them; those without effect are left out.
# `medreport {command} --config FILE` takes them again, and any option changes one of them.
"""


def read_config(path: Path, kind: type, command: str) -> dict[str, Any]:
    """The settings of a YAML file, each of the type its field has; one that is null counts as left out.

    Raises MedReportError for what is no YAML of plain settings, for one that is there twice, for an unknown one (with a
    near one) and for a value of another type.
    """
    return checked(read_mapping(path), kind, command, str(path))


def checked(values: Mapping[Any, Any], kind: type, command: str, where: str) -> dict[str, Any]:
    """Settings as `read_config` checks them; `where` they stand begins an error."""
    settings, hints = described(kind), get_type_hints(kind)
    read = {}
    for key, value in values.items():
        if key not in settings:
            near = difflib.get_close_matches(str(key).lower().replace("-", "_"), settings, n=1, cutoff=0.5)
            guess = f"; did you mean '{near[0]}'?" if near else ""
            raise MedReportError(f"{where}: no setting '{str(key)[:60]}'{guess}",
                                 f"`medreport {command} --help` lists them; in a file they are written with _ for -")
        typed = plain_type(value, hints[key], f"{where}: {key}")
        if typed is not None:
            read[key] = typed
    return read


def plain_type(value: Any, hint: Any, what: str) -> Any:
    """A value as the type that an annotation asks for; None for null where that is allowed.

    Raises MedReportError, which begins with `what`, for a value of another type.
    """
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if value is None and type(None) in kinds:
        return None
    wanted = get_origin(kinds[0]) or kinds[0]
    typed = _typed(value, wanted)
    if typed is None:
        raise MedReportError(f"{what} is {_shown(value)}", f"give {_WANTED[wanted]}")
    return typed


def write_config(path: Path, values: Mapping[str, Any], command: str, what: str) -> None:
    """Write settings for `command` to take again."""
    import yaml

    text = yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True, width=1000)
    write_atomically(path, (_HEAD.format(what=what, command=command) + text).encode())


def read_mapping(path: Path) -> dict[Any, Any]:
    """What a YAML file says at its top level; raises MedReportError for one that is no mapping of plain values."""
    import yaml

    try:
        data = path.read_bytes()
    except OSError as error:
        raise MedReportError(f"{path}: cannot be read ({error.strerror or error})",
                             f"give a YAML file of settings, such as a run's {CONFIG_FILE}") from None
    try:
        text = data.decode("utf-8-sig") if len(data) <= LARGEST else ""
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        # An alias may stand for another, and ten lines of them for a billion values.
        plain = isinstance(root, yaml.MappingNode) and not any(isinstance(token, yaml.AliasToken)
                                                              for token in yaml.scan(text))
        values = yaml.safe_load(text) if plain else None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: {getattr(error, 'problem', '')}" if mark else "not a text in UTF-8"
        raise MedReportError(f"{path}: not YAML ({where})", "write one setting a line: batch_size: 16") from None
    if not isinstance(values, dict):
        raise MedReportError(f"{path}: not a list of settings", "write one setting a line: batch_size: 16")
    said = [key.value for key, _ in root.value]
    if twice := sorted({name for name in said if said.count(name) > 1}):
        raise MedReportError(f"{path}: {twice[0]} is there twice", "leave one of them out")
    return values


def _typed(value: Any, wanted: type) -> Any:
    """The value as the type a setting has; None where it is another one. YAML takes 1e-4 for a text."""
    if wanted is float:
        if isinstance(value, str):
            try:
                return float(value)
            except ValueError:
                return None
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
    if wanted is dict:
        plain = isinstance(value, dict) and all(isinstance(name, str) and name.isidentifier() for name in value)
        return value if plain and all(_is_plain(one) for one in value.values()) else None
    return value if isinstance(value, wanted) and isinstance(value, bool) == (wanted is bool) else None


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, (str, bool, int)) or (isinstance(value, float) and math.isfinite(value))


def _shown(value: Any) -> str:
    """A value in an error, as JSON writes it."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:60]}…"
