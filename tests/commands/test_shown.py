"""What a user sees: tables within a terminal's width, texts from outside that steer nothing, paths in any locale."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import polars
import pytest
from ptbxl_fixture import twelve_leads, write_record
from store_helpers import prepare

from emgecg_cli.commands import console
from emgecg_cli.commands.app import run
from emgecg_cli.core.datasets import open_dataset
from emgecg_cli.core.evaluation.page import PageExample, write_page
from emgecg_cli.core.pages.printable import json_text, one_line, steerless
from emgecg_cli.core.store import open_store

WIDTHS = (120, 80, 60, 40, 24)
INTERVAL = "{:.3f} [{:.3f}, {:.3f}]"
# clears the screen, sets the title, both in 7 and in 8 bits; deletes; turns the direction; ends a line
NASTY = "\x1b[2J\x1b]0;title\x07\x9b31m\x7f\u202egnp.exe\u2066x\u2028y"
STEERING = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Print a table to a terminal of a width; returns its lines."""
    def show(width: int, *table: object) -> list[str]:
        monkeypatch.setattr(console, "is_terminal", lambda stream: True)
        monkeypatch.setenv("COLUMNS", str(width))
        console.table(*table)
        return capsys.readouterr().out.splitlines()

    return show


def scores() -> tuple[list[str], list[list[object]]]:
    columns = ["score", "model", "most frequent train report", "random train report"]
    rows = [[f"BLEU-{i}", *(INTERVAL.format(i / 7, i / 8, i / 6) for _ in range(3))] for i in range(1, 5)]
    return columns, [*rows, ["BERTScore", "not computed", "-", None]]


@pytest.mark.parametrize("width", WIDTHS)
def test_no_number_and_no_interval_of_a_table_is_split(width: int, terminal) -> None:
    columns, rows = scores()
    shown = terminal(width, columns, rows)
    assert all(len(line) <= width for line in shown)
    text = "\n".join(shown)
    for row in rows[:4]:
        for cell in row[1:]:
            assert text.count(str(cell)) >= 3, "an interval stands in one line"
    assert "not computed" in " ".join(text.split()) and "BERTScore" in text
    for name in columns[1:]:
        assert all(word in text for word in name.split())


def test_wide_tables_are_a_grid_and_narrow_ones_a_paragraph_for_each_row(terminal) -> None:
    wide, narrow = terminal(120, *scores()), terminal(60, *scores())
    assert wide[0].split()[0] == "score" and set(wide[1]) == {"─"} and len(wide) == 7
    at = [row.index("[") for row in wide[2:6]]
    assert len(set(at)) == 1, "numbers are set right"
    assert narrow[0] == "BLEU-1" and narrow[1].split() == ["model", "0.143", "[0.125,", "0.167]"] and narrow[4] == ""


def test_a_row_whose_first_cell_is_empty_is_headed_by_the_next(terminal) -> None:
    shown = terminal(24, ["", "what", "to mend it"], [["disk", "/", "-"], ["", "GPU", "pip-install-torch-cu128"]])
    assert shown == ["disk", "  what        /", "  to mend it  -", "", "GPU", "  to mend it",
                     "    pip-install-torch-cu128"]


@pytest.mark.parametrize("width", WIDTHS)
def test_texts_are_wrapped_between_their_words(width: int, terminal) -> None:
    path, evidence = "stores/ptb-xl-gaussian-10:00017", "correlation 0.998 (median of 12 leads, 10.0 s), 24 ms apart"
    shown = terminal(width, ["kind", "record", "n", "evidence"],
                     [["near-identical recording", path, "1,234,567", evidence], ["心电图" * 4, path, "12", "-3.5 %"]])
    words = set(" ".join(shown).split())
    assert {path, "1,234,567", "0.998", "10.0", "心电图" * 4} <= words
    assert "-3.5 %" in "\n".join(shown)
    if width >= 40:
        from rich.cells import cell_len

        assert all(cell_len(line) <= width for line in shown)


def test_a_table_of_texts_is_as_narrow_as_its_words_and_the_widest_gives_way(terminal) -> None:
    shown = terminal(40, ["a", "b"], [["one two three four five six seven eight", "1.25"], ["x", "2"]])
    assert set(shown[1]) == {"─"} and [line.split()[-1] for line in shown if "." in line] == ["1.25"]
    assert all(len(line) <= 40 for line in shown) and len(shown) == 5


def test_a_table_is_cleaned_where_it_is_printed(terminal, monkeypatch: pytest.MonkeyPatch,
                                               capsys: pytest.CaptureFixture[str]) -> None:
    shown = "".join(terminal(200, [f"re{NASTY}cord"], [[f"id{NASTY}"]]))
    assert not STEERING.search(shown) and "gnp.exe" in shown
    monkeypatch.setattr(console, "is_terminal", lambda stream: False)
    console.table(["record", "n"], [[f"id{NASTY}", "1"], ["b\tc\u00a0d", 2]], title=NASTY)
    out = capsys.readouterr().out
    assert not STEERING.search(out) and len(out.splitlines()) == 3 and "b c d " in out
    console.note(f"x{NASTY}")
    console.error(f"x{NASTY}", NASTY)
    assert not STEERING.search(capsys.readouterr().err)


def test_what_scripts_need_stays_and_json_keeps_every_character() -> None:
    persian = "می\u200cخواهم"
    assert one_line(persian) == persian and one_line("क्\u200dष é 心 ½") == "क्\u200dष é 心 ½"
    assert steerless("a\nb\tc" + persian) == "a\nb\tc" + persian
    text = json_text({"id": NASTY + persian + "\udcff"})
    assert not STEERING.search(text) and json.loads(text) == {"id": NASTY + persian + "\udcff"}


@pytest.fixture
def nasty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store whose ids, reports, codes and patients hold what a terminal obeys; train and test share recordings."""
    monkeypatch.chdir(tmp_path)
    names = [f"r{i}\x1b[31m\u202e\x9b" for i in range(4)]
    for name in names:
        write_record(tmp_path / "set" / "plain", twelve_leads(1, 100), 100)
        for ending in (".hea", ".dat"):
            (tmp_path / "set" / f"{name}{ending}").write_bytes((tmp_path / "set" / f"plain{ending}").read_bytes())
    rows = [{"record": name, "report": f"Sinus {NASTY} {i}", "subject_id": f"p{i // 2}{NASTY}", "codes": f"A{NASTY}",
             "split": ("train", "train", "test", "test")[i]} for i, name in enumerate(names)]
    polars.DataFrame(rows).write_csv("r.csv")
    prepare(open_dataset("wfdb", 0, root=tmp_path / "set", reports=tmp_path / "r.csv"), tmp_path / "stores" / "s",
            clean="none")
    return tmp_path / "stores" / "s"


def test_nothing_of_a_store_steers_the_terminal_or_a_page(nasty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = open_store(nasty).row(0).record_id
    for line in (["leaks", "stores/s"], ["leaks", "stores/s", "--json"], ["view", "stores/s", "--index", "0"],
                 ["view", "stores/s", "--index", "0", "--json"], ["view", "stores/s", "--index", "0", "--out", "-"],
                 ["view", "stores/s", first + "x"], ["prepare", "wfdb", "--root", "set", "--reports", "r.csv"],
                 ["view", f"no{NASTY}"]):
        assert run(line) in (0, 1, 2)
        shown = capsys.readouterr()
        assert shown.out + shown.err and not STEERING.search(shown.out + shown.err), line
    for name in ("card.md", "card.html"):
        assert not STEERING.search((nasty / name).read_text())
    write_page(Path("page.html"), examples=[PageExample(first, None, 100, f"a {NASTY}", {"model": f"b {NASTY}"})],
               scores={"systems": [], "notes": [NASTY]})
    assert not STEERING.search(Path("page.html").read_text())


def in_c_locale(*arguments: str | bytes, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "NO_COLOR": "1"}
    return subprocess.run([sys.executable, "-m", "emgecg_cli", *arguments], cwd=cwd, env=environment, timeout=120,
                          capture_output=True, encoding="utf-8", errors="replace")


def test_a_path_with_an_umlaut_is_a_path_in_a_strict_c_locale(tmp_path: Path) -> None:
    for i in range(3):
        write_record(tmp_path / "Prüfung" / f"ä{i}", twelve_leads(i, 100), 100)
    (tmp_path / "Berichte-ö.csv").write_text("record,report\n" + "".join(f"ä{i},Größe {i}.\n" for i in range(3)),
                                             encoding="utf-8")
    done = in_c_locale("prepare", "wfdb", "--root", "Prüfung", "--reports", "Berichte-ö.csv", "--out", "stores/Größe",
                       cwd=tmp_path)
    assert done.returncode == 0 and "stores/Größe" in done.stdout, done.stderr
    store = open_store(tmp_path / "stores" / "Größe")
    assert store.column("record_id").to_list() == ["ä0", "ä1", "ä2"] and store.row(0).report == "größe 0."
    assert "ä1" in in_c_locale("view", "stores/Größe", "ä1", cwd=tmp_path).stdout


def test_a_name_that_is_no_utf8_is_named_as_that(tmp_path: Path) -> None:
    write_record(tmp_path / "set" / "a", twelve_leads(1, 100), 100)
    name = os.fsdecode(b"Berichte-\xf6.csv")
    (tmp_path / name).write_text("record,report\na,x\n")
    done = in_c_locale("prepare", "wfdb", "--root", "set", "--reports", os.fsencode(name), cwd=tmp_path)
    assert done.returncode == 2 and "a name that is not UTF-8" in done.stderr and "bug" not in done.stderr
