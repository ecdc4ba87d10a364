"""`medreport pages`: one image for every record, the same however it is drawn, and resumed where it stopped."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pipeline import make_store
from store_helpers import hashes

from emgecg_cli.commands import app
from emgecg_cli.core import sheets
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.sheets import SheetSettings, draw_store
from emgecg_cli.core.signals.paper.sheet import render_page
from emgecg_cli.core.store import Engine, open_store
from emgecg_cli.core.verify import finished_artefacts, verify_artefact

SETTINGS = SheetSettings(layout="6x2", dpi=60, distortions=("noise", "rotation"), seed=2)


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    return make_store(tmp_path_factory.mktemp("sheets") / "stores/synthetic", 12)


def test_a_page_for_every_record_that_is_what_render_page_draws(path, tmp_path):
    store = open_store(path)
    made = draw_store(path, tmp_path / "pages", SheetSettings(dpi=60), engine=Engine("local", 1))
    rows = [json.loads(line) for line in (made.path / "pages.jsonl").read_text().splitlines()]
    assert [row["record_id"] for row in rows] == store.column("record_id").to_list()
    for i in (0, 7):
        image = Image.open(made.path / rows[i]["file"])
        assert image.info["dpi"] == pytest.approx((60, 60), abs=0.02)
        assert (np.asarray(image.convert("RGB")) == render_page(store.signal(i), store.fs, dpi=60)).all()
    verified = verify_artefact(made.path)
    assert verified.kind == "pages" and verified.files == len(store) + 2 and not verified.damaged + verified.other
    assert draw_store(path, tmp_path / "pages", SheetSettings(dpi=60)).already_finished
    with pytest.raises(MedReportError, match=r"made with dpi 60 \(now 70\)"):
        draw_store(path, tmp_path / "pages", SheetSettings(dpi=70))


def test_a_killed_command_goes_on_and_gives_the_same_bytes(path, tmp_path, monkeypatch):
    whole = draw_store(path, tmp_path / "whole", SETTINGS, engine=Engine("local", 1)).path
    drawn: list[int] = []
    real = sheets.sheet_png

    def killed_at_the_fifth(store, index, settings):
        if len(drawn) == 5:
            raise KeyboardInterrupt
        drawn.append(index)
        return real(store, index, settings)

    monkeypatch.setattr(sheets, "sheet_png", killed_at_the_fifth)
    with pytest.raises(KeyboardInterrupt):
        draw_store(path, tmp_path / "again", SETTINGS, engine=Engine("local", 1))
    monkeypatch.setattr(sheets, "sheet_png", lambda *given: drawn.append(given[1]) or real(*given))
    with pytest.raises(MedReportError, match="seed"):
        draw_store(path, tmp_path / "again", replace(SETTINGS, seed=3))
    draw_store(path, tmp_path / "again", SETTINGS, engine=Engine("local", 1))
    assert sorted(drawn) == list(range(12)) and hashes(tmp_path / "again") == hashes(whole)


def test_the_command_draws_a_split_with_what_it_is_asked_for(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(path.parent.parent)
    assert app.run(["pages", "--split", "test", "--dpi", "60", "--distort", "all", "--header", "--workers", "1",
                    "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    rows = (Path(shown["path"]) / "pages.jsonl").read_text().splitlines()
    assert Path("pages/synthetic") in finished_artefacts() and shown["path"] == "pages/synthetic"
    assert len(rows) == shown["counts"]["records"] > 0
    assert {json.loads(row)["split"] for row in rows} == {"test"} and len(shown["distortions"]) == 5
    assert app.run(["pages", "--distort", "creaes", "--out", str(tmp_path / "x")]) == 2
    assert "did you mean 'creases'" in " ".join(capsys.readouterr().err.split())


def test_ids_that_are_no_names_of_files_stay_inside_and_apart(path):
    import polars

    ids = ["../../etc/passwd", "a/b", "a_b", "A_B", ".hidden", "ä" * 300]
    store = replace(open_store(path), _columns={"record_id": polars.Series("record_id", ids)})
    names = list(sheets._files(store, range(6)))
    assert len({name.lower() for name in names}) == 6
    assert all(name.startswith("images/000/") and name.count("/") == 2 and len(name) < 130 for name in names)
    assert not any(Path(name).name.startswith(".") for name in names)
