"""The frame around the commands: registration, help, errors, stdout and stderr, discovery, completion."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer

from emgecg_cli import __version__
from emgecg_cli.commands import app as frame
from emgecg_cli.commands import console, options
from emgecg_cli.commands.completion import SHELLS, script
from emgecg_cli.core import names
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.manifest import Manifest, write_manifest

COMMANDS = ["prepare", "build-instructions", "pretrain", "train", "generate", "export", "perturb", "score", "report",
            "import-weights", "probe", "certify", "robustness", "benchmark", "view", "pages", "leaks", "verify",
            "references", "doctor", "demo", "completion"]
COMPLETIONS = Path(__file__).resolve().parents[2] / "completions"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run_as(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run a command line in an app whose only work is the given function; returns status, stdout, stderr."""
    def run(work: Callable[[], object], arguments: tuple[str, ...] = ("work",)) -> tuple[int, str, str]:
        app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        app.callback()(lambda: None)

        @app.command("work")
        def do_work() -> None:
            work()

        monkeypatch.setattr(frame, "app", app)
        status = frame.run(arguments)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def medreport(*arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """The real program, as typed."""
    return subprocess.run([sys.executable, "-m", "emgecg_cli", *arguments], capture_output=True, text=True, cwd=cwd,
                          env=os.environ | environment, timeout=60)


def fails_with(error: BaseException) -> Callable[[], object]:
    def work() -> None:
        raise error

    return work


# the program

def test_commands_are_listed_in_pipeline_order():
    result = medreport("--help", COLUMNS="200")
    listed = [word for line in result.stdout.splitlines() for word in line.split()[1:2]]
    assert result.returncode == 0 and [word for word in listed if word in COMMANDS] == COMMANDS


def test_without_arguments_it_shows_the_help():
    bare = medreport()
    assert bare.returncode == 0 and bare.stdout == medreport("--help").stdout and not bare.stderr


def test_version():
    result = medreport("--version")
    assert (result.returncode, result.stdout, result.stderr) == (0, f"medreport {__version__}\n", "")


@pytest.mark.parametrize(("arguments", "message", "hint"), [
    (["trian"], "did you mean 'train'", "medreport --help"),
    (["perturb", "--sede", "1"], "did you mean --level, --seed", "medreport perturb --help"),
    (["perturb"], "--kind", "medreport perturb --help"),
    (["perturb", "--kind", "gaussian", "--seed", "-1"], "--seed", "medreport perturb --help"),
    (["perturb", "--kind", "gaussian", "--snr-db", "loud"], "--snr-db", "medreport perturb --help"),
    (["perturb", "--kind", "gausian", "--snr-db", "3"], "did you mean 'gaussian'?", "gaussian, meit-proportion"),
    (["perturb", "--kind", "gaussian", "--snr-db", "3"], "no store under stores/", "medreport prepare"),
    (["perturb", "nowhere", "--kind", "gaussian", "--snr-db", "3"], "nowhere: no such store", "medreport prepare"),
    (["completion", "tcsh"], "no shell 'tcsh'", "bash, zsh, fish"),
])
def test_what_was_typed_wrong_gets_one_line_and_a_hint(here, arguments, message, hint, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["medreport", *arguments])
    assert frame.run(arguments) == 2
    captured = capsys.readouterr()
    error, advice = captured.err.splitlines()
    assert not captured.out and error.startswith("error: ") and advice.startswith("hint: ")
    assert message.lower() in error.lower() and hint in advice
    assert not list(here.iterdir())


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", [["--help"], ["completion", "bash"]])
def test_a_closed_pipe_is_no_error(arguments, unbuffered):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as stdout:
        result = subprocess.run([sys.executable, "-m", "emgecg_cli", *arguments], stdout=stdout, timeout=60,
                                stderr=subprocess.PIPE, env=os.environ | {"PYTHONUNBUFFERED": unbuffered})
    assert (result.returncode, result.stderr) == (0, b"")


def test_openmp_threads_do_not_spin_unless_told():
    code = ("import os, sys; sys.argv = ['medreport', '--version']; from emgecg_cli.commands.app import main\n"
            "try: main()\nexcept SystemExit: print(os.environ['OMP_WAIT_POLICY'], os.environ['GOMP_SPINCOUNT'])")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_"))}
    for given, expected in (({}, "PASSIVE 0"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE 0")):
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment | given)
        assert result.stdout.splitlines()[-1] == expected


# the error boundary

@pytest.mark.parametrize(("error", "status", "said"), [
    (MedReportError("file x, line 3: bad", "mend it"), 2, ["error: file x, line 3: bad", "hint: mend it"]),
    (MedReportError("no\nhint\there"), 2, ["error: no hint here"]),
    (KeyboardInterrupt(), 130, ["error: interrupted", f"hint: {frame.RESUME}"]),
    (OSError(errno.ENOSPC, "No space left on device", "stores/x"), 2,
     ["error: stores/x: No space left on device", f"hint: free some space, then {frame.RESUME}"]),
    (PermissionError(errno.EACCES, "Permission denied", "a.csv"), 2,
     ["error: a.csv: Permission denied", "hint: choose a place you may read and write"]),
    (OSError("odd"), 2, ["error: odd"]),
    (KeyError("lead"), 1, ["error: this is a bug in medreport: KeyError: 'lead'; "
                           "run again with MEDREPORT_DEBUG=1 to see where"]),
    (ValueError("two\nlines"), 1, ["error: this is a bug in medreport: ValueError: two lines; "
                                   "run again with MEDREPORT_DEBUG=1 to see where"]),
    (typer.BadParameter("not a number"), 2,
     ["error: Invalid value: not a number", "hint: see `medreport work --help`"]),
    (typer.Exit(3), 3, []),
])
def test_every_error_ends_in_one_line(run_as, error, status, said):
    assert run_as(fails_with(error)) == (status, "", "".join(f"{line}\n" for line in said))


@pytest.mark.parametrize("error", [MedReportError("message"), KeyError("lead")])
def test_debug_shows_where(run_as, monkeypatch, error):
    monkeypatch.setenv("MEDREPORT_DEBUG", "1")
    _, _, stderr = run_as(fails_with(error))
    assert "Traceback" in stderr and "in work" in stderr and "\nerror: " in stderr


def test_success_is_silent(run_as):
    assert run_as(lambda: print("data")) == (0, "data\n", "")


# stdout and stderr

def test_a_table_that_is_piped_is_plain_aligned_text(capsys):
    console.table(["score", "value"], [["bleu-4", "0.213"], ["x[bold]", None]], title="not data")
    assert capsys.readouterr() == ("score    value\nbleu-4   0.213\nx[bold]\n", "")


def test_a_table_on_a_terminal_keeps_every_text(capsys, monkeypatch):
    monkeypatch.setattr(console, "is_terminal", lambda stream: True)
    console.table(["score", "[red]"], [["[bold]x", 1.5]], title="[i]t")
    shown = capsys.readouterr().out
    assert all(text in shown for text in ("[i]t", "[red]", "[bold]x", "1.5"))


def test_json_is_json_whatever_is_in_it(capsys):
    @dataclass
    class Result:
        path: Path
        value: float
        tags: tuple[str, ...]

    console.print_json({"result": Result(Path("a/b"), float("nan"), ("ü",)), 3: {"b", "a"}})
    out = capsys.readouterr().out
    assert json.loads(out) == {"result": {"path": "a/b", "value": None, "tags": ["ü"]}, "3": ["a", "b"]} and "ü" in out


def test_progress_says_nothing_where_nobody_watches(capsys):
    with console.progress("train") as progress:
        progress(1, 10, loss=0.5)
    assert capsys.readouterr() == ("", "")


def test_progress_on_a_terminal_goes_to_stderr_and_leaves_nothing(capsys, monkeypatch):
    monkeypatch.setattr(console, "is_terminal", lambda stream: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    with console.progress("train [a]") as progress:
        for done in (5, 10):
            progress(done, 10, loss=0.52341, data_wait="4 %")
    captured = capsys.readouterr()
    assert not captured.out and "loss 0.5234" in captured.err and "data wait 4 %" in captured.err
    assert "train [a]" in captured.err


def test_talk_counts_only_what_this_run_did():
    assert console._talk(2.0, 100, "records", {"loss": 0.25}) == "50 records/s  loss 0.25"
    assert console._talk(0.0, 0, "records", {}) == ""


# discovery

def make(path: Path, kind: str, command: str = "prepare toy") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix:
        path.touch()
    write_manifest(path, Manifest(kind, command, {}, counts={"records": 0},
                                  details={"dataset": "toy", "fs": 100, "sig_len": 4}))


@pytest.mark.parametrize(("kind", "path"), [("store", "stores/a"), ("instructions", "instructions/a"),
                                            ("run", "runs/a"), ("predictions", "predictions/a.jsonl")])
def test_the_only_one_is_found_and_said(here, capsys, kind, path):
    with pytest.raises(MedReportError, match=r"no .* under") as error:
        options.find_one(kind)
    assert "medreport " in error.value.hint
    make(Path(path), kind)
    assert options.find_one(kind) == Path(path)
    assert capsys.readouterr() == ("", f"using {path}\n")


def test_several_are_listed_with_the_next_command(here, monkeypatch):
    make(Path("instructions/a b"), "instructions")
    make(Path("instructions/c"), "instructions")
    monkeypatch.setattr(sys, "argv", ["/bin/medreport", "train", "--backbone", "tiny"])
    with pytest.raises(MedReportError, match="several instructions: instructions/a b, instructions/c") as error:
        options.find_one("instructions", "--instructions")
    assert error.value.hint == "name one: `medreport train --backbone tiny --instructions 'instructions/a b'`"


def test_unfinished_ones_are_not_found(here):
    Path("runs/half").mkdir(parents=True)
    Path("runs/.hidden").mkdir()
    with pytest.raises(MedReportError, match=r"no finished run under runs/, only runs/half$") as error:
        options.find_one("run")
    assert "again" in error.value.hint


def test_a_perturbed_store_is_never_found_only_named(here):
    make(Path("stores/a-gaussian-10"), "store", "perturb")
    with pytest.raises(MedReportError, match="only perturbed stores"):
        options.find_one("store")
    make(Path("stores/a"), "store")
    assert options.find_one("store") == Path("stores/a")


# completion

def test_completion_scripts_are_the_generated_ones(tmp_path):
    subprocess.run([sys.executable, "-m", "emgecg_cli.commands.completion", str(tmp_path)], check=True, timeout=60)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        path.name: path.read_text() for path in COMPLETIONS.iterdir()}, "run `make completions`"


@pytest.mark.parametrize(("shell", "file"), SHELLS.items())
def test_the_command_prints_the_same_script(shell, file):
    assert medreport("completion", shell).stdout == (COMPLETIONS / file).read_text() == script(shell)


def complete(*words: str) -> list[str]:
    result = medreport(_MEDREPORT_COMPLETE="complete_bash", COMP_WORDS=" ".join(["medreport", *words]),
                       COMP_CWORD=str(len(words)))
    assert result.returncode == 0 and not result.stderr
    return result.stdout.split()


def test_tab_completes_commands_options_and_names():
    assert complete("") == COMMANDS
    assert complete("perturb", "--kind", "") == names.choices("perturbation")
    assert complete("perturb", "--kind", "g") == ["gaussian", "gaussian-ratio", "gain"]
    assert complete("perturb", "--suite", "") == ["robustness"]
    assert complete("perturb", "--s") == ["--suite", "--snr-db", "--split", "--seed"]
    assert complete("completion", "") == list(SHELLS)


@pytest.mark.parametrize(("typed", "status"), [("medreport per", 0), ("medreport perturb ./", 1)])
def test_fish_is_told_when_to_complete_files(typed, status):
    result = medreport(_MEDREPORT_COMPLETE="complete_fish", _TYPER_COMPLETE_FISH_ACTION="is-args",
                       _TYPER_COMPLETE_ARGS=typed)
    assert (result.returncode, result.stderr) == (status, "")


@pytest.mark.parametrize("kind", ["backbone", "dataset", "metric", "encoder", "fusion", "rephraser"])
def test_names_complete_from_the_tables(kind):
    known = list(names.BACKBONES) if kind == "backbone" else names.choices(kind)
    assert options.complete(kind)("") == known
    assert options.complete(kind)(known[-1]) == [known[-1]] and options.complete(kind)("no such") == []


@pytest.mark.parametrize(("shell", "check"), [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")])
def test_the_shell_can_read_its_script(shell, check):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    file = str(COMPLETIONS / SHELLS[shell])
    result = subprocess.run([shell, check, file], capture_output=True, text=True, timeout=30)
    assert (result.returncode, result.stderr) == (0, "")
