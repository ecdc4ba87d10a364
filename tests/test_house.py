"""The house rules that can be checked: who may import whom, what stays light, that every name stands for something."""

from __future__ import annotations

import ast
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from emgecg_cli.commands import app as frame
from emgecg_cli.core import names

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "emgecg_cli"
TESTS = Path(__file__).resolve().parent

# The rooms in their order; a room may import those of earlier rows, and itself.
ROWS = [("errors", "person", "hub_models", "encoder_names"), ("pages",), ("endpoints",), ("bounded_http",), ("files",),
        ("json_lines",),
        ("artifacts",), ("schema",), ("manifest",), ("locks",), ("claims",), ("launch",),
        ("predictions", "accelerate_file"), ("names", "delimited"), ("config",), ("recipes",), ("engines",),
        ("signals", "emg"), ("reports",), ("references",), ("datasets", "downloads"), ("store",), ("evidence",),
        ("view", "sheets", "leaks", "verify"), ("view_file",), ("llm",),
        ("instructions", "perturbations", "translation"), ("models",), ("inputs",), ("training",),
        ("export", "published"), ("generation",)]
MAY_IMPORT = {room: {other for earlier in ROWS[:i] for other in earlier} | {room}
              for i, row in enumerate(ROWS) for room in row}
# Beside models, inputs, training and generation, which never see them.
MAY_IMPORT["metrics"] = MAY_IMPORT["evidence"] - {"datasets", "downloads"} | {"llm", "metrics"}
MAY_IMPORT["evaluation"] = MAY_IMPORT["metrics"] | {"evaluation", "view"}  # its page shows records as they are viewed
ALL = {room for row in ROWS for room in row} | {"metrics", "evaluation"}
MAY_IMPORT["doctor"] = ALL | {"doctor"}  # looks at everything, changes nothing
MAY_IMPORT["drafting"] = ALL | {"drafting"}  # a recording through all of it
MAY_IMPORT["studies"] = ALL | {"studies"}  # the whole pipeline in one call
HEAVY = {"torch", "transformers", "peft", "accelerate", "polars", "numpy", "wfdb", "scipy", "nltk", "sacrebleu",
         "bert_score", "rouge_score", "openai", "safetensors", "h5py", "ray", "httpx", "PIL", "jieba"}


def modules(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Every module a file imports, anywhere in it, by absolute name; `from a import b` counts as a and as a.b."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
            yield str(node.module)


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE / "core").parts[0].removesuffix(".py")


def wrong_imports(path: Path) -> set[str]:
    """The rooms a file of core imports and may not."""
    rooms = {name.split(".")[2] for name in imports(path) if name.startswith("emgecg_cli.core.")}
    known = {room for room in rooms if (PACKAGE / "core" / room).exists() or (PACKAGE / "core" / f"{room}.py").exists()}
    return known - MAY_IMPORT[room_of(path)]


@pytest.mark.parametrize("path", modules(PACKAGE / "core"), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_rooms_import_only_rooms_before_them(path):
    if room_of(path) == "__init__":
        assert not list(imports(path)) or set(imports(path)) <= {"__future__", "__future__.annotations"}
        return
    assert room_of(path) in MAY_IMPORT, "a room without a place in ROWS"
    assert not wrong_imports(path)


def test_the_order_is_seen_inside_functions_and_in_every_spelling(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    room = tmp_path / "core" / "signals"
    room.mkdir(parents=True)
    (tmp_path / "core" / "store.py").touch()
    for line in ("import emgecg_cli.core.store", "from emgecg_cli.core import store",
                 "from emgecg_cli.core.store import x", "def f():\n    from emgecg_cli.core.store import x"):
        (room / "x.py").write_text(line)
        assert wrong_imports(room / "x.py") == {"store"}, line


@pytest.mark.parametrize("path", modules(PACKAGE / "core"), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_core_neither_talks_nor_knows_the_command_line(path):
    found = set(imports(path))
    assert not {name for name in found if name.split(".")[0] in ("typer", "rich", "click")}
    assert not {name for name in found if name.startswith("emgecg_cli.commands")}
    calls = [node.func.id for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
             if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    assert not {"print", "input", "eval", "exec"} & set(calls)


@pytest.mark.parametrize("path", modules(PACKAGE / "commands"), ids=lambda path: path.name)
def test_commands_use_only_the_public_face_of_typer(path):
    found = set(imports(path))
    assert not {name for name in found if name.split(".")[0] == "click"}
    assert not {name for name in found if name.startswith("typer.") and any(part.startswith("_")
                                                                          for part in name.split("."))}


@pytest.mark.parametrize("path", modules(PACKAGE), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_pickle_no_unsafe_load(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not {name.split(".")[0] for name in imports(path)} & {"pickle", "dill", "joblib", "shelve", "marshal"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            for keyword in node.keywords:
                value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
                assert not (keyword.arg == "allow_pickle" and value is not False), f"{path}:{node.lineno}"
                assert not (keyword.arg == "trust_remote_code" and value is not False), f"{path}:{node.lineno}"
            if ast.unparse(node.func) == "torch.load":
                assert "weights_only=True" in ast.unparse(node), f"{path}:{node.lineno}"
            if isinstance(node.func, ast.Attribute) and node.func.attr == "from_pretrained":
                given = {keyword.arg for keyword in node.keywords}
                # Left out, transformers asks the user, and takes a missing folder for a name on the hub.
                needed = {"local_files_only" if "Peft" in ast.dump(node.func) else "trust_remote_code"}
                assert needed <= given, f"{path}:{node.lineno} lacks {needed - given}"


@pytest.mark.parametrize("path", [*modules(PACKAGE), *modules(TESTS)], ids=lambda path: path.name)
def test_no_file_is_too_long(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= (300 if PACKAGE in path.parents else 400)


@pytest.mark.parametrize("path", [path for path in modules(PACKAGE) if path.stat().st_size],
                         ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_file_says_what_it_is_for(path):
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["train", "--help"], ["prepare", "--help"],
                                       ["perturb", "--help"], ["score", "--help"], ["generate", "--help"]])
def test_help_imports_nothing_heavy(arguments):
    code = ("import sys; from emgecg_cli.commands.app import run\n"
            f"status = run({arguments!r}); print('status', status); print('modules', *sys.modules)")
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    *_, status, loaded = result.stdout.splitlines()
    assert status == "status 0", result.stderr
    assert not HEAVY & set(loaded.split())


def test_the_tables_of_names_import_nothing_heavy():
    code = "import sys; from emgecg_cli.core import config, manifest, names; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(result.stdout.split())


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in names._TABLES for name in names.choices(kind)])
def test_every_name_stands_for_something(kind, name):
    assert names.resolve(kind, name) is not None


# The commands

COMMANDS = {str(command.name or getattr(command.callback, "__name__", "?")): command.callback
            for command in frame.app.registered_commands}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_it_does_and_so_does_every_option(name):
    function = COMMANDS[name]
    assert inspect.getdoc(function)
    help_page = subprocess.run([sys.executable, "-m", "emgecg_cli", name.replace("_", "-"), "--help"], timeout=60,
                               capture_output=True, text=True, env=os.environ | {"COLUMNS": "200", "TERM": "dumb"})
    assert help_page.returncode == 0, help_page.stderr
    for parameter, annotation in inspect.get_annotations(function, eval_str=True).items():
        if parameter == "return" or annotation is typer.Context:
            continue
        infos = [info for info in getattr(annotation, "__metadata__", ()) if getattr(info, "help", None)]
        assert infos, f"{name}: {parameter} has no help"
        for flag in getattr(infos[0], "param_decls", None) or ():
            if flag.startswith("--"):
                assert flag.split("/")[0] in help_page.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_takes_an_option_it_ignores(name):
    function = COMMANDS[name]
    tree = ast.parse(inspect.getsource(function))
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    given = tree.body[0].args
    own = {node.arg for node in (*given.args, *given.kwonlyargs, *filter(None, [given.kwarg]))}
    assert "locals" in used or not own - used


def test_console_script_and_module_are_the_same_program():
    import tomllib

    script = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]["medreport"]
    typed = [[sys.executable, "-m", "emgecg_cli", "--version"],
             [sys.executable, "-c", "import sys; from {} import {} as run; sys.argv = ['medreport', '--version']; run()"
              .format(*script.split(":"))]]
    said = {subprocess.run(line, capture_output=True, text=True, check=True).stdout for line in typed}
    assert len(said) == 1 and isinstance(frame.app, typer.Typer)


def test_ctrl_c_while_the_commands_are_imported_is_one_line():
    code = ("import sys, builtins\nreal = builtins.__import__\n"
            "def fail(name, *rest, **more):\n"
            "    if name == 'emgecg_cli.commands.app': raise KeyboardInterrupt\n"
            "    return real(name, *rest, **more)\n"
            "from emgecg_cli.__main__ import main\nbuiltins.__import__ = fail\nmain()")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 130 and done.stderr == "error: interrupted\n" and not done.stdout


# What a store holds is asked for here alone: a manifest's kind is looked up, and so is what a source says it yields.
SEAMS = {"core/store/payloads/__init__.py", "core/store/prepare.py"}
PAYLOADS = {"Recordings", "OpenRecordings", "Tables", "OpenTables", "Examination", "ReadExamination", "Signals"}


def asks_what_is_held(tree: ast.AST) -> Iterator[int]:
    """The lines that ask what a store holds: by the name of its kind, by a function that says so, or by a class."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "modality":
            yield node.lineno
        if isinstance(node, ast.Call) and re.fullmatch(r"(.*\.)?_?(is|has|of|holds)_tables", ast.unparse(node.func)):
            yield node.lineno
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Eq | ast.NotEq):
            sides = [node.left, *node.comparators]
            if any(isinstance(side, ast.Constant) and side.value in ("tables", "signals") for side in sides):
                yield node.lineno
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".get") and any(
                isinstance(word, ast.Constant) and word.value == "modality" for word in node.args):
            yield node.lineno
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance":
            classes = {getattr(part, "attr", None) or getattr(part, "id", None) for part in ast.walk(node.args[1])}
            if classes & PAYLOADS:
                yield node.lineno


@pytest.mark.parametrize("line", [
    "store.modality", "if x.kind.name == 'tables': pass", "manifest.details.get('modality')", "is_tables(store)",
    "has_tables(store)", "isinstance(shown, Tables)", "isinstance(found, records.Examination)", "'signals' != kind"])
def test_every_spelling_of_the_question_is_seen(line):
    assert list(asks_what_is_held(ast.parse(line)))


def test_what_a_store_holds_is_asked_at_one_place():
    found = {path.relative_to(PACKAGE).as_posix(): sorted({*asks_what_is_held(ast.parse(path.read_text("utf-8")))})
             for path in modules(PACKAGE)}
    assert {name: lines for name, lines in found.items() if lines and name not in SEAMS} == {}
    assert {name: len(found[name]) for name in SEAMS} == {"core/store/payloads/__init__.py": 1,
                                                         "core/store/prepare.py": 1}


def test_contributing_has_a_line_for_every_room():
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rooms = {path.parent for path in modules(PACKAGE) if path.name == "__init__.py"} - {PACKAGE, PACKAGE / "core"}
    alone = {path for path in (PACKAGE / "core").glob("*.py") if path.name != "__init__.py"}
    wanted = {f"{path.relative_to(PACKAGE).as_posix()}/" for path in rooms}
    wanted |= {path.relative_to(PACKAGE).as_posix() for path in alone}
    named = set(re.findall(r"`((?:commands|core|data)[\w/]*(?:/|\.py))`", page.split("## The rooms")[1].split("##")[0]))
    assert wanted <= named and named - wanted <= {"data/"}


def test_no_text_points_to_a_file_that_is_not_there():
    texts = [*modules(PACKAGE), *modules(TESTS), *(ROOT / "docs").glob("*.md"), ROOT / "README.md",
             ROOT / "CONTRIBUTING.md", ROOT / "Makefile"]
    named = re.compile(r"(?<![\w/.])((?:tests|docs|benchmarks|tools|commands|core|emgecg_cli)/[\w/-]+\.(?:py|md|sh))")
    lost = {(path.name, name) for path in texts for name in named.findall(path.read_text(encoding="utf-8"))
            if not (ROOT / name).exists() and not (PACKAGE / name).exists()}
    assert not lost
