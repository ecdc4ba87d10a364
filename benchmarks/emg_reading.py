"""How well a small model reads EMG tables: values that know their item, the paper's encoder, plain numbers, controls.

    python benchmarks/emg_reading.py [--folder DIR] [--cells item none …] [--seeds 0 1 2] [--records 2000]
                                     [--stage1-steps 4000] [--epochs 10] [--table] [--smallest]

One cell is one way to show values and one seed: trained on simulated cases (`--recipe emgllm --backbone tiny`, the
table in words, 80/10/10), generated and scored on the test split. Its result is a file of its own under
`DIR/results`; a cell that has one is not trained again, and one that was killed goes on from its last checkpoint, so
that the script may be stopped at any moment and run again. `--table` prints what there is. Beside F1 of the whole
statement stand those with one of its parts forgiven, which say what is got wrong, and the nerves alone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from emgecg_cli.core.artifacts import PredictionRow, read_rows
from emgecg_cli.core.config import GenerateConfig, PrepareConfig
from emgecg_cli.core.datasets import open_dataset
from emgecg_cli.core.evaluation.baselines.random_report import BASELINE as RANDOM
from emgecg_cli.core.evaluation.score import score_rows
from emgecg_cli.core.evidence import Evidence
from emgecg_cli.core.evidence.tables import called_abnormal
from emgecg_cli.core.files import write_atomically
from emgecg_cli.core.generation import generate_reports
from emgecg_cli.core.instructions.build import build_instructions
from emgecg_cli.core.instructions.table_prompts import LABELLED
from emgecg_cli.core.metrics.clinical.statements import read_findings
from emgecg_cli.core.recipes import resolve_train_config
from emgecg_cli.core.reports.emg.statements import Statement, compare
from emgecg_cli.core.store import open_store, prepare_store
from emgecg_cli.core.training.run import train

CELLS: dict[str, dict[str, Any]] = {
    "item": {"value_identity": "item"},
    "none": {"value_identity": "none"},
    "text": {"values": "text"},
    "rules": {"values": "rules"},
    "random references": {"value_identity": "item", "random_references": True},
    "no stage 1": {"value_identity": "item", "stage1_steps": 0},
    "frozen encoder": {"value_identity": "item", "freeze_encoder": True},
}
COMPARED = ("item", "none", "text")  # the others are controls, and come last
FORGIVEN: dict[str, dict[str, Any]] = {
    "whole": {}, "side": {"side": None}, "nerve": {"nerve": ""}, "type": {"type": None}, "measure": {"measure": ""},
    "direction": {"direction": ""}, "all but the nerve": {"side": None, "type": None, "measure": "", "direction": ""},
}
SHOWN = ("statements-F1", "statements-precision", "statements-recall", "contradictions")


def main() -> None:
    """Measure the cells that are not there yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("emg-reading"))
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=list(CELLS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--records", type=int, default=2000)
    parser.add_argument("--stage1-steps", type=int, default=4000)
    parser.add_argument("--epochs", type=float, default=10.0)
    parser.add_argument("--table", action="store_true", help="print the results there are, and measure nothing")
    parser.add_argument("--smallest", action="store_true", help="as little as runs through it all: no measurement")
    given = parser.parse_args()
    if given.smallest:
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            _measure(Path(folder), [("item", 0), ("text", 0)], 240, {"stage1_steps": 1, "steps": 1, "batch_size": 2},
                     {"limit": 4, "max_new_tokens": 8})
        return
    order = [(cell, seed) for seed in given.seeds for cell in given.cells if cell in COMPARED]
    order += [(cell, seed) for seed in given.seeds for cell in given.cells if cell not in COMPARED]
    settings = {"stage1_steps": given.stage1_steps, "epochs": given.epochs}
    _measure(given.folder, [] if given.table else order, given.records, settings, {})


def _measure(folder: Path, order: Iterable[tuple[str, int]], records: int, settings: Mapping[str, Any],
             generation: Mapping[str, Any]) -> None:
    store, instructions = folder / "stores/synthetic-emg", folder / "instructions/synthetic-emg"
    for cell, seed in order:
        kept = _kept(folder, cell, seed)
        if kept.is_file():
            continue
        prepare_store(open_dataset("synthetic-emg", 0, records=records), store, PrepareConfig(split="80/10/10"))
        build_instructions(store, instructions, layout=LABELLED)
        began, run = time.process_time(), folder / "runs" / kept.stem
        own = {**settings, **CELLS[cell]}
        train(instructions, run, resolve_train_config(backbone="tiny", recipe="emgllm", seed=seed, **own))
        found = {"cell": cell, "seed": seed, "records": records, "settings": own,
                 "shown": _scores(store, run, folder / f"predictions/{kept.stem}.jsonl", "real", generation)}
        if own.get("values") is None:
            found["shuffled"] = _scores(store, run, folder / f"predictions/{kept.stem}-shuffled.jsonl", "shuffled",
                                        generation)
        found["processor minutes of this session"] = round((time.process_time() - began) / 60, 1)
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(kept, (json.dumps(found, indent=1) + "\n").encode())
        print(_row(cell, [found]), flush=True)
    print("\n" + _table(folder))


def _kept(folder: Path, cell: str, seed: int) -> Path:
    return folder / "results" / f"{cell.replace(' ', '-')}-{seed}.json"


def _scores(store_path: Path, run: Path, out: Path, signal: str, generation: Mapping[str, Any]) -> dict[str, Any]:
    """What a run scores on the test split, shown its own values or another record's; what one random report of the
    train split scores, and a rule on the same references."""
    out.parent.mkdir(parents=True, exist_ok=True)
    generate_reports(run, out, GenerateConfig(signal=signal, **generation))
    store, rows = open_store(store_path), read_rows(out, PredictionRow)
    scores = score_rows(rows, metrics=["statements"], train_reports=store.reports("train"), evidence=Evidence(store),
                        segmentation="char").scores
    pairs = [(read_findings(row.prediction).abnormal, read_findings(row.reference or "").abnormal) for row in rows]
    values = {name: _value(scores.value(name)) for name in SHOWN}
    return values | {
        "severity": scores.value("statements-severity").value,
        "random report": _value(scores.value(SHOWN[0], RANDOM.title)),
        "rule": _rule(store_path, rows),
        "forgiven": {part: _f1([(_without(said, change), _without(true, change)) for said, true in pairs])
                     for part, change in FORGIVEN.items()}}


def _value(found: Any) -> list[float]:
    return [found.value, found.ci_low, found.ci_high]


def _rule(store_path: Path, rows: Iterable[PredictionRow]) -> float:
    """F1 of what lies beyond the references, taken for the report."""
    store = open_store(store_path)
    tables = Evidence(store).tables(row.record_id for row in rows)
    assert tables is not None and tables.references is not None
    return _f1([(called_abnormal(tables.cases[row.record_id], tables.references) or frozenset(),
                 read_findings(row.reference or "").abnormal) for row in rows if row.record_id in tables.cases])


def _without(statements: Iterable[Statement], change: Mapping[str, Any]) -> set[Statement]:
    return {replace(each, **change) for each in statements if each.called}


def _f1(pairs: Iterable[tuple[Iterable[Statement], Iterable[Statement]]]) -> float:
    counts = [compare(said, true) for said, true in pairs]
    right = sum(each.tp for each in counts)
    wrong = sum(each.fp + each.fn for each in counts)
    return 2 * right / max(1, 2 * right + wrong)


def _table(folder: Path) -> str:
    """The results there are, in Markdown."""
    results = [json.loads(path.read_text()) for path in sorted((folder / "results").glob("*.json"))]
    lines = ["| values | seeds | F1 (each seed) | precision | recall | contradictions | nerves alone | "
             "side forgiven | nerve forgiven | shuffled |", "|" + "---|" * 10]
    return "\n".join(lines + [_row(cell, found) for cell in CELLS
                              if (found := [one for one in results if one["cell"] == cell])])


def _row(cell: str, results: list[dict[str, Any]]) -> str:
    def mean(*path: str) -> str:
        found = []
        for value in results:
            for key in path:
                value = value[key]  # type: ignore[assignment]
            found.append(value[0] if isinstance(value, list) else value)
        return f"{statistics.fmean(found):.3f}"

    each = ", ".join(f"{one['shown'][SHOWN[0]][0]:.3f}" for one in results)
    numbers = [f"{mean('shown', SHOWN[0])} ({each})", *(mean("shown", name) for name in SHOWN[1:]),
               *(mean("shown", "forgiven", part) for part in ("all but the nerve", "side", "nerve")),
               mean("shuffled", SHOWN[0]) if "shuffled" in results[0] else "–"]
    return f"| {cell} | {len(results)} | " + " | ".join(numbers) + " |"


if __name__ == "__main__":
    main()
