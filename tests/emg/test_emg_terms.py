"""The vocabulary of EMG tables: every spelling finds its name, names are written back, and nothing else is known."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from emgecg_cli.core.emg import terms, words
from emgecg_cli.core.emg.sides import split_side
from emgecg_cli.core.emg.terms import canonical, display

TABLES = {"nerve": words.NERVES, "muscle": words.MUSCLES, "site": words.SITES, "type": words.TYPES,
          "measure": words.MEASURES, "side": words.SIDES, "column": words.COLUMNS, "recruitment": words.RECRUITMENT,
          "form": words.FORMS, "other": words.OTHERS}
SPELLINGS = [(kind, line.split("|")[0].strip(), spelling.strip()) for kind, table in TABLES.items()
             for line in table.replace("\n    ", " ").strip().splitlines()
             for part in line.split("|") for spelling in part.split(";") if spelling.strip()]


@pytest.mark.parametrize("kind", terms.KINDS)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_name_is_found_again_from_how_it_is_displayed(kind: str, language: str) -> None:
    for name in terms.names(kind):
        assert canonical(kind, display(kind, name, language)) == name
        assert canonical(kind, name) == name


def test_every_spelling_finds_its_name_however_it_is_written() -> None:
    assert len(SPELLINGS) > 800
    for kind, name, spelling in SPELLINGS:
        wide = "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in spelling)
        for written in (spelling, spelling.upper(), f"  {spelling} ", f"({spelling})", wide, spelling.replace(" ", "")):
            assert canonical(kind, written) == name, (kind, written)


def test_no_spelling_stands_for_two_names() -> None:
    with pytest.raises(ValueError, match="stands for one and for two"):
        terms._parse("one | One | 一 | X\ntwo | Two | 二 | x.")
    assert not {spelling for kind, _, spelling in SPELLINGS if kind == "site"} & {
        spelling for kind, _, spelling in SPELLINGS if kind == "muscle"}


@pytest.mark.parametrize(("kind", "text", "name"), [
    ("muscle", "APE", "apb"), ("nerve", "Reroncal", "peroneal"), ("measure", "Kat", "lat"),
    ("column", "Recurit", "recruitment"), ("column", "Kat(R)", "lat_right"),
    ("column", "潜伏期(左) Lat (L)", "lat_left"),
    ("column", "速度（右）", "cv_right"), ("column", "amp_left", "amp_left"),
    ("nerve", "正中神经 Median", "median"), ("nerve", "正中", "median"), ("nerve", "N. ulnaris", "ulnar"),
    ("nerve", "Median Nerve", "median"), ("nerve", "common fibular nerve", "peroneal"),
    ("nerve", "Superficial Peroneal", "superficial_peroneal"), ("nerve", "腓浅神经", "superficial_peroneal"),
    ("muscle", "拇短展肌APB", "apb"), ("muscle", "第一背侧骨间肌 Dors.Int.I", "fdi"),
    ("muscle", "胫前肌", "tibialis_anterior"),
    ("muscle", "L5 paraspinal", "paraspinal_l5"), ("muscle", "T10脊旁肌", "paraspinal_t10"),
    ("muscle", "abductor hallucis m.", "ah"), ("site", "Ｄｉｇ Ⅲ", "digit_3"), ("site", "中指 Dig III", "digit_3"),
    ("site", "Opisthenar", "dorsum_of_hand"), ("site", "腓骨小头", "fibular_head"), ("site", "锁骨上", "erbs_point"),
    ("place", "EDB", "edb"), ("place", "腕 Wrist", "wrist"), ("type", "F波 F-wave", "f_wave"),
    ("type", "运动", "motor"),
    ("side", "左侧", "left"), ("grade", "＋＋", "2+"), ("grade", "+3", "3+"), ("grade", "(-)", "-"),
    ("recruitment", "单纯相", "single"), ("recruitment", "混合相 Mix", "mixed"),
    # what must not be known: a half that says something else, or says more
    ("nerve", "尺神经 Median", None), ("nerve", "正中神经 palmar twig", None), ("nerve", "Mediam", None),
    ("nerve", "", None),
    ("nerve", "nerve", None), ("nerve", "神经", None), ("muscle", "肌", None), ("muscle", "m", None),
    ("type", "瞬目反射", None), ("grade", "5+", None), ("grade", "3", None), ("grade", "+" * 9, None),
    ("column", "潜伏期", None), ("site", "x" * 5000, None), ("column", "Lat (L) 潜伏期(右)", None)])
def test_what_a_text_stands_for(kind: str, text: str, name: str | None) -> None:
    assert canonical(kind, text) == name


def test_further_spellings_go_before_the_vocabulary() -> None:
    extra = {terms.fold("正中N"): "median", terms.fold("Ulnar"): "radial"}
    assert canonical("nerve", "正中 n.", extra) == "median" and canonical("nerve", "ULNAR", extra) == "radial"
    assert canonical("nerve", "tibial", extra) == "tibial"


@pytest.mark.parametrize(("text", "side", "rest"), [
    ("左 指总伸肌 L Ext.Dig.Com", "left", "指总伸肌 Ext.Dig.Com"), ("L Dors.Int.I", "left", "Dors.Int.I"),
    ("R.APB", "right", "APB"), ("右侧胫前肌", "right", "胫前肌"), ("Left deltoid", "left", "deltoid"),
    ("APB (右)", "right", "APB"), ("Lt. biceps", "left", "biceps"), ("L L5 paraspinal", "left", "L5 paraspinal"),
    ("（左）三角肌", "left", "三角肌"), ("左", "left", ""),
    ("L5 paraspinal", None, "L5 paraspinal"), ("Rhomboid", None, "Rhomboid"), ("Lat.Dorsi", None, "Lat.Dorsi"),
    ("左 三角肌 R Deltoid", None, "左 三角肌 R Deltoid"), ("", None, "")])
def test_the_side_is_taken_off_a_name(text: str, side: str | None, rest: str) -> None:
    assert split_side(text) == (side, rest)


def test_a_side_before_any_muscle_in_either_language_leaves_the_muscle() -> None:
    for name in terms.names("muscle"):
        for side, heads in (("left", ("左", "左侧", "L ", "Left ")), ("right", ("右", "R.", "Rt "))):
            for head in heads:
                language = "zh" if head[0] in "左右" else "en"
                found, rest = split_side(head + display("muscle", name, language))
                assert (found, canonical("muscle", rest)) == (side, name)


def test_any_text_gives_a_name_or_none() -> None:
    rng = random.Random(5)
    alphabet = "左右LR正中神经APB Median()（）.,;:+-/|\t\n0123456789ⅢＬ\u0000\u200b\U0001f600\U00020c9f"
    for _ in range(2000):
        text = "".join(rng.choices(alphabet, k=rng.randint(0, 12)))
        for kind in terms.KINDS:
            found = canonical(kind, text)
            assert found is None or found in terms.names(kind)
        side, rest = split_side(text)
        assert side in (None, "left", "right") and isinstance(rest, str)


def test_directions_limbs_and_names_outside_the_vocabulary() -> None:
    assert [terms.abnormal_direction(measure) for measure in terms.MEASURES] == [1, -1, -1]
    limbs = [terms.limb(nerve) for nerve in ("median", "sural", "facial", "nonsense")]
    assert limbs == ["upper", "lower", "head", None]
    assert display("nerve", "未知神经", "en") == "未知神经"


def test_every_example_of_the_published_figure_is_known(shared_data: Path) -> None:
    schema = json.loads((shared_data / "ncs" / "etm17k_schema.json").read_text(encoding="utf-8"))
    for column in (*schema["emg_columns"], *schema["ncv_columns"]):
        assert canonical("column", column), column
    for text, *_ in schema["emg_rows_example"]:
        side, rest = split_side(text)
        assert side == "left" and canonical("muscle", rest)
    for row in schema["ncv_rows_example"]:
        nerve, kind, stim, rec = (text.replace("figure prints ", "").partition(" (")[0] for text in row[:4])
        assert canonical("nerve", nerve) and canonical("type", kind)
        assert canonical("site", stim) and canonical("place", rec)
