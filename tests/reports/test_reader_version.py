"""The reader's version: a number and a hash of what it reads with, and nothing that leaves every reading as it is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from emg_sentences import CHINESE, ENGLISH

from emgecg_cli.core.emg import words
from emgecg_cli.core.manifest import json_hash
from emgecg_cli.core.reports.emg import reader_version as reader
from emgecg_cli.core.reports.emg import statement_words
from emgecg_cli.core.reports.emg.reader_version import reader_version
from emgecg_cli.core.reports.emg.statements_read import read_statements

# What the sentences of `emg_sentences` are read as. Where this fails, reports are read otherwise than before: raise
# `reader.VERSION` unless only words, patterns or sentences were changed, and put the new hash here.
READ = "5e4f386d4181121d"


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    reader_version.cache_clear()
    yield
    reader_version.cache_clear()


def test_it_is_a_number_and_a_hash_that_no_order_in_memory_changes() -> None:
    assert re.fullmatch(rf"{reader.VERSION}@[0-9a-f]{{12}}", reader_version())
    code = "from emgecg_cli.core.reports.emg.reader_version import reader_version; print(reader_version())"
    for seed in ("1", "2"):
        told = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": seed}, check=True,
                              capture_output=True, text=True)
        assert told.stdout.strip() == reader_version()


def test_comments_and_line_breaks_do_not_change_it() -> None:
    for module in reader._MODULES:
        again = ModuleType(module.__name__)
        sys.modules[again.__name__], kept = again, module  # dataclasses look their module up
        try:
            source = Path(str(module.__file__)).read_text(encoding="utf-8")
            exec(compile(f"# a comment\n\n{source}\n# another\n", "again", "exec", dont_inherit=True), vars(again))
        finally:
            sys.modules[again.__name__] = kept
        assert reader._constants(again) == reader._constants(module), module.__name__


@pytest.mark.parametrize(("module", "name", "value"), [
    (words, "NERVES", words.NERVES + "\nnew | new nerve | 新神经 |"),
    (statement_words, "_NO_ZH", statement_words._NO_ZH + "|x"), (reader, "VERSION", reader.VERSION + 1)])
def test_words_patterns_and_the_number_change_it(monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str,
                                                 value: object) -> None:
    before = reader_version()
    monkeypatch.setattr(module, name, value)
    reader_version.cache_clear()
    assert reader_version() != before


def test_headings_of_tables_do_not_change_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before = reader_version()
    monkeypatch.setattr(words, "COLUMNS", "")
    reader_version.cache_clear()
    assert reader_version() == before


def test_what_is_read_is_what_this_version_reads() -> None:
    found = []
    for text, _ in (*CHINESE, *ENGLISH):
        read = read_statements(text)
        found.append([sorted(map(str, part)) for part in (read.abnormal, read.needle, read.normal,
                                                          read.normal_muscles)])
    assert json_hash(found)[:16] == READ
