"""What the user sees: stdout is data, stderr is talk.

Tables and JSON go to stdout; notes, warnings, errors and progress go to stderr, progress only where that is a
terminal.
"""

from __future__ import annotations

import math
import os
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from emgecg_cli.core.pages.printable import json_text, one_line


class Progress(Protocol):
    """What a core function calls while it works: how much is done, of how much, and what else is worth saying."""

    def __call__(self, done: int, total: int, **fields: object) -> None:
        """Report `done` of `total`; `fields` are shown behind it as they are (loss=0.31, wait="4 %")."""


def note(message: str) -> None:
    """Say something on stderr."""
    _say("", message, "")


def next_step(*words: object) -> None:
    """Say the next command to type, quoted for a shell."""
    note("next: " + shlex.join(["medreport", *(word.as_posix() if isinstance(word, Path) else str(word)
                                               for word in words)]))


def warn(message: str) -> None:
    """Say on stderr that something deserves a look although the work goes on."""
    _say("warning: ", message, "33")


def error(message: str, hint: str | None = None) -> None:
    """Say on stderr what is wrong, and on a second line what to do next."""
    _say("error: ", message, "1;31")
    if hint:
        _say("hint: ", hint, "36")


def _say(prefix: str, message: str, style: str) -> None:
    """One line on stderr; the prefix is coloured on a terminal."""
    line = one_line(message)
    if prefix and is_terminal(sys.stderr) and "NO_COLOR" not in os.environ:
        prefix = f"\033[{style}m{prefix}\033[0m"
    with suppress(OSError):  # hours of work do not end because nobody listens any more
        print(prefix + line, file=sys.stderr, flush=True)


def is_terminal(stream: IO[str]) -> bool:
    """Whether a person is watching this stream, on something that can move its cursor."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def width_of(stream: IO[str]) -> int:
    """How many characters a line of a terminal has."""
    if os.environ.get("COLUMNS", "").isdecimal():
        return int(os.environ["COLUMNS"])
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def print_json(value: object) -> None:
    """Print a result for machines on stdout: dataclasses as objects, a number that is not finite as null."""
    print(json_text(_jsonable(value), indent=2))


def _jsonable(value: Any) -> Any:
    """The JSON value of a result."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_jsonable(item) for item in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str | None = None,
          talk: bool = False) -> None:
    """Print a table: ruled and within its width on a terminal, aligned plain text elsewhere. Columns of numbers are set
    right. What cells hold may come from outside, and is cleaned here.

    On stdout if it is what the command was asked for, on stderr if it is `talk`.
    """
    from emgecg_cli.commands.tables import is_right, plain_lines, ruled_lines

    stream = sys.stderr if talk else sys.stdout
    names = [one_line(name) for name in columns]
    cells = [["" if cell is None else one_line(str(cell)) for cell in row] for row in rows]
    right = is_right(cells, len(names))
    if is_terminal(stream):
        lines = ruled_lines(names, cells, right, width_of(stream))
        print(*([one_line(title)] if title else []), *lines, sep="\n", file=stream)
    else:
        print(*plain_lines(names, cells, right), sep="\n", file=stream)


@contextmanager
def progress(description: str, unit: str = "records") -> Iterator[Progress]:
    """Give a callable that moves a bar on stderr; it does nothing where stderr is not a terminal.

    The rate counts what this run did, so that a resumed run does not claim the speed of the one before.
    """
    if not is_terminal(sys.stderr):
        yield _silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=28), MofNCompleteColumn(),
               TextColumn("{task.fields[talk]}", markup=False), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=None, talk="")
        first: list[tuple[float, int]] = []

        def report(done: int, total: int, **fields: object) -> None:
            now = time.monotonic()
            if not first:
                first.append((now, done))
            talk = _talk(now - first[0][0], done - first[0][1], unit, fields)
            bar.update(task, completed=done, total=total, talk=talk)

        yield report


def _silent(done: int, total: int, **fields: object) -> None:
    """The progress of a run that nobody watches."""


def _talk(seconds: float, done: int, unit: str, fields: Mapping[str, object]) -> str:
    """What stands behind a bar: the rate, then the fields that were given."""
    rate = done / seconds if seconds > 0 else 0.0
    parts = [f"{rate:,.0f} {unit}/s" if rate >= 100 else f"{rate:.3g} {unit}/s"] if rate > 0 else []
    parts += [f"{key.replace('_', ' ')} {value:.4g}" if isinstance(value, float) else f"{key.replace('_', ' ')} {value}"
              for key, value in fields.items()]
    return "  ".join(parts)
