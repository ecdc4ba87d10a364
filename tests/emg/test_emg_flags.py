"""Faults of EMG tables reach whoever prepares them: each reason counted on stderr, in the manifest and on the card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars
import pytest
from etm_fixture import NCV_HEADER, NCV_ROWS, llm_record, matrix, record, with_ncv, write_json

from emgecg_cli.commands.app import run

SWAPPED = ["胫神经", "运动", "腘窝", "踇展肌", 60.5, None, 7.0, None, 6.2, None]
# reason -> a record that has it once
FAULTS: dict[str, dict[str, Any]] = {
    "swapped columns": with_ncv(*NCV_ROWS, SWAPPED),
    "two sides": with_ncv(*NCV_ROWS, ["右 胫神经", "运动", "踝", "踇展肌", 4.2, None, 7.0, None, None, None]),
    "implausible value": with_ncv(*NCV_ROWS, ["胫神经", "运动", "踝", "踇展肌", 150.0, None, 7.0, None, None, None]),
    "unit slip": with_ncv(*NCV_ROWS, ["胫神经", "运动", "踝", "踇展肌", 4.2, None, 7000, None, None, None]),
    "text in a number": with_ncv(*NCV_ROWS, ["胫神经", "运动", "踝", "踇展肌", "x", None, 7.0, None, None, None]),
    "unknown nerve": with_ncv(["某神经", *NCV_ROWS[0][1:]]),
    "unknown type": with_ncv([NCV_ROWS[0][0], "?", *NCV_ROWS[0][2:]]),
    "unknown site": with_ncv([*NCV_ROWS[0][:2], "某处", *NCV_ROWS[0][3:]]),
    "duplicated row": with_ncv(*NCV_ROWS, NCV_ROWS[0]), "no nerve": with_ncv(NCV_ROWS[0], ["", *NCV_ROWS[1][1:]]),
    "no side": record(NCV=[[*NCV_HEADER, "Lat"], [*NCV_ROWS[0], 3.3]]),
    "unknown muscle": record(EMG="Muscle|Fibs|PSW\nL nothing|-|-"), "no muscle": record(EMG="Muscle|Fibs|PSW\n|-|1+"),
    "unknown side": record(EMG="side|Muscle|Fibs|PSW\n?|APB|-|-"),
    "unreadable age": record(Age="?!"), "unreadable sex": record(Gender=7), "unreadable height": record(Height="x"),
    "references upside down": llm_record(tensor=[{"item": "a", "tensor": matrix()[::-1]}] * 2),
}


def prepare(root: Path, out: Path, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[str, dict[str, Any], str]:
    """What `prepare etm` says on stderr, the counts of its manifest, and its card."""
    assert run(["prepare", "etm", "--root", str(root), "--out", str(out), *more]) == 0
    counts = json.loads((out / "manifest.json").read_text(encoding="utf-8"))["counts"]
    return capsys.readouterr().err, counts, (out / "card.md").read_text(encoding="utf-8")


def test_every_flag_is_counted_by_reason_for_whoever_prepares(tmp_path: Path,
                                                              capsys: pytest.CaptureFixture[str]) -> None:
    root = write_json(tmp_path / "in" / "train.json", [*FAULTS.values(), record(ward=3)])
    said, counts, card = prepare(root, tmp_path / "store", capsys)
    place = (tmp_path / "store").as_posix()
    flagged = counts["flagged"]
    assert set(flagged) == set(FAULTS) and flagged["references upside down"] == 2 and counts["quarantined"] == {}
    for reason, n in flagged.items():
        assert f"warning: {n} flagged: {reason}; see {place}/card.md" in said
        assert f"| {reason} | {n} | 1 | 5.3 % |" in card and f"### {reason}: {n}\n" in card
    assert "60.5 and 6.2 look exchanged with cv\\_left; both kept as text" in card
    assert counts["unused_columns"] == {"ward": 1} and "| ward | 1 |" in card
    assert f"warning: columns not used: ward; see {place}/card.md" in said
    assert prepare(root, tmp_path / "store", capsys, "--json")[0].count(" flagged: ") == len(FAULTS)


def test_the_card_says_what_finds_all_of_a_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_json(tmp_path / "in" / "train.json", [FAULTS["swapped columns"]] * 30 + [record()])
    said, counts, card = prepare(root, tmp_path / "store", capsys)
    assert counts["flagged"] == {"swapped columns": 30} and "30 flagged: swapped columns" in said
    assert "| swapped columns | 30 | 30 | 97 % |" in card
    records = polars.read_parquet(tmp_path / "store" / "records.parquet")
    expression = card.split("filter records.parquet by `")[1].partition("`")[0]
    assert expression == 'flags.list.eval(element().str.starts_with("swapped columns:")).list.any()'
    hit = polars.col("flags").list.eval(polars.element().str.starts_with("swapped columns:")).list.any()
    assert records.filter(hit).height == 30


def test_a_set_without_faults_has_no_word_of_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said, counts, card = prepare(write_json(tmp_path / "in" / "train.json", [record()] * 3), tmp_path / "s", capsys)
    assert "flagged" not in said + card and "not used" not in said + card
    assert not {"flagged", "unused_columns"} & set(counts)
