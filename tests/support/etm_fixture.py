"""Small folders of EMG tables in the published layouts, in Chinese, from the rows of the published figures."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars

from emgecg_cli.core.artifacts import QuarantineRow
from emgecg_cli.core.datasets.emg_tables import RawExamination, read_etm
from emgecg_cli.core.datasets.synthetic_emg import SimulatedCase, draw_case
from emgecg_cli.core.emg import terms
from emgecg_cli.core.emg.case import READING_ORDER, Case, EmgRow, Item, NcvRow, values
from emgecg_cli.core.references import References, fit
from emgecg_cli.core.reports.emg.healthy import is_healthy

EMG_HEADER = ["被检肌肉 Examined Muscle", "纤颤 Fibs", "正锐 PSW", "束颤 Fascics", "其他 Others", "MUP多相 MUP Polyph",
              "MUP形态 MUP Form", "募集相 Recruit"]
NCV_HEADER = ["被检神经 Examined Nerve", "项目 Type", "刺激 Stim", "记录 Rec", "潜伏期(左) Lat (L)",
              "潜伏期(右) Lat (R)", "波幅(左) Amp (L)", "波幅(右) Amp (R)", "速度(左) CV (L)", "速度(右) CV (R)"]
EMG_ROWS = [["左 指总伸肌 L Ext.Dig.Com", "-", "1+", "-", "-", "-", "> 5mv MUP", "干扰相 Interference"],
            ["左 第一背侧骨间肌 L Dors.Int.I", "-", "-", "-", "-", "-", "-", "混合相 Mix"]]
NCV_ROWS = [["正中神经 Median", "运动 Motor", "腕 Wrist", "拇短展肌 APE", 4.2, None, 7.0, None, None, None],
            ["正中神经 Median", "运动 Motor", "肘 Elbow", "拇短展肌 APB", 8.4, 7.9, 6.6, 6.8, 55.1, 57.0],
            ["尺神经 Ulnar", "感觉 Sensory", "小指 Dig V", "腕 Wrist", 3.4, 3.8, 15.0, 14.2, 46.2, 44.8],
            ["腓总神经 Reroncal", "F波 F-wave", "踝 Ankle", "趾短伸肌 EDB", 50.5, None, None, None, None, None]]
FINDINGS = "EMG: 被检肌未见明显肌源性或神经源性损害肌电改变。\nNCV: 左侧正中神经运动传导潜伏期正常上限，余正常范围。"
IMPRESSION = "左侧正中神经轻度损害，CTS可考虑。"


def record(**given: Any) -> dict[str, Any]:
    """One record of ETM-17k with tables as lists of lists under their headings; `given` replaces fields."""
    return {"Age": 32, "Gender": "Male", "Height": 178, "EMG": [EMG_HEADER, *EMG_ROWS],
            "NCV": [NCV_HEADER, *NCV_ROWS], "Findings": FINDINGS, "Impression": IMPRESSION} | given


def with_ncv(*rows: Sequence[Any]) -> dict[str, Any]:
    """A record with these rows of the nerve-conduction table."""
    return record(NCV=[NCV_HEADER, *rows])


def as_groups(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(header, row, strict=True)) for row in rows]


def as_text(header: Sequence[str], rows: Sequence[Sequence[Any]], mark: str = "|") -> str:
    """The table as the framework figure prints it: a line a row, NaN for an empty cell."""
    return "\n".join(mark.join("NaN" if cell is None else str(cell) for cell in row) for row in (header, *rows))


def matrix(value: float = 4.2) -> list[list[float]]:
    """Seven upper references, the value seven times, seven lower ones."""
    return [[6.5, 6.2, 6.0, 5.8, 5.6, 5.5, 5.4], [value] * 7, [2.9, 3.1, 3.2, 3.3, 3.4, 3.5, 3.6]]


def llm_record(**given: Any) -> dict[str, Any]:
    """One record of ETM-17k-LLM with two numbers."""
    instruction = ("As a physician, your task is to provide a diagnosis.\n### NCV Test:\nExamined Nerve|Type|Stim|Rec|"
                   "Lat(L)|Lat(R)|Amp(L)|Amp(R)|CV(L)|CV(R)\n正中神经|运动|腕|拇短展肌|<unk>|NaN|<unk>|NaN|NaN|NaN\n"
                   "Please generate your diagnosis:")
    return {"instruction": instruction, "output": f"Findings: {FINDINGS}\nImpression: {IMPRESSION}",
            "tensor": [{"item": "正中神经运动潜伏期", "tensor": matrix()},
                       {"item": "波幅", "tensor": matrix(4.9)}]} | given


def write_json(path: Path, records: Sequence[Mapping[str, Any]]) -> Path:
    """Write a JSON array; returns the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(list(records), ensure_ascii=False), encoding="utf-8")
    return path.parent


def write_jsonl(path: Path, records: Sequence[Mapping[str, Any]]) -> Path:
    """Write JSON lines; returns the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in records), encoding="utf-8")
    return path.parent


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]], encoding: str = "utf-8") -> Path:
    """Write rows under the keys of the first one; returns the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding=encoding, newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path.parent


def write_parquet(path: Path, records: Sequence[Mapping[str, Any]]) -> Path:
    """Write Parquet, the cells of tables as text; returns the folder."""
    def texts(value: Any) -> Any:
        if isinstance(value, list):
            return [texts(one) for one in value]
        return None if value is None else str(value)

    path.parent.mkdir(parents=True, exist_ok=True)
    polars.DataFrame([{key: texts(value) if key in ("EMG", "NCV") else value for key, value in one.items()}
                      for one in records]).write_parquet(path)
    return path.parent


def write_hospital(root: Path, language: str = "zh") -> Path:
    """The CSV form with two cases; returns `root`."""
    write_csv(root / "cases.csv", [
        {"record_id": "h1", "subject_id": "p1", "split": "train", "age": 54, "sex": "女", "height_cm": 162,
         "language": language, "findings": FINDINGS, "impression": IMPRESSION},
        {"record_id": "h2", "subject_id": "p2", "split": "", "age": "", "sex": "M", "height_cm": "", "language": "",
         "findings": "NCV normal.", "impression": "Normal study."}])
    write_csv(root / "emg.csv", [
        {"record_id": "h1", "side": "left", "muscle": "APB", "fibs": "-", "psw": "2+", "fascics": "-", "others": "-",
         "polyph": "-", "form": "large", "recruitment": "reduced"}])
    blank = {"lat_right": "", "amp_right": "", "cv_right": ""}
    return write_csv(root / "ncv.csv", [
        {"record_id": "h2", "nerve": "ulnar", "type": "motor", "stim": "wrist", "rec": "ADM", "lat_left": "2.6",
         "amp_left": "9.1", "cv_left": "", **blank},
        {"record_id": "h1", "nerve": "median", "type": "motor", "stim": "wrist", "rec": "APB", "lat_left": "5.6",
         "amp_left": "3.2", "cv_left": "", **blank},
        {"record_id": "h1", "nerve": "median", "type": "sensory", "stim": "digit III", "rec": "wrist",
         "lat_left": "未引出", "amp_left": "0", "cv_left": "", **blank}])


def cases(root: Path, mapping: Path | None = None) -> list[RawExamination]:
    """What is read of a folder of which nothing is set aside."""
    rows = list(read_etm(root, mapping))
    assert all(isinstance(row, RawExamination) for row in rows), rows
    return rows  # type: ignore[return-value]


def numbers(case: Case | None) -> list[tuple[str, str, float]]:
    """The numbers of a case in reading order, with item and side."""
    assert case is not None
    return [(item.key, side, cell.value) for item, side, cell in values(case) if cell.value is not None]


def set_aside(root: Path) -> list[QuarantineRow]:
    """What is set aside of a folder of which something is kept."""
    rows = list(read_etm(root))
    assert [row for row in rows if isinstance(row, RawExamination)], "the good records are kept"
    return [row for row in rows if isinstance(row, QuarantineRow)]


GROUPS = {"Age": 32, "Gender": "Male", "Height": 178}


def csv_record() -> dict[str, Any]:
    return record(EMG=as_text(EMG_HEADER, EMG_ROWS), NCV=json.dumps([NCV_HEADER, *NCV_ROWS]))


WRITERS: dict[str, Callable[[Path], Path]] = {
    "json": lambda root: write_json(root / "train.json", [record(), record()]),
    "jsonl": lambda root: write_jsonl(root / "train.jsonl", [record(), record()]),
    "json lines named json": lambda root: write_jsonl(root / "train.json", [record(), record()]),
    "one object of splits": lambda root: dump(root / "all.json", {"train": [record(), record()]}),
    "csv": lambda root: write_csv(root / "train.csv", [csv_record(), csv_record()]),
    "csv in gb18030": lambda root: write_csv(root / "train.csv", [csv_record(), csv_record()], "gb18030"),
    "csv for a spreadsheet": lambda root: write_csv(root / "train.csv", [csv_record(), csv_record()], "utf-8-sig"),
    "parquet": lambda root: write_parquet(root / "train-00000-of-00001.parquet", [record(), record()]),
    "folder": lambda root: write_parquet(root / "train" / "data.parquet", [record(), record()]).parent,
    "basic group": lambda root: write_json(root / "train.json", 2 * [
        {"basic": GROUPS, "outputs": {"Findings": FINDINGS, "Impression": IMPRESSION},
         **{key: value for key, value in record().items() if key in ("EMG", "NCV")}}])}


def dump(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    return path.parent


# ------------------------------------------------------------------------ simulated examinations in the published forms
def published(drawn: SimulatedCase) -> dict[str, Any]:
    """A simulated examination as a record of ETM-17k."""
    emg, ncv = _tables(drawn.case, lambda row, measure, side: None)
    return {"Age": drawn.case.age, "Gender": {"M": "Male", "F": "Female"}[str(drawn.case.sex)],
            "Height": drawn.case.height, "EMG": [EMG_HEADER, *emg], "NCV": [NCV_HEADER, *ncv],
            "Findings": drawn.findings, "Impression": drawn.impression}


def published_llm(drawn: SimulatedCase, references: References) -> dict[str, Any]:
    """The same as a record of ETM-17k-LLM: each number that has references is a `<unk>` with its matrix."""
    tensors: list[dict[str, Any]] = []

    def place(row: NcvRow, measure: str, side: str) -> str | None:
        limits, value = references.of(Item(row.nerve, row.type, row.stim, row.rec, measure)), row.cells[measure, side]
        if limits is None or value.value is None:
            return None
        name = "".join(terms.display(kind, word, "zh") for kind, word in (
            ("nerve", row.nerve), ("type", row.type), ("place", row.stim), ("measure", measure)))
        tensors.append({"item": name, "tensor": [[*limits.upper], [value.value] * 7, [*limits.lower]]})
        return "<unk>"

    emg, ncv = _tables(drawn.case, place)
    instruction = "\n".join(["作为一名医生，你的任务是根据患者的EMG和NCV检查表格给出诊断。",
                             "### EMG Test:", as_text(EMG_HEADER, emg), "### NCV Test:", as_text(NCV_HEADER, ncv),
                             "请给出你的诊断："])
    return {"instruction": instruction, "tensor": tensors,
            "output": f"Findings: {drawn.findings}\nImpression: {drawn.impression}"}


def write_download(root: Path, sizes: Mapping[str, tuple[int, int]], seed: int = 5) -> Path:
    """Both published forms of the same simulated examinations in Chinese, in the folders a download leaves; returns
    `root`. `sizes` says for each split how many are healthy by their reports, and how many are not."""
    drawn = (draw_case(seed, number, "zh") for number in itertools.count())
    waiting: dict[bool, list[SimulatedCase]] = {True: [], False: []}
    splits: dict[str, list[SimulatedCase]] = {}
    for split, wanted in sizes.items():
        while any(len(waiting[kind]) < n for kind, n in zip((True, False), wanted, strict=True)):
            case = next(drawn)
            waiting[_is_healthy(case)].append(case)
        splits[split] = [waiting[kind].pop() for kind, n in zip((True, False), wanted, strict=True) for _ in range(n)]
    references = fit((item, cell.value, None) for case in splits["train"] if _is_healthy(case)
                     for item, _, cell in values(case.case) if cell.value is not None)
    for split, cases_of in splits.items():
        write_jsonl(root / "ETM-17k" / f"{split}.jsonl", [published(case) for case in cases_of])
        write_jsonl(root / "ETM-17k-LLM" / f"{split}.jsonl", [published_llm(case, references) for case in cases_of])
    return root


def _is_healthy(drawn: SimulatedCase) -> bool:
    return is_healthy(drawn.findings, drawn.impression, drawn.case.emg)


def _tables(case: Case, place: Callable[[NcvRow, str, str], str | None]) -> tuple[list[list[Any]], list[list[Any]]]:
    """The rows of both tables in the published columns, with what `place` puts instead of a number."""
    ncv = []
    for row in case.ncv:
        cells = [place(row, measure, side) or _number(row, measure, side) if (measure, side) in row.cells else None
                 for measure, side in READING_ORDER]
        ncv.append([_bilingual("nerve", row.nerve), _bilingual("type", row.type), _bilingual("place", row.stim),
                    _bilingual("place", row.rec), *cells])
    return [_muscle_row(row) for row in case.emg], ncv


def _muscle_row(row: EmgRow) -> list[str]:
    names = [terms.display(kind, name, language) for language in ("zh", "en")
             for kind, name in (("side", str(row.side)), ("muscle", row.muscle))]
    return [" ".join(names), row.fibs, row.psw, row.fascics, _bilingual("other", row.others), row.polyph,
            _bilingual("form", row.form), _bilingual("recruitment", row.recruitment)]


def _number(row: NcvRow, measure: str, side: str) -> float | str | None:
    cell = row.cells[measure, side]
    return cell.value if cell.state == "value" else "未引出" if cell.state == "absent" else None


def _bilingual(kind: str, name: str) -> str:
    chinese, english = (terms.display(kind, name, language) for language in ("zh", "en"))
    return chinese if chinese == english else f"{chinese} {english}"
