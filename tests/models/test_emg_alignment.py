"""The EMG Alignment Encoder: the published numbers, an oracle, invariances, what is kept and what is learned."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.inputs.sources import ValueSource
from emgecg_cli.core.models.encoders.emg_alignment import EmgAlignment, normalise
from emgecg_cli.core.models.fusion.splice import Splice
from emgecg_cli.core.models.tiny_backbone import build_tiny_llama, train_tokenizer

V, D = 301, 40
UPPER, LOWER = [6.5, 6.2, 6.0, 5.8, 5.6, 5.5, 5.4], [2.9, 3.1, 3.2, 3.3, 3.4, 3.5, 3.6]
GOLDEN = {
    "compat": ([-.36140, .27893, -.38052, .47645, -.59255, .60609], [.07290, .11792, .07021, .14275, .03650, .16179]),
    "clean": ([.00000, -.00574, -.01145, -.09206, -.09171, -.05290], [.09967, .09817, .09668, .07471, .07464, .07818]),
}


def words(seed: int = 0, rows: int = V, width: int = D) -> torch.nn.Parameter:
    return torch.nn.Parameter(0.05 * torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)))


def make(reshape: str = "compat", seed: int = 0, **given) -> EmgAlignment:
    torch.manual_seed(seed)
    return EmgAlignment(given.pop("embeddings") if "embeddings" in given else words(), reshape=reshape, **given)


def padded_records(*records: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Records as training batches them, and which matrices are real."""
    padded = torch.from_numpy(ValueSource.stack([record.numpy() for record in records]))
    return padded, ~padded.isnan().flatten(2).all(2)


def matrices(rows: int, seed: int = 0) -> torch.Tensor:
    """Values from far below to far above, beside limits of several scales."""
    rng = np.random.default_rng(seed)
    middle, step = rng.uniform(2, 60, (rows, 1)), rng.uniform(0.02, 0.15, (rows, 1))
    limits = np.linspace(2.1, 0.8, 7) * step * middle
    x = middle * (1 + rng.uniform(-6, 6, (rows, 1)) * step)
    return torch.tensor(np.stack([middle + limits, np.repeat(x, 7, 1), middle - limits], 1), dtype=torch.float32)


def golden_matrix() -> torch.Tensor:
    return torch.tensor([[UPPER, [4.2] * 7, LOWER]])


@pytest.mark.parametrize("reshape", GOLDEN)
def test_golden_virtual_tokens(reshape):
    encoder, c, r = make(reshape).eval(), torch.arange(64.0), torch.arange(14.0)
    with torch.no_grad():
        encoder.compare.weight.copy_(torch.stack([.01 * c, -.02 * c], 1)[:, None])
        encoder.mapping.weight.copy_(torch.stack([torch.full((14,), 1 / 14), torch.cos(r) / 14]))
        encoder.mapping.bias.copy_(torch.tensor([0, .1]))
    found = encoder.virtual_tokens(golden_matrix())[0][:, [0, 1, 2, 31, 32, 63]]
    assert found.tolist() == [pytest.approx(row, abs=2e-5) for row in GOLDEN[reshape]]


def test_mean_and_variance_count_the_value_fourteen_times():
    x = golden_matrix()
    mean, variance = 4.385714, .941270
    torch.testing.assert_close(normalise(x), (x - mean) / math.sqrt(variance + 1e-6), atol=2e-6, rtol=0)


def oracle(encoder: EmgAlignment, x: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
    """One matrix (3, 7) -> (2, D), step by step in float64, with loops where the order in memory matters."""
    w = {name: p.detach().double().numpy() for name, p in encoder.named_parameters()}
    z = np.vstack([x[1], x[0], x[1], x[2]])
    z = (z - z.mean()) / np.sqrt(z.var(ddof=1) + 1e-6)
    a, b = w["compare.weight"][:, 0, 0], w["compare.weight"][:, 0, 1]
    if encoder.reshape == "compat":
        flat = np.zeros(7 * 128)
        for k in range(7):
            for c in range(64):
                for other in range(2):
                    flat[128 * k + 2 * c + other] = a[c] * z[0, k] + b[c] * z[1 + 2 * other, k]
        lines = flat.reshape(14, 64)
    else:
        lines = np.array([a * z[0, k] + b * z[1 + 2 * other, k] for k in range(7) for other in range(2)])
    q = np.tanh(w["mapping.weight"] @ np.tanh(lines) + w["mapping.bias"][:, None])
    prototypes = w["prototypes.weight"] @ embeddings + w["prototypes.bias"][:, None]
    query, key, value = (source @ w[f"{name}.weight"].T + w[f"{name}.bias"]
                         for name, source in (("query", q), ("key", prototypes), ("value", prototypes)))
    heads = []
    for h in range(8):
        part = slice(3 * h, 3 * h + 3)
        scores = np.exp(query[:, part] @ key[:, part].T / np.sqrt(3))
        heads.append(scores / scores.sum(1, keepdims=True) @ value[:, part])
    return np.concatenate(heads, 1) @ w["out.weight"].T + w["out.bias"]


@pytest.mark.parametrize("reshape", GOLDEN)
@pytest.mark.parametrize("start", ["scaled", "published"])
@pytest.mark.parametrize("rows_at_once", [8192, 64])
def test_forward_equals_the_oracle(reshape, start, rows_at_once, monkeypatch):
    monkeypatch.setattr("emgecg_cli.core.models.encoders.emg_alignment.ROWS_AT_ONCE", rows_at_once)
    embeddings, x = words(), matrices(9)
    encoder = make(reshape, start=start, embeddings=embeddings).eval().double()
    with torch.no_grad():
        encoder.prototypes.bias.normal_()
        encoder.out.bias.normal_()
    expected = np.stack([oracle(encoder, one.double().numpy(), embeddings.detach().double().numpy()) for one in x])
    np.testing.assert_allclose(encoder(x.double()).detach().numpy(), expected, atol=1e-9)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(encoder.float()(x).detach().numpy(), expected, atol=2e-5 * scale)


def test_gradients_are_those_of_the_formula(monkeypatch):
    monkeypatch.setattr("emgecg_cli.core.models.encoders.emg_alignment.ROWS_AT_ONCE", 5)
    encoder = make(embeddings=words(rows=13, width=6), prototypes=4, channels=6, heads=2).double()
    encoder.dropout = 0.0
    x, names = matrices(2).double(), [name for name, _ in encoder.named_parameters()]

    def function(*weights):
        return torch.func.functional_call(encoder, dict(zip(names, weights, strict=True)), (x,))

    weights = [p.detach().clone().requires_grad_() for p in encoder.parameters()]
    assert torch.autograd.gradcheck(function, weights)


@pytest.mark.parametrize(("vocabulary", "total", "said"), [(55_296, 10_917_798, 10.92), (32_000, 6_444_966, 6.44)])
def test_counts_of_parameters(vocabulary, total, said):
    with torch.device("meta"):
        encoder = EmgAlignment(torch.empty(vocabulary, 4096))
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in encoder.named_children()}
    assert count == {"compare": 128, "mapping": 30, "prototypes": 192 * vocabulary + 192, "query": 1560, "key": 98_328,
                     "value": 98_328, "out": 102_400}
    assert sum(count.values()) == total and round(total / 1e6, 2) == said


@pytest.mark.parametrize("reshape", GOLDEN)
def test_a_batch_equals_its_values_one_by_one(reshape):
    encoder, x = make(reshape).eval(), matrices(33)
    together, alone = encoder(x), torch.cat([encoder(one[None]) for one in x])
    assert together.shape == (33, 2, D)
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=1e-5)
    assert encoder(x[:0]).shape == (0, 2, D)


def test_records_with_padding_equal_their_values_and_padding_is_not_read():
    encoder, x = make().eval(), matrices(9)
    padded, valid = padded_records(x[:4], x[:0], x[4:])
    assert padded.shape == (3, 5, 3, 7) and valid.sum(1).tolist() == [4, 0, 5]
    padded[~valid] = math.nan
    tokens, real = encoder.encode_records(padded, valid)
    assert tokens.shape == (3, 10, D) and real.sum(1).tolist() == [8, 0, 10] and not tokens[~real].any()
    torch.testing.assert_close(tokens[real], encoder(x).flatten(0, 1))


def test_a_batch_without_values_still_reaches_every_weight():
    encoder = make()
    tokens, real = encoder.encode_records(*padded_records(matrices(1)[:0], matrices(1)[:0]))
    assert tokens.shape == (2, 2, D) and not real.any()
    tokens.sum().backward()
    assert all(p.grad is not None and not p.grad.any() for p in encoder.parameters())


@pytest.mark.parametrize("reshape", GOLDEN)
@pytest.mark.parametrize(("factor", "shift"), [(1000.0, 0.0), (0.2, 0.0), (1.0, 273.15), (3.7, -20.0)])
def test_units_do_not_matter(reshape, factor, shift):
    encoder, x = make(reshape).eval().double(), matrices(20).double()
    torch.testing.assert_close(encoder(factor * x + shift), encoder(x), atol=1e-5, rtol=1e-4)
    assert (encoder(-x) - encoder(x)).abs().max() > 0.01  # a mirrored one does


def test_the_two_orders_differ_and_so_do_values():
    x = matrices(5)
    one, other = (make(reshape).eval() for reshape in GOLDEN)
    other.load_state_dict(one.state_dict())
    assert (one(x) - other(x)).abs().max() > 0.01
    assert (one(x)[0] - one(x)[1]).abs().max() > 0.01


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused_and_named(bad):
    x = matrices(5)
    x[3, 2, 6] = bad
    with pytest.raises(MedReportError, match="value 4 of 5 has NaN or infinity"):
        make()(x)
    good = x.clone()
    good[3] = good[2]
    assert make().eval()(good).isfinite().all()


def test_a_constant_matrix_is_finite_and_large_numbers_keep_their_digits():
    encoder = make().eval()
    assert encoder(torch.full((1, 3, 7), 60.0)).isfinite().all()
    near = torch.tensor([[[60.7, 60.6, 60.5, 60.4, 60.3, 60.2, 60.1], [60.05] * 7, list(np.linspace(59.3, 59.9, 7))]])
    exact = (near.double() - 60.0).float()
    torch.testing.assert_close(encoder(near), encoder(exact), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("shape", [(2, 3, 6), (2, 2, 7), (3, 7)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(RuntimeError, match=r"need \(n, 3, 7\)"):
        make()(torch.ones(shape))


def test_other_numbers_of_percentiles():
    encoder = make(percentiles=5).eval()
    assert encoder(matrices(4)[:, :, :5]).shape == (4, 2, D)


def test_unknown_choices_are_refused():
    for given in ({"reshape": "neat"}, {"start": "warm"}):
        with pytest.raises(MedReportError, match=f"'{next(iter(given.values()))}'"):
            make(**given)


def test_gradient_reaches_every_part_and_not_the_words():
    embeddings = words()
    encoder = make(embeddings=embeddings)
    encoder(matrices(6)).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert (parameter.grad is not None and parameter.grad.abs().max() > 0) or name == "key.bias", name
    assert encoder.key.bias.grad.abs().max() < 1e-4  # adds the same to every score
    assert embeddings.grad is None and embeddings.requires_grad


def test_dropout_is_active_in_training_only():
    encoder, x = make(), matrices(4)
    assert not torch.equal(encoder(x), encoder(x))
    encoder.eval()
    assert torch.equal(encoder(x), encoder(x))


# What is kept between calls

def recomputed(encoder: EmgAlignment, x: torch.Tensor) -> torch.Tensor:
    fresh = copy.deepcopy(encoder)
    assert fresh._kept is None
    with torch.no_grad():
        return fresh(x)


def test_what_is_kept_equals_what_is_recomputed_and_is_made_once(monkeypatch):
    encoder, x, calls = make().eval(), matrices(4), []
    project = EmgAlignment._project
    monkeypatch.setattr(EmgAlignment, "_project", lambda self, w: calls.append(1) or project(self, w))
    with torch.no_grad():
        first, second = encoder(x), encoder(x)
    assert len(calls) == 1 and torch.equal(first, second)
    assert torch.equal(first, recomputed(encoder, x))
    encoder(x)
    assert len(calls) == 3  # with gradients nothing may be kept
    encoder.requires_grad_(False).train()
    encoder(x)
    assert len(calls) == 4
    encoder(x)
    assert len(calls) == 4  # frozen: kept in training too


@pytest.mark.parametrize("change", ["step", "load", "words", "words replaced", "copy", "train", "half", "inference"])
def test_what_is_kept_is_dropped_when_weights_change(change):
    held = [words()]
    encoder, x = make(embeddings=lambda: held[0]).eval(), matrices(4)
    with torch.no_grad():
        before = encoder(x)
    assert encoder._kept is not None
    if change == "step":
        optimizer = torch.optim.AdamW(encoder.parameters(), 0.1)
        encoder(x).square().sum().backward()
        optimizer.step()
    elif change == "load":
        encoder.load_state_dict(make(seed=5).state_dict())
    elif change == "words":
        with torch.no_grad():
            held[0].mul_(-1)
    elif change == "words replaced":
        held[0] = words(7)
    elif change == "copy":
        with torch.no_grad():
            encoder.prototypes.weight.copy_(torch.randn_like(encoder.prototypes.weight))
    elif change == "train":
        encoder.train()
        encoder.value.weight.data.mul_(2)  # as some optimizers do it, which no count of changes shows
        encoder.eval()
    elif change == "half":
        encoder.bfloat16()
    elif change == "inference":
        with torch.inference_mode():
            held[0] = words(9).clone()
    with torch.no_grad():
        after = encoder(x)
    assert (after - before).abs().max() > 1e-4
    torch.testing.assert_close(after, recomputed(encoder, x), atol=1e-6, rtol=1e-5)


def test_kept_in_inference_mode_is_of_use_outside_it():
    encoder, x = make().eval(), matrices(4)
    with torch.inference_mode():
        first = encoder(x)
    encoder.prototypes.requires_grad_(False)
    encoder.key.requires_grad_(False)
    encoder.value.requires_grad_(False)
    encoder(x).sum().backward()
    assert torch.equal(encoder(x).detach(), first) and encoder.query.weight.grad is not None


# Beside a backbone

def test_only_the_encoder_is_saved_and_it_comes_back_equal(tmp_path):
    embeddings = words()
    encoder, x = make(embeddings=embeddings).eval(), matrices(4)
    with torch.no_grad():
        expected = encoder(x)
    save_file(encoder.state_dict(), tmp_path / "emg.safetensors")
    saved = load_file(tmp_path / "emg.safetensors")
    assert (V, D) not in {tuple(t.shape) for t in saved.values()} and len(saved) == 13
    assert id(embeddings) not in {id(p) for p in encoder.parameters()}
    other = make(seed=3, embeddings=embeddings).eval()
    other.load_state_dict(saved)
    with torch.no_grad():
        assert torch.equal(other(x), expected)


def test_words_of_another_number_are_refused():
    held = [words()]
    encoder = make(embeddings=lambda: held[0])
    held[0] = words(rows=V + 3)
    with pytest.raises(MedReportError, match=f"has {V + 3} words of width {D}, the encoder was made for {V}"):
        encoder(matrices(1))


def test_float32_encoder_beside_a_bfloat16_backbone_and_under_autocast():
    embeddings, x = words(), matrices(6)
    rounded = torch.nn.Parameter(embeddings.detach().bfloat16())
    encoder = make(embeddings=lambda: rounded).eval()
    exact = make(embeddings=torch.nn.Parameter(rounded.detach().float())).eval()
    exact.load_state_dict(encoder.state_dict())
    with torch.autocast("cpu", torch.bfloat16):
        found = encoder(x)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact(x), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(encoder.bfloat16()(x), found, atol=0.03, rtol=0.1)
    assert encoder(x.half()).isfinite().all()


def test_values_enter_a_prompt_through_splice():
    tokenizer = train_tokenizer(["Median motor wrist Lat 3.4 Amp 7.0, normal"] * 3, 300)
    backbone = build_tiny_llama(tokenizer, 0).eval().bfloat16()
    backbone.requires_grad_(False)
    encoder = EmgAlignment(lambda: backbone.get_input_embeddings().weight).eval()
    padded, valid = padded_records(matrices(2), matrices(1, 3))
    tokens, real = encoder.encode_records(padded, valid)
    from emgecg_cli.core.instructions.render import PLACEHOLDER as P

    ids = torch.tensor([[5, P, P, 6, P, P, 7], [0, 0, 8, 9, P, P, 4]])
    splice = Splice(backbone)
    embedded = splice._embed(tokens, real, ids, None)
    assert embedded.dtype == torch.bfloat16
    assert torch.equal(embedded[0, [1, 2, 4, 5]], tokens[0].bfloat16())
    assert torch.equal(embedded[1, 4:6], tokens[1, :2].bfloat16())
    output = splice.forward(tokens, real, input_ids=ids, attention_mask=(ids != 0).long())
    output.logits.float().square().mean().backward()
    assert encoder.compare.weight.grad.abs().max() > 0
    assert backbone.get_input_embeddings().weight.grad is None


def test_a_trained_severity_follows_the_value():
    torch.manual_seed(0)
    encoder = make(dropout=0.0)
    head = torch.nn.Linear(2 * D, 1)
    optimizer = torch.optim.Adam([*encoder.parameters(), *head.parameters()], 3e-3)
    limits = torch.special.ndtri(torch.linspace(.02, .2, 7))

    def batch(z):
        return torch.stack([-limits.expand(len(z), 7), z[:, None].expand(-1, 7), limits.expand(len(z), 7)], 1) * 5 + 40

    for _ in range(250):
        z = torch.rand(64) * 8 - 4
        loss = (head(encoder(batch(z)).flatten(1))[:, 0] - z).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    encoder.eval()
    said = head(encoder(batch(torch.linspace(-3, 3, 13))).flatten(1))[:, 0]
    assert (said.diff() > 0).all() and loss < 0.3


def test_a_new_encoder_tells_values_apart_as_much_as_words_differ():
    embeddings = words()
    x = torch.cat([matrices(40)])
    spread = {start: float((y - y.mean(0)).square().mean().sqrt()) for start in ("scaled", "published")
              for y in [make(start=start, embeddings=embeddings).eval()(x).detach()]}
    assert 0.3 < spread["scaled"] / 0.05 < 3 and spread["published"] / 0.05 < 0.1
