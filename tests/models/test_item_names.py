"""The names of items as embeddings: their formula, in batches, in gradients, and in the tokens of values."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from emgecg_cli.core.models.encoders.emg_alignment import EmgAlignment
from emgecg_cli.core.models.item_names import ItemNames
from emgecg_cli.core.models.projector import linear_projector
from emgecg_cli.core.models.towers import ValuesTower

V, D = 50, 12
NAMES = [[[3, 4, 5], [7], [9, 9]], [[1]]]  # of two items


def words(dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(V, D, generator=torch.Generator().manual_seed(0)).to(dtype)


def padded(items: list[list[list[int]]], places: int = 4, longest: int = 3, rows: int = 3) -> Tensor:
    ids = torch.full((1, rows, places, longest), -1)
    for row, names in enumerate(items):
        for place, name in enumerate(names):
            ids[0, row, place, :len(name)] = torch.tensor(name)
    return ids


def test_a_name_is_the_mean_of_its_tokens_and_names_add_up_over_the_root_of_their_number() -> None:
    for dtype, tolerance in ((torch.float32, 1e-6), (torch.bfloat16, 1e-6)):
        table = words(dtype)
        found = ItemNames(lambda table=table: table)(padded(NAMES))
        known = table.double().numpy()
        for row, names in enumerate(NAMES):
            expected = sum(np.mean([known[token] for token in name], 0) for name in names) / math.sqrt(len(names))
            np.testing.assert_allclose(found[0, row].numpy(), expected, atol=tolerance, rtol=1e-5)
        assert found.dtype == torch.float32 and not found[0, 2].any()


def test_words_learn_from_their_names_where_they_learn_at_all() -> None:
    table = words().requires_grad_()
    ItemNames(lambda: table)(padded(NAMES)).sum().backward()
    used = {token for names in NAMES for name in names for token in name}
    assert {int(row) for row in table.grad.abs().sum(1).nonzero()[:, 0]} == used
    assert not ItemNames(lambda: words())(padded(NAMES)).requires_grad


def test_both_tokens_of_a_value_have_its_name_added_and_padding_stays_empty() -> None:
    table = words()
    torch.manual_seed(1)
    encoder = EmgAlignment(table, prototypes=8, channels=8, heads=2, dropout=0.0)
    x = torch.full((1, 3, 3, 7), float("nan"))
    x[0, :2] = torch.tensor([[9.0, 8, 7, 6, 5, 4, 3], [1.0] * 7, [-3.0, -2, -1, 0, 1, 2, 3]]).flip(0)
    plain, named = ValuesTower(encoder), ValuesTower(encoder, item_names=ItemNames(lambda: table))
    ids = padded(NAMES)
    one, other = plain(x), named(x, items=ids)
    added = (other.tokens - one.tokens).view(1, 3, 2, D)
    expected = ItemNames(lambda: table)(ids)
    torch.testing.assert_close(added[:, :, 0], expected)
    torch.testing.assert_close(added[:, :, 1], expected)
    assert torch.equal(one.valid, other.valid) and not other.tokens[0, 4:].any()
    projected = ValuesTower(encoder, linear_projector(D, 1, 6, "none"), item_names=ItemNames(lambda: table))
    assert projected(x, items=ids).tokens.shape == (1, 6, 6)
    assert not projected.state_dict().keys() - ValuesTower(encoder, projected.projector).state_dict().keys()
