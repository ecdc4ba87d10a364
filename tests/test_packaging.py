"""What is released: the site, the wheel and the source archive hold what they should, and one version is known."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

from emgecg_cli import __version__

ROOT = Path(__file__).resolve().parents[1]


def test_the_version_is_one_that_the_changelog_knows() -> None:
    assert re.search(rf"^## \[{re.escape(__version__)}\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)


def test_every_page_of_docs_is_in_the_site() -> None:
    listed: list[str] = []

    def walk(node: object) -> None:
        if isinstance(node, str):
            listed.append(node)
        elif isinstance(node, list):
            for one in node:
                walk(one)
        elif isinstance(node, dict):
            walk(list(node.values()))

    walk(yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"])
    assert sorted(listed) == sorted(path.relative_to(ROOT / "docs").as_posix() for path in ROOT.glob("docs/**/*.md"))


def test_the_demo_needs_no_extra() -> None:
    """What `make demo` installs is the project alone."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert "demo: .venv/installed" in makefile and "install -q -e .\n" in makefile
    assert {"ray", "tracking", "qlora", "docs", "dev"} <= extras.keys()


@pytest.mark.long
def test_the_site_builds_without_a_warning_or_a_broken_link(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="the site needs pip install 'medreport[docs]'")
    done = subprocess.run([sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(tmp_path)], cwd=ROOT,
                          env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True)
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr
    assert "emgecg_cli.api.measure" in (tmp_path / "api.html").read_text("utf-8")
    assert (tmp_path / "search/search_index.json").is_file()
    pages = "".join(path.read_text("utf-8") for path in tmp_path.glob("*.html"))
    assert not re.search(r'(?:src|rel="stylesheet" href)="https?://', pages)  # nothing is loaded from elsewhere


@pytest.mark.long
def test_wheel_and_source_archive_hold_what_they_should(tmp_path: Path) -> None:
    kept = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, kept.split("\0")):
        target = tmp_path / "tree" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)
    code = ("from setuptools import build_meta as made; import sys; out = sys.argv[1]; made.build_sdist(out); "
            "made.build_wheel(out)")
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=tmp_path / "tree", check=True, capture_output=True)
    wheel, = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        said = archive.read(next(name for name in names if name.endswith("METADATA"))).decode()
    assert [name.split("/share/")[1] for name in names if "/share/" in name] == [
        "bash-completion/completions/medreport.bash", "fish/vendor_completions.d/medreport.fish",
        "zsh/site-functions/_medreport"]
    assert "emgecg_cli/py.typed" in names and not [name for name in names if name.startswith("tests/")]
    assert f"Version: {__version__}" in said and "Project-URL:" in said and said.count("Classifier:") > 5
    source, = tmp_path.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        held = {name.split("/", 1)[-1] for name in archive.getnames()}
    assert {"docs/index.md", "tests/test_packaging.py", "completions/_medreport", "mkdocs.yml", "CHANGELOG.md"} <= held
