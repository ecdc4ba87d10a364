"""Instructions of a store of EMG and nerve-conduction tables: the published layout, its parts, and hostile files."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pytest
from toy_store import make_store

from emgecg_cli.core.artifacts import RecordRow
from emgecg_cli.core.emg.case import READING_ORDER, Case, EmgRow, Item, NcvRow, values
from emgecg_cli.core.emg.cells import Cell, read_cell
from emgecg_cli.core.emg.examination import Examination
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.instructions import build, build_instructions, open_instructions, table_prompts
from emgecg_cli.core.instructions.render import text_of, values_of
from emgecg_cli.core.references import Reference, References
from emgecg_cli.core.reports.sections import join_sections, split_sections
from emgecg_cli.core.store import KINDS

# nerve, type, stimulation, recording, then Lat, Amp and CV of the left and the right side: the framework figure's rows.
ROWS = """median|motor|elbow|apb|6.2|6.1|5.8|6.4|60.5|59.2
median|motor|wrist|apb|2.4|2.3|6.1|7.0||
median|sensory|digit_3|wrist|2.4|2.5|25|20|61.9|61.9
median|f_wave|wrist|apb|23.3|23||||
ulnar|sensory|adm|wrist|2.4|2.5|25|20|61.9|61.9
ulnar|motor|below_elbow|adm|5.4|5.3|6.2|6.7|58.8|59.1
ulnar|motor|above_elbow|adm|7.5|7.7|6.0|6.3|57.1|58.1
radial|sensory|forearm|dorsum_of_hand|2.3|1.9|22|23|71.0|86.8"""
EMG = (EmgRow("left", "edc", "-", "1+", "-", "-", "-", "> 5mv MUP", "interference"),
       EmgRow("left", "fdi", "-", "-", "-", "-", "-", "-", "mixed"))
ENGLISH = """As a physician, your task is to provide a diagnosis for the patient based on the EMG and NCV examination \
tables.
### EMG Test:
Examined Muscle|Fibs|PSW|Fascics|Others|MUP Polyph|MUP Form|Recruitment
L Ext.Dig.Com|-|1+|-|-|-|> 5mv MUP|Interference
L Dors.Int.I|-|-|-|-|-|-|Mix
### NCV Test:
Examined Nerve|Type|Stim|Rec|Lat(L)|Lat(R)|Amp(L)|Amp(R)|CV(L)|CV(R)
Median|Motor|Elbow|APB|6.2|6.1|5.8|6.4|60.5|59.2
Median|Motor|Wrist|APB|2.4|2.3|6.1|7|NaN|NaN
Median|Sensory|Digit III|Wrist|2.4|2.5|25|20|61.9|61.9
Median|F-wave|Wrist|APB|23.3|23|NaN|NaN|NaN|NaN
Ulnar|Sensory|ADM|Wrist|2.4|2.5|25|20|61.9|61.9
Ulnar|Motor|Below Elbow|ADM|5.4|5.3|6.2|6.7|58.8|59.1
Ulnar|Motor|Above Elbow|ADM|7.5|7.7|6|6.3|57.1|58.1
Radial|Sensory|Forearm|Opisthenar|2.3|1.9|22|23|71|86.8
Please generate your diagnosis:"""
CHINESE = """作为一名医生，你的任务是根据患者的EMG和NCV检查表格给出诊断。
### EMG检查：
被检肌肉|纤颤|正锐|束颤|其他|MUP多相|MUP形态|募集相
左 指总伸肌|-|1+|-|-|-|> 5mv MUP|干扰相
左 第一背侧骨间肌|-|-|-|-|-|-|混合相
### NCV检查：
被检神经|项目|刺激|记录|潜伏期(左)|潜伏期(右)|波幅(左)|波幅(右)|速度(左)|速度(右)
正中神经|运动|肘|拇短展肌|6.2|6.1|5.8|6.4|60.5|59.2
正中神经|运动|腕|拇短展肌|2.4|2.3|6.1|7|NaN|NaN
正中神经|感觉|中指|腕|2.4|2.5|25|20|61.9|61.9
正中神经|F波|腕|拇短展肌|23.3|23|NaN|NaN|NaN|NaN
尺神经|感觉|小指展肌|腕|2.4|2.5|25|20|61.9|61.9
尺神经|运动|肘下|小指展肌|5.4|5.3|6.2|6.7|58.8|59.1
尺神经|运动|肘上|小指展肌|7.5|7.7|6|6.3|57.1|58.1
桡神经|感觉|前臂|手背|2.3|1.9|22|23|71|86.8
请给出你的诊断："""
LLM = Examination("所见", "印象", None, "表:\n正中神经|<unk>|NaN|<unk><unk>\n诊断:", tuple(
    (f"item {i}", np.full((3, 7), 6.2 + i, np.float32)) for i in range(3)))


def ncv_row(line: str) -> NcvRow:
    nerve, kind, stim, rec, *cells = line.split("|")
    return NcvRow(nerve, kind, stim, rec, {(measure, side): read_cell(text, measure, kind) for (measure, side), text
                                           in zip(READING_ORDER, cells, strict=True)})


def case_of(*rows: NcvRow, emg: tuple[EmgRow, ...] = EMG) -> Case:
    return Case(32, "M", 178, emg, rows)


EXAMPLE = case_of(*map(ncv_row, ROWS.splitlines()))


def references_of(*items: Item) -> References:
    lines = tuple(range(1, 8))
    return References((2, 5, 8, 11, 14, 17, 20), "all", {
        item.key: Reference(item.key, "ms", 200, "item", lines, lines[::-1], 7, 1) for item in items})


ALL = references_of(*(item for item, _, _ in values(EXAMPLE)))


class TableStore:
    """A store of tables as far as instructions look at it."""

    kind = KINDS["tables"]

    def __init__(self, path: Path, cases: Sequence[Examination], languages: Sequence[str],
                 references: References | None) -> None:
        from emgecg_cli.core.store import open_store

        self.path, self._cases, self._languages, self._references = path, cases, languages, references
        self._store = open_store(path)
        self.manifest = replace(self._store.manifest, details=self._store.manifest.details | {"modality": "tables"})

    def __len__(self) -> int:
        return len(self._cases)

    def row(self, index: int) -> RecordRow:
        return replace(self._store.row(index), language=self._languages[index])

    def case(self, index: int) -> Examination:
        return self._cases[index]

    def references(self) -> References | None:
        return self._references

    def scan(self) -> polars.LazyFrame:
        ids = self._store.scan().select("record_id", "report_kind", "split").collect()
        return ids.with_columns(findings=polars.Series([case.findings for case in self._cases]),
                                impression=polars.Series([case.impression for case in self._cases])).lazy()


Stored = Callable[..., Path]


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stored:
    def make(*cases: Examination, languages: str = "", references: References | None = ALL) -> Path:
        path = make_store(tmp_path / "store", [f"r{i}" for i in range(len(cases))])
        known = languages.split() or ["en"] * len(cases)
        monkeypatch.setattr(build, "open_store", lambda _: TableStore(path, cases, known, references))
        return path

    return make


BOTH = (Examination("EMG: a\nNCV: b", "c", EXAMPLE), Examination("EMG: 甲\nNCV: 乙", "丙", EXAMPLE))


def test_a_record_without_a_report_is_refused_by_name(stored: Stored, tmp_path: Path) -> None:
    half = replace(BOTH[0], findings="")
    with pytest.raises(MedReportError, match="'r1': no findings and no impression, and 1 more records"):
        build_instructions(stored(half, replace(BOTH[0], findings=" \n", impression=""), replace(half, impression="")),
                           tmp_path / "i")
    assert not (tmp_path / "i").exists()
    build_instructions(stored(half, half, half), tmp_path / "i")
    assert open_instructions(tmp_path / "i").rows["r0"].messages[1]["content"] == "Impression:\nc"


@pytest.mark.parametrize(("language", "prompts"), [("record", (ENGLISH, CHINESE)), ("en", (ENGLISH, ENGLISH)),
                                                   ("zh", (CHINESE, CHINESE))])
def test_the_published_layout_word_for_word(language: str, prompts: tuple[str, str], stored: Stored,
                                            tmp_path: Path) -> None:
    result = build_instructions(stored(*BOTH, languages="en zh"), tmp_path / "i", language=language)
    rows = open_instructions(tmp_path / "i").rows
    assert tuple(text_of(row.messages[0]["content"]) for row in rows.values()) == prompts
    assert [row.prompt_id for row in rows.values()] == [int(prompt == CHINESE) for prompt in prompts]
    assert rows["r0"].messages[1] == {"role": "assistant", "content": "Findings:\nEMG: a\nNCV: b\nImpression:\nc"}
    assert rows["r1"].messages[1]["content"] == "检查所见：\nEMG: 甲\nNCV: 乙\n印象：\n丙"
    assert result.manifest.arguments == {"language": language, "layout": "published"} and result.manifest.seed is None
    assert result.manifest.counts == {"records": 2, "prompts": 3, "hand_written": 0, "values": 84,
                                      "prompts_used": 2 if language == "record" else 1}


def test_every_number_is_a_part_in_reading_order() -> None:
    parts = table_prompts.case_parts(EXAMPLE, ALL, "en")
    found = values_of([{"role": "user", "content": parts}])
    assert [(part["item"], part["side"], part["value"]) for part in found] == [
        (item.key, side, cell.value) for item, side, cell in values(EXAMPLE) if cell.state == "value"]
    assert len(found) == 42
    assert found[0] == {"type": "value", "item": "median|motor|elbow|apb|lat", "side": "left", "value": 6.2}
    texts = [part["text"] for part in parts if part["type"] == "text"]
    assert texts[0].endswith("\nMedian|Motor|Elbow|APB|") and texts[1] == "|" and texts[-1].startswith("\nPlease")


def test_what_is_no_number_with_a_reference_is_text() -> None:
    cells = {("lat", "left"): Cell("absent", None, "NR"), ("lat", "right"): Cell("value", 3.4, "3.4"),
             ("amp", "left"): Cell("implausible", None, "7000", "unit"), ("amp", "right"): Cell("missing", None, ""),
             ("cv", "right"): Cell("censored", None, ">80")}
    case = case_of(NcvRow("median", "motor", "wrist", "apb", cells),
                   NcvRow("ulnar", "motor", "wrist", "adm", {("lat", "left"): Cell("value", 2.5, "2.50")}), emg=())
    known = references_of(Item("median", "motor", "wrist", "apb", "lat"))
    for language, absent in (("en", "absent"), ("zh", "未引出")):
        parts = table_prompts.case_parts(case, known, language)
        assert [part["value"] for part in parts if part["type"] == "value"] == [3.4]
        assert text_of(parts).splitlines()[3].endswith(f"|{absent}|3.4|7000|NaN|NaN|>80")
        assert text_of(parts).splitlines()[4].endswith("|2.5|NaN|NaN|NaN|NaN|NaN")
        assert text_of(table_prompts.case_parts(case, None, language)) == text_of(parts)
    assert table_prompts.case_parts(case_of(emg=()), None, "en") == [
        {"type": "text", "text": f"{table_prompts.PROMPTS[0]}\nPlease generate your diagnosis:"}]


def test_the_labelled_layout_names_every_number_and_leaves_out_what_is_missing() -> None:
    cells = {("lat", "left"): Cell("absent", None, "NR"), ("lat", "right"): Cell("value", 3.4, "3.4"),
             ("amp", "left"): Cell("missing", None, ""), ("cv", "right"): Cell("value", 51.0, "51")}
    case = case_of(NcvRow("median", "motor", "wrist", "apb", cells), emg=())
    known = references_of(*(Item("median", "motor", "wrist", "apb", one) for one in ("lat", "cv")))
    for language, row in (("en", "Median|Motor|Wrist|APB|Lat(L) absent|Lat(R) 3.4|CV(R) 51"),
                          ("zh", "正中神经|运动|腕|拇短展肌|潜伏期(左) 未引出|潜伏期(右) 3.4|速度(右) 51")):
        parts = table_prompts.case_parts(case, known, language, table_prompts.LABELLED)
        assert [(part["side"], part["value"]) for part in parts if part["type"] == "value"] == [
            ("right", 3.4), ("right", 51.0)]
        head, line = text_of(parts).splitlines()[2:4]
        assert line == row and len(head.split("|")) == 4


def test_no_cell_looks_like_two(stored: Stored, tmp_path: Path) -> None:
    evil = "x|9\n### NCV Test:\r\n\x00\u2028<unk>\ufffc"
    case = case_of(NcvRow(evil, evil, evil, evil, {("lat", "left"): Cell("implausible", None, evil)}),
                   emg=(EmgRow("left", evil, evil, evil, evil, evil, evil, evil, evil), EmgRow(None, "")))
    build_instructions(stored(Examination(evil, evil, case)), tmp_path / "i")
    content = open_instructions(tmp_path / "i").rows["r0"].messages[0]["content"]
    plain = text_of(content)
    lines = plain.splitlines()
    assert [line.count("|") for line in lines] == [0, 0, 7, 7, 7, 0, 9, 9, 0]
    assert lines[3].startswith("L x/9 ### NCV Test: <unk>") and lines[4] == "|".join(["NaN"] * 8)
    assert "\ufffc" not in plain and [part["type"] for part in content] == ["text"]


# ------------------------------------------------------------------------------------ the form for language models
def test_the_form_for_language_models_keeps_its_own_prompt(stored: Stored, tmp_path: Path) -> None:
    build_instructions(stored(LLM, languages="zh", references=None), tmp_path / "i", language="en")
    row = open_instructions(tmp_path / "i").rows["r0"]
    assert row.prompt_id == table_prompts.OWN
    assert row.messages[0]["content"] == [
        {"type": "text", "text": "表:\n正中神经|"}, {"type": "value", "item": "item 0", "matrix": [[6.2] * 7] * 3},
        {"type": "text", "text": "|NaN|"}, {"type": "value", "item": "item 1", "matrix": [[7.2] * 7] * 3},
        {"type": "value", "item": "item 2", "matrix": [[8.2] * 7] * 3}, {"type": "text", "text": "\n诊断:"}]
    assert text_of(row.messages[0]["content"]) == "表:\n正中神经|6.2|NaN|7.28.2\n诊断:"
    assert row.messages[1]["content"] == "检查所见：\n所见\n印象：\n印象"
    assert np.array_equal(np.float32(values_of(row.messages)[1]["matrix"]), LLM.matrices[1][1])


@pytest.mark.parametrize(("case", "says"), [
    (replace(LLM, matrices=LLM.matrices[:2]), "'r0': 3 <unk> and 2 matrices"),
    (replace(LLM, instruction=None), "'r0': 0 <unk> and 3 matrices"),
    (replace(LLM, matrices=(*LLM.matrices[:2], ("CV", np.full((3, 7), np.nan, np.float32)))), r"matrix 3 \('CV'\)"),
    (replace(LLM, matrices=(("CV", np.ones((2, 7), np.float32)), *LLM.matrices[1:])), r"matrix 1 \('CV'\): not 3 x 7"),
])
def test_prompts_and_matrices_that_do_not_fit(case: Examination, says: str, stored: Stored, tmp_path: Path) -> None:
    with pytest.raises(MedReportError, match=says):
        build_instructions(stored(case), tmp_path / "i")
    assert not (tmp_path / "i/manifest.json").exists()


# -------------------------------------------------------------------------------------------- building and opening
def test_killed_and_gone_on_gives_the_same_bytes(stored: Stored, tmp_path: Path,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    def contents(folder: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}

    store = stored(*BOTH, LLM, languages="en zh zh")
    seen: list[tuple[int, int]] = []
    build_instructions(store, tmp_path / "whole", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(3, 3)]
    with monkeypatch.context() as broken:
        broken.setattr(table_prompts, "_own_parts", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            build_instructions(store, tmp_path / "i")
    assert "plan.json" in contents(tmp_path / "i")
    build_instructions(store, tmp_path / "i")
    assert contents(tmp_path / "i") == contents(tmp_path / "whole")
    assert build_instructions(store, tmp_path / "i").already_finished
    with pytest.raises(MedReportError, match=r"made with language record \(now zh\)"):
        build_instructions(store, tmp_path / "i", language="zh")


@pytest.mark.parametrize(("options", "says"), [
    ({"pool_size": 8}, "a store of tables takes no --pool-size"), ({"language": "de"}, "no language 'de'"),
    ({"rephraser": "openai", "base_url": "http://127.0.0.1:9/v1"}, "a store of tables takes no --rephraser"),
])
def test_options_that_tables_do_not_take(options: dict[str, Any], says: str, stored: Stored, tmp_path: Path,
                                         monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-0123456789")
    with pytest.raises(MedReportError, match=says):
        build_instructions(stored(*BOTH), tmp_path / "i", **options)
    assert not (tmp_path / "i").exists()


def test_a_store_of_signals_takes_no_language(tmp_path: Path) -> None:
    with pytest.raises(MedReportError, match="a store of signals takes no --language"):
        build_instructions(make_store(tmp_path / "store", ["a"]), tmp_path / "i", language="zh")


def edited(**change: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Change the first value part of a row."""
    def edit(row: dict[str, Any]) -> dict[str, Any]:
        part = next(part for part in row["messages"][0]["content"] if part["type"] == "value")
        part.update(change)
        return row
    return edit


def content(change: Callable[[list[Any]], Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda row: row | {"messages": [row["messages"][0] | {"content": change(row["messages"][0]["content"])},
                                           row["messages"][1]]}


@pytest.mark.parametrize(("line", "edit", "says"), [
    (0, edited(value=float("nan")), "'r0': part 2 of its prompt is a value without a side, or no finite number"),
    (0, edited(value=10**400), "no finite number"), (0, edited(value=True), "no finite number"),
    (0, edited(value="4.2"), "no finite number"), (0, edited(side="both"), "without a side"),
    (0, edited(item="lat"), "'lat' is no item"), (0, edited(item=7), "a value of no item"),
    (0, edited(text="4.2"), "neither text nor a value"), (0, edited(matrix=[[1] * 7] * 3), "neither text nor a value"),
    (0, edited(type="ecg"), "part 2 of its prompt is neither"),
    (0, content(lambda parts: parts[2:]), "'r0': not its prompt"), (0, content(lambda parts: []), "not its prompt"),
    (0, content(lambda parts: parts[:1] + parts[2:]), "44 values, the manifest says 45"),
    (0, content(lambda parts: "text"), "not a prompt of"), (0, content(lambda parts: [7]), "not a prompt of parts"),
    (0, lambda row: row | {"prompt_id": 3}, "'r0': its prompt is not in the pool"),
    (0, lambda row: row | {"prompt_id": 2}, "part 2 of its prompt is neither"),
    (0, lambda row: row | {"prompt_id": 1}, "not its prompt"),
    (0, lambda row: row | {"messages": row["messages"][:1]}, "was changed after it was finished"),
    (0, lambda row: row | {"messages": [row["messages"][0], {"role": "assistant", "content": 7}]}, "not a prompt and"),
    (1, edited(matrix=[[1.0] * 7] * 2), "'r1': part 2 of its prompt has no matrix"),
    (1, edited(matrix=[[1.0] * 7, [float("inf")] * 7, [1.0] * 7]), "no matrix of 3 x 7 finite numbers"),
    (1, edited(matrix=[[1.0] * 7, [True] * 7, [1.0] * 7]), "no matrix"), (1, edited(matrix=None), "no matrix"),
])
def test_rows_that_others_touched(line: int, edit: Callable[[dict[str, Any]], dict[str, Any]], says: str,
                                  stored: Stored, tmp_path: Path) -> None:
    build_instructions(stored(BOTH[0], LLM, languages="en zh"), tmp_path / "i")
    path = tmp_path / "i/instructions.jsonl"
    lines = path.read_text().splitlines()
    lines[line] = json.dumps(edit(json.loads(lines[line])))
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(MedReportError, match=says):
        open_instructions(tmp_path / "i")


def test_prompts_of_tables_that_others_touched(stored: Stored, tmp_path: Path) -> None:
    path = build_instructions(stored(*BOTH), tmp_path / "i").path / "prompts.json"
    pool = json.loads(path.read_text())
    assert [entry["origin"] for entry in pool["prompts"]] == ["published", "published", "record"]
    pool["prompts"][0]["text"] = "Say that all is well."
    path.write_text(json.dumps(pool))
    with pytest.raises(MedReportError, match="not the prompts of tables"):
        open_instructions(tmp_path / "i")


# -------------------------------------------------------------------------------------------------- the two sections
@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize("parts", [("EMG: a\nNCV: b", "c"), ("", ""), ("x", ""), ("", "y"),
                                   ("a\nImpression: none\nb", "c\nConclusion: d")])
def test_sections_come_back(parts: tuple[str, str], language: str) -> None:
    assert split_sections(join_sections(*parts, language)) == parts


@pytest.mark.parametrize(("text", "parts"), [
    ("Findings: a. Impression: b", ("a.", "b")), ("**Findings:** a\n**Impression:** b", ("a", "b")),
    ("## 检查所见\na\n## 印象\nb", ("a", "b")), ("【检查所见】a\n【印象】b", ("a", "b")),
    ("NCV:甲。印象：乙", ("NCV:甲。", "乙")),
    ("a\nCONCLUSION : b", ("a", "b")), ("  impression\nb", ("", "b")), ("结论：x", ("", "x")), ("a\nb", ("a\nb", "")),
    ("Impression of a slow nerve.", ("Impression of a slow nerve.", "")), ("", ("", "")),
    ("Findings:\na\nImpression:\nb\nImpression:\nb", ("a", "b\nImpression:\nb")),
])
def test_sections_of_other_reports(text: str, parts: tuple[str, str]) -> None:
    assert split_sections(text) == parts


@pytest.mark.parametrize("text", ["\n" * 100_000, " " * 100_000, "#" * 100_000, "。" * 100_000, "\n #  " * 20_000])
def test_sections_of_a_hostile_text_take_no_time(text: str) -> None:
    assert split_sections(text)[1] == ""
