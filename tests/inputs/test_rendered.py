"""Conversations of very many records are rendered when they are asked for, and are the same ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from toy_store import make_store

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.inputs import rendered as module
from emgecg_cli.core.inputs.records import Inputs
from emgecg_cli.core.inputs.rendered import LazySplit, RenderedSplit, render_split, words_of
from emgecg_cli.core.instructions import build_instructions, open_instructions
from emgecg_cli.core.instructions.pool import SEED_PROMPTS
from emgecg_cli.core.models.tiny_backbone import train_tokenizer
from emgecg_cli.core.store import open_store
from emgecg_cli.core.training.batches import BatchPlan

IDS = [f"record {'long ' * (i * 7 % 19)}{i}" for i in range(200)]  # reports of unlike length


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Inputs, Any]:
    folder = tmp_path_factory.mktemp("toys")
    store = make_store(folder / "store", IDS)
    instructions = open_instructions(build_instructions(store, folder / "i", pool_size=33).path)
    opened = open_store(store)
    return opened, Inputs(opened, instructions, {}), train_tokenizer([*SEED_PROMPTS, *IDS], 300)


def split_of(toys: tuple[Any, Inputs, Any], before: int, monkeypatch: pytest.MonkeyPatch, most: int = 96,
             **more: Any) -> Any:
    monkeypatch.setattr(module, "MOST_BEFORE", before)
    store, inputs, tokenizer = toys
    return render_split(store, inputs, tokenizer, most, **more)


def test_what_is_rendered_later_is_the_same(toys: tuple[Any, Inputs, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    whole, lazy = split_of(toys, 200, monkeypatch), split_of(toys, 199, monkeypatch)
    assert isinstance(whole, RenderedSplit) and isinstance(lazy, LazySplit)
    numbers = np.random.default_rng(0).permutation(200)
    assert np.array_equal(lazy.lengths[numbers[:30]], whole.lengths[numbers[:30]])
    for number in numbers.tolist():
        (tokens, prompt), (others, other) = whole.conversation(number), lazy.conversation(number)
        assert np.array_equal(tokens, others) and prompt == other and tokens.dtype == others.dtype
    assert np.array_equal(np.asarray(lazy.lengths), whole.lengths) and lazy.longest == whole.longest
    assert lazy.truncated == whole.truncated > 0
    assert [a.tolist() for a in lazy.answers()] == [a.tolist() for a in whole.answers()]
    eos = toys[2].eos_token_id
    words = words_of(whole, toys[0], toys[2], 1, set(range(300)))
    assert words_of(lazy, toys[0], toys[2], 1, set(range(300))) == words and eos not in words
    assert words_of(lazy, toys[0], toys[2], 1, {eos}) == set()


def test_batches_are_the_same_and_wait_for_no_more_than_their_own_bucket(toys: tuple[Any, Inputs, Any],
                                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    whole, lazy = split_of(toys, 200, monkeypatch), split_of(toys, 8, monkeypatch)
    plans = [BatchPlan(split.lengths, 4, seed=5) for split in (whole, lazy)]
    seen = int((lazy._sizes[:, 0] > 0).sum())
    assert seen <= 1
    assert np.array_equal(plans[0].batch(0), plans[1].batch(0))
    assert (lazy._sizes[:, 0] > 0).sum() <= seen + 4 * 16
    assert all(np.array_equal(plans[0].batch(place), plans[1].batch(place)) for place in range(110))


def test_what_must_be_known_of_all_is_found_out_before(toys: tuple[Any, Inputs, Any],
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(split_of(toys, 8, monkeypatch, positions=95), RenderedSplit)
    assert isinstance(split_of(toys, 8, monkeypatch, positions=96), LazySplit)
    with pytest.raises(MedReportError, match="the prompt is"):
        split_of(toys, 8, monkeypatch, most=8)
