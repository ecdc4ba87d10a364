"""Out of memory: found before the first step, searched for a size that fits, and said in one line."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.inputs.batch import Batch, Totals
from emgecg_cli.core.models.preprocessing import preprocessing_of
from emgecg_cli.core.recipes import resolve_train_config
from emgecg_cli.core.training.memory import check, explained, try_batch
from emgecg_cli.core.training.objective import Losses
from emgecg_cli.core.training.parallel import open_parallel


def config(**given: Any) -> Any:
    return resolve_train_config(backbone="x", batch_size=16, gradient_accumulation=4, **given)


def runs_up_to(most: int, tried: list[int]) -> Any:
    def run(size: int) -> None:
        tried.append(size)
        if size > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has")

    return run


def test_what_fits_passes_and_is_tried_once() -> None:
    tried: list[int] = []
    check(runs_up_to(16, tried), config(), search=True)
    assert tried == [16]


@pytest.mark.parametrize(("most", "hint"), [
    (5, "--batch-size 4 --gradient-accumulation 16 (fits)"), (15, "--batch-size 8 --gradient-accumulation 8 (fits)"),
    (1, "--gradient-checkpointing, or --tuning qlora")])
def test_the_largest_half_that_fits_is_named_and_keeps_the_global_batch(most: int, hint: str) -> None:
    with pytest.raises(MedReportError, match="longest batch of 16 records does not fit") as raised:
        check(runs_up_to(most, []), config(), search=True)
    assert hint in str(raised.value.hint)


def test_no_search_where_processes_would_part() -> None:
    tried: list[int] = []
    with pytest.raises(MedReportError):
        check(runs_up_to(4, tried), config(), search=False)
    assert tried == [16]


def test_other_errors_pass_through() -> None:
    def broken(size: int) -> None:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        check(broken, config(), search=True)
    with pytest.raises(RuntimeError, match="shapes differ"), explained(config()):
        raise RuntimeError("shapes differ")


@pytest.mark.parametrize("error", [
    torch.OutOfMemoryError("CUDA out of memory. Tried"), MemoryError(),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 40 bytes.")])
def test_running_out_later_is_one_line_with_settings_to_try(error: BaseException) -> None:
    with pytest.raises(MedReportError, match="out of memory with --batch-size 16") as raised, \
            explained(config(tuning="full", gradient_checkpointing=True)):
        raise error
    hint = str(raised.value.hint)
    assert "--batch-size 8 --gradient-accumulation 8" in hint and "--tuning lora" in hint
    assert "--gradient-checkpointing" not in hint and "\n" not in hint


class Toy(torch.nn.Module):
    """An objective with weights, statistics and chance."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(6, 3), torch.nn.BatchNorm1d(3), torch.nn.Dropout(0.5))

    def forward(self, inputs: dict[str, torch.Tensor], batch: Any, totals: Totals) -> Losses:
        signal = inputs["ecg"]
        assert totals.records == len(signal)
        return Losses(self.layers(signal.flatten(1)).square().sum() / totals.tokens, {})


def test_trying_a_batch_leaves_weights_statistics_gradients_and_chance_as_they_were() -> None:
    parallel = open_parallel("auto", "fp32")
    objective, _ = parallel.prepare(Toy().train(), lambda module: torch.optim.SGD(module.parameters(), 0.1))
    ids = torch.zeros(4, 5, dtype=torch.long)
    batch = Batch({"ecg": torch.randint(-500, 500, (4, 2, 3), dtype=torch.int16)}, ids, ids, ids, torch.zeros(4, 0), {},
                  1, [0, 1, 2, 3], preprocessing={"ecg": preprocessing_of("resnet18-tiny")})
    before = {name: tensor.clone() for name, tensor in objective.state_dict().items()}
    chance = torch.get_rng_state()
    try_batch(parallel, objective, batch, Totals(7, 4))
    assert all(torch.equal(tensor, before[name]) for name, tensor in objective.state_dict().items())
    assert all(parameter.grad is None for parameter in objective.parameters())
    assert torch.equal(torch.get_rng_state(), chance)
