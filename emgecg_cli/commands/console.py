"""What the user sees: stdout is data, stderr is talk.

Tables and JSON go to stdout; notes, warnings, errors and progress go to stderr, progress as a bar where that is a
terminal, else as a plain line every half a minute.
"""

from __future__ import annotations

import math
import os
import shlex
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from emgecg_cli.core import launch
from emgecg_cli.core.pages.printable import json_text, one_line

EVERY = 30.0  # seconds between two lines about progress where there is no terminal


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
    """Say on stderr that something deserves attention although the work goes on."""
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


def print_text(text: str) -> None:
    """Print a text that is made already, such as a table for a paper, on stdout as it is."""
    print(text, end="")


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str | None = None,
          talk: bool = False) -> None:
    """Print a table: ruled and within its width on a terminal, aligned plain text elsewhere. Columns of numbers are
    right-aligned. Cells may hold texts from outside, which are cleaned here.

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
    """Give a callable that reports progress: by a bar on a terminal, elsewhere by a line now and then.

    The rate counts what this run did, so that a resumed run does not claim the speed of the one before.
    """
    if not launch.speaks():
        yield lambda done, total, **fields: None
        return
    with (_bar if is_terminal(sys.stderr) else _lines)(description, unit) as report:
        yield report


def stage(description: str) -> AbstractContextManager[Progress]:
    """Say what begins, where no bar shows it, and show a bar where one can be seen."""
    if not is_terminal(sys.stderr):
        note(description)
    return progress(description, unit="")


@contextmanager
def _bar(description: str, unit: str) -> Iterator[Progress]:
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


@contextmanager
def _lines(description: str, unit: str) -> Iterator[Progress]:
    """A line every `EVERY` seconds, for a log, also while nothing is reported."""
    began, ended = time.monotonic(), threading.Event()
    heard: list[tuple[float, int, int, Mapping[str, object]]] = []  # the first report and the latest

    def report(done: int, total: int, **fields: object) -> None:
        heard[min(1, len(heard)):] = [(time.monotonic(), done, total, fields)]

    def speak() -> None:
        while not ended.wait(EVERY):
            with suppress(OSError, ValueError):  # whoever read stderr has gone
                note(f"{description}: " + (_far(heard[0], heard[-1], unit) if heard else
                                           f"{_duration(time.monotonic() - began)} so far"))

    speaker = threading.Thread(target=speak, daemon=True)
    speaker.start()
    try:
        yield report
    finally:
        ended.set()
        speaker.join()


def _far(first: tuple[float, int, int, Mapping[str, object]], latest: tuple[float, int, int, Mapping[str, object]],
         unit: str) -> str:
    """How far the work is, how fast it goes, and how long it takes yet: "120 of 1,000 steps, 0.31 steps/s, …"."""
    at, done, total, fields = latest
    seconds, made = at - first[0], done - first[1]
    parts = [f"{done:,} of {total:,} {unit}".rstrip(), _talk(seconds, made, unit, fields).replace("  ", ", ")]
    if made > 0 and seconds > 0 and done < total:
        parts.append(f"{_duration((total - done) * seconds / made)} left")
    return ", ".join(filter(None, parts))


def _duration(seconds: float) -> str:
    """"3 h 05 min", "4 min 35 s", "12 s"."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 60} min {whole % 60:02} s" if whole >= 60 else f"{whole} s"


def _talk(seconds: float, done: int, unit: str, fields: Mapping[str, object]) -> str:
    """What stands behind a bar: the rate, then the fields that were given."""
    rate = done / seconds if seconds > 0 else 0.0
    parts = [f"{rate:,.0f} {unit}/s" if rate >= 100 else f"{rate:.3g} {unit}/s"] if rate > 0 else []
    parts += [f"{key.replace('_', ' ')} {value:.4g}" if isinstance(value, float) else f"{key.replace('_', ' ')} {value}"
              for key, value in fields.items()]
    return "  ".join(parts)
