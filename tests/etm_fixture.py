"""Small folders of EMG tables in the published layouts, in Chinese, from the rows of the published figures."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars

from emgecg_cli.core.artifacts import QuarantineRow
from emgecg_cli.core.datasets.emg_tables import EtmCase, read_etm
from emgecg_cli.core.emg.case import Case, values

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


def cases(root: Path, mapping: Path | None = None) -> list[EtmCase]:
    """What is read of a folder of which nothing is set aside."""
    rows = list(read_etm(root, mapping))
    assert all(isinstance(row, EtmCase) for row in rows), rows
    return rows  # type: ignore[return-value]


def numbers(case: Case | None) -> list[tuple[str, str, float]]:
    """The numbers of a case in reading order, with item and side."""
    assert case is not None
    return [(item.key, side, cell.value) for item, side, cell in values(case) if cell.value is not None]


def set_aside(root: Path) -> list[QuarantineRow]:
    """What is set aside of a folder of which something is kept."""
    rows = list(read_etm(root))
    assert [row for row in rows if isinstance(row, EtmCase)], "the good records are kept"
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
