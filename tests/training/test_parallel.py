"""Two processes train as one does with the same batches, whatever the strategy; and go on where they were stopped."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from emg_store import make_tables
from manifests import change_manifest
from parallel_worker import EncoderObjective, furthest, train
from processes import run_in_processes
from safetensors.torch import load_file
from torch import nn

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.instructions.table_prompts import PROMPTS
from emgecg_cli.core.manifest import file_hashes
from emgecg_cli.core.training.parallel import Parallel, open_parallel
from emgecg_cli.core.training.parallel.sharding import refuse_unsplittable

CASES: list[dict[str, Any]] = [
    dict(kind="ddp", tuning="full", clip=0.5),
    dict(kind="ddp", tuning="lora", accumulation=2, checkpointing=True),
    dict(kind="fsdp", tuning="full", accumulation=2, clip=0.5),
    dict(kind="fsdp", tuning="full", checkpointing=True),
    dict(kind="fsdp", tuning="lora", clip=0.5),
    dict(kind="fsdp", tuning="lora", accumulation=2, checkpointing=True),
    dict(kind="fsdp", tuning="full", fusion="splice"),
    dict(kind="fsdp", tuning="lora", fusion="cross-attention", checkpointing=True),
    dict(kind="fsdp", fusion="none", clip=0.5),
    dict(kind="ddp", fusion="contrastive", accumulation=3, clip=0.5),
    dict(kind="fsdp", fusion="contrastive"),
]
# Dropout, so that each process needs its own random state back.
SAVED: list[dict[str, Any]] = [dict(kind=kind, tuning="lora", dropout=0.2, accumulation=2, clip=0.5)
                               for kind in ("ddp", "fsdp")]
HALF: list[dict[str, Any]] = [dict(kind="ddp", tuning="full", precision="bf16"),
                              dict(kind="fsdp", tuning="full", precision="bf16"),
                              dict(kind="fsdp", tuning="lora", precision="bf16", storage="bf16")]


def name_of(case: dict[str, Any]) -> str:
    return "-".join(f"{key}={value}" if isinstance(value, int | float) else str(value) for key, value in case.items())


def named(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [case | {"name": name_of(case)} for case in cases]


def saved_and_loaded() -> list[dict[str, Any]]:
    """Each strategy that writes a checkpoint half-way, and each that goes on from it, with other weights at first."""
    saving = [case | {"name": f"saved-{case['kind']}", "save_at": 1} for case in SAVED]
    going_on = [case | {"name": f"{source['kind']}-to-{case['kind']}", "load": f"saved-{source['kind']}", "seed": 5}
                for source in SAVED for case in SAVED]
    plain = dict(tuning="lora", dropout=0.0)
    return [*saving, *going_on, plain | {"kind": "fsdp", "name": "plain-fsdp", "save_at": 1}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two processes left the results of all cases."""
    path = tmp_path_factory.mktemp("parallel")
    run_in_processes("parallel_worker.py",
                     {"cases": [*named(CASES), *named(HALF), *saved_and_loaded()], "folder": str(path)})
    return path


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_two_processes_train_as_one(case: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    alone = train(case | {"kind": "none"}, tmp_path)
    together = load_file(folder / f"{name_of(case)}.safetensors")
    difference, where = furthest(alone, together)
    assert difference < 2e-5, where
    first = train(case | {"kind": "none", "steps": 1}, tmp_path)
    moved = {name for name in alone if not torch.equal(alone[name], first[name])}
    assert moved >= {name for name in alone if name.startswith("model.") and "k_proj.bias" not in name}


@pytest.mark.parametrize("case", HALF, ids=name_of)
def test_half_precision_trains_nearly_as_full(case: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    check_half(case, folder, tmp_path)


def check_half(case: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    full = {} if "storage" in case else {"precision": "fp32"}
    alone = train(case | full | {"kind": "none"}, tmp_path)
    together = load_file(folder / f"{name_of(case)}.safetensors")
    difference, _ = furthest(alone, together, ("losses", "final"))
    assert 1e-6 < difference < 0.05 * alone["losses"].max()
    assert all(together[name].dtype == tensor.dtype for name, tensor in alone.items() if name.startswith("model."))


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
@pytest.mark.parametrize("source", ["ddp", "fsdp"])
def test_going_on_from_a_checkpoint_is_as_never_having_stopped(source: str, kind: str, folder: Path) -> None:
    whole = load_file(folder / f"saved-{source}.safetensors")
    resumed = load_file(folder / f"{source}-to-{kind}.safetensors")
    assert len(whole.pop("losses")[1:]) == len(resumed.pop("losses"))
    difference, where = furthest(whole, resumed)
    assert difference < 1e-6, where
    assert {path.name for path in (folder / f"saved-{source}/step-00000001").iterdir()} == {
        "model.safetensors", "optimizer.safetensors", "random-0.safetensors", "random-1.safetensors", "state.json"}


def test_one_process_goes_on_from_the_checkpoint_of_two(folder: Path) -> None:
    whole = load_file(folder / "plain-fsdp.safetensors")
    alone = train(dict(tuning="lora", load="plain-fsdp", seed=5), folder)
    whole["losses"] = whole["losses"][1:]
    difference, where = furthest(whole, alone)
    assert difference < 2e-5, where


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_a_strategy_works_in_one_process_without_a_launcher(kind: str, tmp_path: Path) -> None:
    case = dict(fusion="none", clip=0.5)
    expected = train(case, tmp_path)
    try:
        difference, where = furthest(expected, train(case | {"kind": kind}, tmp_path))
    finally:
        open_parallel(kind, "fp32").close()
    assert difference < 1e-6, where
    assert not torch.distributed.is_initialized()


def test_what_is_sharded_in_place_is_prepared_once_and_anything_else_again() -> None:
    def prepare(parallel: Parallel, objective: nn.Module) -> Any:
        return parallel.prepare(objective, lambda inner: torch.optim.SGD(inner.parameters(), 0.1))

    objective = EncoderObjective()
    for kind, again in (("auto", True), ("ddp", True), ("fsdp", False)):
        parallel = open_parallel(kind, "fp32")
        try:
            prepare(parallel, objective)
            if again:
                prepared, optimizer = prepare(parallel, nn.ModuleDict({"of both": objective}))
                assert parallel.unwrap(prepared)["of both"] is objective
                assert len(optimizer.param_groups[0]["params"]) == len([*objective.parameters()])
            else:
                with pytest.raises(RuntimeError, match="prepare can be called once"):
                    prepare(parallel, objective)
        finally:
            parallel.close()


def test_layers_the_model_does_not_have_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FSDP_TRANSFORMER_CLS_TO_WRAP", "BlockOfAnother")
    parallel = open_parallel("fsdp", "fp32")
    try:
        with pytest.raises(MedReportError, match="no layer BlockOfAnother"):
            parallel.prepare(EncoderObjective(), lambda inner: torch.optim.SGD(inner.parameters(), 0.1))
    finally:
        parallel.close()


def test_clipping_and_the_sum_of_shares_show_in_these_tests(tmp_path: Path) -> None:
    """Were gradients averaged, or never clipped, results would differ by far more than what is allowed above."""
    plain, clipped = (train(dict(clip=clip), tmp_path) for clip in (0.0, 0.5))
    assert furthest(plain, clipped, ("model.",))[0] > 1e-2


def test_what_cannot_be_opened_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MedReportError, match="no parallel strategy 'fdsp'"):
        open_parallel("fdsp", "fp32")
    with pytest.raises(MedReportError, match="no precision 'fp16'"):
        open_parallel("ddp", "fp16")
    monkeypatch.setattr("emgecg_cli.core.training.parallel.accelerators.find_spec", lambda name: None)
    with pytest.raises(MedReportError, match="DeepSpeed") as error:
        open_parallel("zero3", "fp32")
    assert error.value.hint == "pip install 'medreport[zero]'"


def test_what_cannot_be_split_is_refused() -> None:
    with pytest.raises(MedReportError, match="parameter 'scale' is a single number"):
        refuse_unsplittable(EncoderObjective(), "zero3")
    quantised = nn.ModuleDict({"linear": nn.Linear(2, 2)})
    quantised["linear"].weight = nn.Parameter(torch.zeros(2, 2, dtype=torch.uint8), requires_grad=False)
    for kind in ("fsdp", "zero3"):
        with pytest.raises(MedReportError, match=f"quantised backbone cannot be sharded by {kind}"):
            refuse_unsplittable(quantised, kind)


# -------------------------------------------------------------------------------------------------------------- tables
@pytest.fixture(scope="module")
def table_runs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Where one process, and two with batches half as large, left the same runs of tables."""
    place = tmp_path_factory.mktemp("tables")
    instructions = str(make_tables(place / "plain", 24, splits=("train",) * 4 + ("val", "test"))[1])
    lopsided = str(values_for_one_process_only(*make_tables(place / "lopsided", 16, "en")))
    runs = [{"name": "both", "settings": {}, "instructions": instructions},
            {"name": "frozen", "settings": {"freeze_encoder": True, "gradient_accumulation": 2, "max_grad_norm": 0.5},
             "instructions": instructions},
            {"name": "text", "settings": {"values": "text"}, "instructions": instructions},
            {"name": "lopsided", "settings": {}, "instructions": lopsided}]
    for world in (1, 2):
        (place / str(world)).mkdir()
        run_in_processes("tables_worker.py", {"runs": runs, "folder": str(place / str(world))}, world)
    return {world: place / str(world) for world in (1, 2)}


def values_for_one_process_only(store: Path, instructions: Path) -> Path:
    """Give every second prompt in order of length no value at all, so that one of two processes never sees any."""
    path = instructions / "instructions.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for number, row in enumerate(rows):
        value = next(part for part in row["messages"][0]["content"] if part["type"] == "value")
        first = {"type": "text", "text": f"{PROMPTS[0]}\n{' a' * 10 * number}"}
        row["messages"] = [{"role": "user", "content": [first, value] if number % 2 else [first]},
                           {"role": "assistant", "content": "normal"}]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")

    def change(manifest):
        manifest["counts"]["values"] = len(rows) // 2
        manifest["details"]["files"] |= file_hashes(instructions, [path.name])

    change_manifest(instructions, change)
    return instructions


@pytest.mark.parametrize("name", ["both", "frozen", "text", "lopsided"])
def test_two_processes_train_both_stages_of_tables_as_one(name: str, table_runs: dict[int, Path]) -> None:
    for stage in (1, 2):
        main, other, alone = (load_file(table_runs[world] / f"{name}-{stage}-{rank}.safetensors")
                              for world, rank in ((2, 0), (2, 1), (1, 0)))
        assert set(main) == set(other) and all(torch.equal(main[key], other[key]) for key in main)
        difference, where = furthest(alone, main)
        assert difference < 2e-5, where
    first, last = (load_file(table_runs[2] / f"{name}-{stage}-0.safetensors") for stage in (1, 2))
    still = {key for key in first if torch.equal(first[key], last[key])}
    assert still == {key for key in first if "encoder." in key and name == "frozen"}
    for file in ("stage1/metrics.jsonl", "metrics.jsonl"):
        losses = [[json.loads(line)["report"] for line in (folder / name / file).read_text().splitlines()]
                  for folder in table_runs.values()]
        assert len(losses[0]) == 3 and losses[0] == pytest.approx(losses[1], rel=1e-5)


# ---------------------------------------------------------------------------------------------------------------- ZeRO
ZERO: list[dict[str, Any]] = [*(dict(kind=kind, tuning=tuning, accumulation=2, clip=0.5, checkpointing=tuning == "lora")
                                for kind in ("zero2", "zero3") for tuning in ("full", "lora")),
                              dict(kind="zero3", tuning="full", fusion="splice"),
                              dict(kind="zero3", tuning="lora", fusion="cross-attention", checkpointing=True)]
ZERO_HALF: list[dict[str, Any]] = [dict(kind=kind, precision="bf16", **how) for kind in ("zero2", "zero3")
                                   for how in (dict(tuning="full"), dict(tuning="lora", storage="bf16"))]


@pytest.fixture(scope="module")
def zero_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if find_spec("deepspeed") is None:
        pytest.skip("DeepSpeed is not installed (extra `zero`)")
    path = tmp_path_factory.mktemp("zero")
    saved = [dict(kind=kind, tuning="lora", clip=0.5) for kind in ("zero2", "zero3", "fsdp")]
    saving = [case | {"name": f"saved-{case['kind']}", "save_at": 1} for case in saved]
    going_on = [saved[to] | {"name": f"{saved[source]['kind']}-to-{saved[to]['kind']}", "seed": 5,
                             "load": f"saved-{saved[source]['kind']}"}
                for source, to in ((0, 0), (1, 1), (1, 2), (2, 1), (2, 0))]
    cases = [*named(ZERO), *named(ZERO_HALF), *saving, *going_on]
    run_in_processes("parallel_worker.py", {"cases": cases, "folder": str(path)})
    return path


@pytest.mark.parametrize("case", ZERO, ids=name_of)
def test_zero_trains_as_one_process(case: dict[str, Any], zero_folder: Path, tmp_path: Path) -> None:
    alone = train(case | {"kind": "none"}, tmp_path)
    difference, where = furthest(alone, load_file(zero_folder / f"{name_of(case)}.safetensors"))
    assert difference < 5e-5, where


@pytest.mark.parametrize("case", ZERO_HALF, ids=name_of)
def test_zero_trains_in_half_precision_nearly_as_in_full(case: dict[str, Any], zero_folder: Path,
                                                         tmp_path: Path) -> None:
    check_half(case, zero_folder, tmp_path)


@pytest.mark.parametrize(("source", "kind"), [("zero2", "zero2"), ("zero3", "zero3"), ("zero3", "fsdp"),
                                              ("fsdp", "zero3"), ("fsdp", "zero2")])
def test_zero_goes_on_from_a_checkpoint(source: str, kind: str, zero_folder: Path) -> None:
    whole = load_file(zero_folder / f"saved-{source}.safetensors")
    resumed = load_file(zero_folder / f"{source}-to-{kind}.safetensors")
    whole["losses"] = whole["losses"][1:]
    difference, where = furthest(whole, resumed)
    assert difference < (1e-6 if source == kind else 5e-5), where
