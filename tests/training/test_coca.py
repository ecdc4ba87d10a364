"""CoCa: nothing leaks into a caption, the contrast is over all processes, batches are mixed, kills cost nothing."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pipeline import contents, make_store
from processes import run_in_processes
from safetensors.torch import load_file
from tiny_bert import make_bert
from torch import Tensor

from emgecg_cli.core import names
from emgecg_cli.core.config import PretrainConfig
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.models.caption_decoder import CaptionDecoder
from emgecg_cli.core.models.encoders import load_encoder_weights
from emgecg_cli.core.models.preprocessing import preprocessing_of
from emgecg_cli.core.models.text_tower import load_text_tower, open_text_tower
from emgecg_cli.core.recipes import resolve_pretrain_config
from emgecg_cli.core.store import open_store
from emgecg_cli.core.training import coca
from emgecg_cli.core.training.augment import generators, network_input
from emgecg_cli.core.training.pretrain import pretrain
from emgecg_cli.core.training.pretrain_coca import groups_of, open_coca
from emgecg_cli.core.training.signal_mixing import cutmix, mask, mix, wander

CPU = torch.device("cpu")


def quick(**changes: Any) -> PretrainConfig:
    return resolve_pretrain_config(**dict(objective="coca", encoder="ecg-coca-tiny", steps=2, batch_size=6,
                                          checkpoint_every=1, learning_rate=3e-3) | changes)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("coca") / "stores/synthetic", 24, split="50/50/0")


@pytest.fixture(scope="module")
def opened(store: Path) -> tuple[Any, Any]:
    records, _, objective, _ = open_coca(open_store(store), quick(), preprocessing_of("ecg-coca-tiny"))
    return records, objective


def test_a_caption_is_written_from_what_stands_before_and_from_the_recording() -> None:
    torch.manual_seed(0)
    decoder = CaptionDecoder(30, 16, layers=2, heads=2, context=9).eval()
    ids, recording = torch.randint(30, (2, 8)), torch.randn(2, 5, 16)
    with torch.no_grad():
        logits = decoder(ids, recording)
        for place in range(8):
            other = ids.clone()
            other[:, place] = (other[:, place] + 1) % 30
            moved = (decoder(other, recording) - logits).abs().amax((0, 2)) > 1e-5
            assert moved.tolist() == [False] * place + [True] * (8 - place)
        assert ((decoder(ids, recording.flip(0)) - logits).abs().amax(2) > 1e-4).all()


def test_the_losses_are_the_specs_and_shares_of_several_processes_add_up(opened: tuple[Any, Any],
                                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    records, objective = opened
    objective.eval()
    batch = records.collate([records[i] for i in range(6)])
    inputs, batch = network_input(batch, CPU, 0, 0)
    totals = records.totals(np.arange(6))
    assert totals.tokens == int(batch.there[:, 1:].sum())
    with torch.no_grad():
        losses = objective(inputs, batch, totals)
        ours, theirs = objective(inputs, batch, None)
        torch.testing.assert_close(ours.norm(dim=1), torch.ones(6))
        scores = ours @ theirs.T / 0.07
        expected = -0.5 * (scores.log_softmax(1).diag().mean() + scores.T.log_softmax(1).diag().mean())
        torch.testing.assert_close(losses.parts["contrast"], expected, atol=1e-4, rtol=1e-4)
        logits = objective.decoder(batch.ids[:, :-1], objective.encoder.compared(inputs["ecg"])[1]).log_softmax(-1)
        each = logits.gather(2, batch.ids[:, 1:, None])[..., 0]
        caption = -(each * batch.there[:, 1:]).sum() / batch.there[:, 1:].sum()
        torch.testing.assert_close(losses.parts["caption"], caption, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(losses.total, expected + 2 * caption, atol=1e-4, rtol=1e-4)
        shares = []
        for first, last in ((0, 4), (4, 6)):
            everyone = iter(((ours, first), (theirs, first)))
            monkeypatch.setattr(coca, "gather_rows", lambda rows, everyone=everyone: next(everyone))
            shares.append(objective.contrast(ours[first:last], theirs[first:last]) / 6)
        torch.testing.assert_close(sum(shares), expected, atol=1e-4, rtol=1e-4)
        objective.logit_scale.fill_(9.0)
        objective.clamp()
        assert float(objective.logit_scale) == pytest.approx(math.log(100))
        objective.logit_scale.fill_(math.log(1 / 0.07))


@pytest.mark.long
def test_two_processes_pretrain_as_one(store: Path, tmp_path: Path) -> None:
    bert = make_bert(tmp_path / "bert", ["sinus rhythm normal ecg", "atrial fibrillation"] * 9)
    described = json.loads((bert / "config.json").read_text())
    described |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}  # else drawn in each process apart
    (bert / "config.json").write_text(json.dumps(described))
    settings = {"objective": "coca", "encoder": "ecg-coca-tiny", "steps": 2, "text_tower": str(bert), "mix": "none"}
    for world in (1, 2):
        run_in_processes("coca_worker.py", {"store": str(store), "out": str(tmp_path / str(world)),
                                            "settings": settings | {"batch_size": 6 // world}}, world=world)
    for name in ("encoder", "text_heads"):
        one, two = (load_file(tmp_path / world / f"{name}.safetensors") for world in "12")
        for key in one:
            torch.testing.assert_close(two[key], one[key], atol=2e-5, rtol=1e-4)
    losses = [[json.loads(line) for line in (tmp_path / world / "metrics.jsonl").open()] for world in "12"]
    for alone, shared in zip(*losses, strict=True):
        assert shared == pytest.approx(alone, rel=1e-4)


def test_what_is_no_matrix_does_not_decay(opened: tuple[Any, Any]) -> None:
    _, objective = opened
    named = {id(parameter): name for name, parameter in objective.named_parameters()}
    decays, not_ = ({named[id(parameter)] for parameter in group["params"]} for group in groups_of(objective, 0.1))
    assert {"encoder.proj", "encoder.conv1.weight", "text.proj.weight"} <= decays
    assert {"logit_scale", "encoder.ln_post.weight", "encoder.class_embedding"} <= not_
    assert decays | not_ == {name for name, parameter in objective.named_parameters() if parameter.requires_grad}


def test_recordings_of_a_batch_are_mixed_and_each_by_its_own_seed() -> None:
    signal = torch.arange(1.0, 65)[:, None, None].expand(64, 12, 1000).contiguous()
    seeds = list(range(64))

    def drawn() -> list[torch.Generator]:
        return generators(seeds, CPU)

    cut = cutmix(signal, drawn(), 100, 1000)
    lengths = (cut != signal).any(1).sum(1)
    assert 0.3 < (lengths > 0).float().mean() < 0.7 and lengths.max() > 500
    for row in range(64):
        others = set(cut[row].unique().tolist()) - {row + 1}
        place = (cut[row, 0] != row + 1).nonzero()[:, 0]
        assert len(others) <= 1 and torch.equal(cut[row], cut[row, :1].expand(12, -1))
        assert not len(place) or place[-1] - place[0] == len(place) - 1  # one stretch
    hidden = mask(signal, drawn(), 100, 1000) == 0
    share = hidden[:, 0].float().mean(1)
    assert 0.15 < (share > 0).float().mean() < 0.45 and 0.15 < share[share > 0].mean() < 0.4
    added = wander(torch.zeros_like(signal), drawn(), 100, 1000)  # in mV
    moved = added.abs().amax((1, 2))
    assert 0.3 < (moved > 0).float().mean() < 0.7 and 0.2 < moved[moved > 0].median() < 3
    torch.testing.assert_close(wander(torch.zeros_like(signal), drawn(), 100, 500), 2 * added)
    spectrum = torch.fft.rfft(added[moved.argmax(), 0]).abs()
    assert spectrum[:5].square().sum() > 0.99 * spectrum.square().sum()  # below 0.5 Hz
    for change in (mask, wander):
        alone = change(signal[5:6], generators([5], CPU), 100, 1000)
        torch.testing.assert_close(alone[0], change(signal, drawn(), 100, 1000)[5])
    assert torch.equal(mix(signal, ["mask"], drawn(), 100, 1000), mask(signal, drawn(), 100, 1000))


def test_a_killed_one_ends_the_same_and_its_parts_can_be_used(store: Path, tmp_path: Path) -> None:
    whole = pretrain(store, tmp_path / "whole/x", quick())
    assert set(whole.validation) == {"recall_at_1", "recall_at_5"} and whole.counts["val_records"] == 12

    def stop(done: int, steps: int, **_: Any) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(store, tmp_path / "killed/x", quick(), progress=stop)
    pretrain(store, tmp_path / "killed/x", quick())
    first, again = contents(tmp_path / "whole/x"), contents(tmp_path / "killed/x")
    assert first.keys() == again.keys() and {name for name in first if first[name] != again[name]} <= {"manifest.json"}
    assert first["encoder.safetensors"] == again["encoder.safetensors"]
    encoder: Any = names.resolve("encoder", "ecg-coca-tiny")()
    load_encoder_weights(encoder, tmp_path / "whole/x")
    tower, words, scale = load_text_tower(tmp_path / "whole/x")
    assert scale == pytest.approx(1 / 0.07, rel=0.05)
    held = open_store(store)
    records = coca.captioned(held, "val", words, preprocessing_of("ecg-coca-tiny"))
    batch = records.collate([records[i] for i in range(12)])
    with torch.no_grad():
        scores: Tensor = encoder.eval().latent(batch.network_input()["ecg"]) @ F.normalize(
            tower(batch.ids, batch.there), dim=-1).T
    nearest = [records.texts[i] for i in scores.argmax(1).tolist()]
    hits = np.mean([one == other for one, other in zip(nearest, records.texts, strict=True)])
    assert hits == pytest.approx(whole.validation["recall_at_1"])


def test_a_bert_can_be_given_and_locked_and_other_encoders_are_refused(store: Path, tmp_path: Path) -> None:
    folder = make_bert(tmp_path / "bert", ["sinus rhythm normal ecg", "atrial fibrillation"] * 9)
    tower, words = open_text_tower(str(folder), [], 8, 0)
    tower.lock()
    trained = {name for name, parameter in tower.named_parameters() if parameter.requires_grad}
    assert "proj.weight" in trained and all("LayerNorm" in name for name in trained - {"proj.weight"})
    ids, there = words.batch(words.ids(["Sinus rhythm", "sinus rhythm normal ecg"]))
    assert ids[0, 0] == words.tokenizer.cls_token_id and int(ids[0][there[0]][-1]) == words.tokenizer.sep_token_id
    with torch.no_grad():
        alone = tower.eval()(ids[:1, there[0]], there[:1, there[0]])
        torch.testing.assert_close(tower(ids, there)[:1], alone, atol=1e-5, rtol=1e-4)
    for given, message in ((dict(encoder="vit1d-tiny"), "no vector that is compared"),
                           (dict(text_tower="./nowhere"), "text tower ./nowhere: no such folder")):
        with pytest.raises(MedReportError, match=message):
            pretrain(store, tmp_path / "x", quick(**given))
    for given in (dict(objective="masked", encoder="vit1d-tiny", mix="none"), dict(augment="roll"),
                  dict(objective="supervised", text_tower="x")):
        with pytest.raises(MedReportError, match="has no effect"):
            quick(**given)
