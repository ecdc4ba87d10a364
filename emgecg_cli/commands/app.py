"""`medreport`: the commands in the order of the pipeline, and the one place where errors end.

Nothing heavy is imported here; a command imports what it needs when it runs.
"""

from __future__ import annotations

import gc
import inspect
import io
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Annotated

import typer
from typer.completion import completion_init

from emgecg_cli import __version__
from emgecg_cli.commands import console
from emgecg_cli.commands.benchmark import benchmark
from emgecg_cli.commands.build_instructions import build_instructions
from emgecg_cli.commands.certify import certify
from emgecg_cli.commands.completion import COMPLETE_VARIABLE, completion
from emgecg_cli.commands.demo import demo
from emgecg_cli.commands.doctor import doctor
from emgecg_cli.commands.export import export
from emgecg_cli.commands.failures import describe, let_stdout_go, open_standard_streams, reader_has_gone
from emgecg_cli.commands.generate import generate
from emgecg_cli.commands.import_weights import import_weights
from emgecg_cli.commands.leaks import leaks
from emgecg_cli.commands.pages import pages
from emgecg_cli.commands.perturb import perturb
from emgecg_cli.commands.prepare import prepare
from emgecg_cli.commands.pretrain import pretrain
from emgecg_cli.commands.probe import probe
from emgecg_cli.commands.references import references
from emgecg_cli.commands.report import report
from emgecg_cli.commands.robustness import robustness
from emgecg_cli.commands.score import score
from emgecg_cli.commands.train import train
from emgecg_cli.commands.verify import verify
from emgecg_cli.commands.view import view
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.files import RESUME

PIPELINE, AROUND = "The pipeline, in order", "Around it"

_UNDECODED = re.compile("[\udc80-\udcff]")  # bytes of a name that are not UTF-8, as Python holds them

def help_of(function: Callable[..., object]) -> str:
    """The help of a command: the paragraphs of its docstring, which break where the terminal ends, not the source."""
    return "\n\n".join(" ".join(one.split()) for one in (inspect.getdoc(function) or "").split("\n\n"))


app = typer.Typer(name="medreport", add_completion=False, pretty_exceptions_enable=False,
                  rich_markup_mode="rich", context_settings={"help_option_names": ["-h", "--help"]})
for function in (prepare, build_instructions, pretrain, train, generate, export, perturb, score):
    app.command(rich_help_panel=PIPELINE, help=help_of(function))(function)
for function in (report, import_weights, probe, certify, robustness, benchmark, view, pages, leaks, verify, references,
                 doctor, demo, completion):
    app.command(rich_help_panel=AROUND, help=help_of(function))(function)


def _print_version(wanted: bool) -> None:
    """Print the version and end."""
    if wanted:
        print(f"medreport {__version__}")
        raise typer.Exit


@app.callback()
def medreport(version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True,
                                                    help="Print the version.")] = False) -> None:
    """From raw ECG and EMG recordings to clinical reports whose every score can be reproduced. A research tool, not a
    medical device."""


def main() -> None:
    """The console script: run what was typed and exit with its status."""
    if not open_standard_streams():
        console.error("stdout is closed", "send it somewhere: a file, a pipe, or /dev/null")
        os._exit(2)  # the interpreter would fail to flush it
    _in_utf8()
    # Two OpenMP threads that spin beside any other load wait for each other: a convolution takes 30 ms instead of 1.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    for stream, errors in ((sys.stdout, "surrogateescape"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors=errors)
    completion_init()
    status = run(sys.argv[1:])
    gc.freeze()  # all goes with the process: Python would look for garbage first, two seconds where torch was imported
    sys.exit(status)


def _in_utf8() -> None:
    """Begin again in Python's UTF-8 mode where the locale is another one: there a path with an umlaut is no text, which
    Python itself puts up with, and the libraries that read tables, weights and tokenizers do not."""
    if sys.getfilesystemencoding().lower() != "utf-8" and os.environ.get("PYTHONUTF8") != "1" and sys.executable:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | {"PYTHONUTF8": "1"})


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit status; every error of every command ends here, in one line.

    0: done. 1: a bug, a check such as `leaks` that found something, or `prepare` setting more than half aside. 2:
    something to be put right by whoever typed it, with a hint. 130: interrupted. `MEDREPORT_DEBUG=1` shows the
    traceback as well.
    """
    try:
        status = app(list(arguments) or ["--help"], prog_name="medreport", standalone_mode=False)
        sys.stdout.flush()
    except MedReportError as error:
        return _fail(error.message, error.hint)
    except typer.TyperException as error:
        return _fail(_usage_message(error), f"see `{_help_command(arguments)}`")
    except (KeyboardInterrupt, typer.Abort) as error:
        console.error("interrupted", _where(error))
        return 130
    except Exception as error:
        if isinstance(error, BrokenPipeError) and reader_has_gone():
            return _quiet()
        # The libraries take such a name for anything but a path, and say so in many ways.
        named = [error.object] if isinstance(error, UnicodeEncodeError) else arguments
        if odd := next(filter(_UNDECODED.search, named), None):
            return _fail(f"{odd[:200]}: a name that is not UTF-8", "rename it, or work on a copy under another name")
        if known := describe(error):
            return _fail(*known)
        what = " ".join(f"{type(error).__name__}: {error}".split())
        _fail(f"this is a bug in medreport: {what}; run again with MEDREPORT_DEBUG=1 to see where", None)
        return 1
    except SystemExit:
        if COMPLETE_VARIABLE in os.environ:
            raise
        return _quiet()  # typer's own answer to a closed pipe
    if status == 130:
        console.error("interrupted", RESUME)
    return status if isinstance(status, int) else 0


def _where(error: BaseException) -> str:
    """Where an interrupted command goes on, in its own words if it has said any."""
    notes = [note for one in (error, error.__cause__, error.__context__) for note in getattr(one, "__notes__", ())]
    return notes[0] if notes else RESUME


def _fail(message: str, hint: str | None) -> int:
    """Say what is wrong; with MEDREPORT_DEBUG also where in the code."""
    if os.environ.get("MEDREPORT_DEBUG"):
        traceback.print_exc()
    console.error(message, hint)
    let_stdout_go()
    return 2


def _quiet() -> int:
    """Whoever read our output has gone (`| head`)."""
    let_stdout_go()
    return 0


def _usage_message(error: typer.TyperException) -> str:
    """What is wrong with the command line, with a suggestion where something near exists."""
    message = " ".join(error.format_message().split())
    return re.sub(r"\.? \(Possible options: (.*)\)$", r"; did you mean \1?", message)


def _help_command(arguments: Sequence[str]) -> str:
    """The help page that fits: of the command that was typed, if it is one."""
    known = {str(command.name or getattr(command.callback, "__name__", "")).replace("_", "-")
             for command in app.registered_commands}
    typed = arguments[0] if arguments and arguments[0] in known else ""
    return f"medreport {typed} --help".replace("  ", " ")
