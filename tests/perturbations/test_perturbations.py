"""Perturbations: what each does to one recording, and what `perturb_store` does to a store."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emgecg_cli.core import names
from emgecg_cli.core.artifacts import PerturbedRow, QuarantineRow, read_rows
from emgecg_cli.core.config import PrepareConfig
from emgecg_cli.core.datasets import Recording, RecordRef, Source
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.perturbations import PERTURBED, achieved_snr_db, level_name, perturb_store, writing
from emgecg_cli.core.perturbations.gaussian import gaussian
from emgecg_cli.core.perturbations.meit_proportion import meit_proportion
from emgecg_cli.core.signals.leads import LEADS, MISSING, to_float_uv
from emgecg_cli.core.store import open_store, prepare_store

FS, SIG_LEN = 100, 1000
LEVELS = {"gaussian": 10.0, "meit-proportion": 0.2, "gaussian-ratio": 0.05, "baseline-wander": 0.0, "muscle": 5.0,
          "electrode-motion": 0.0, "mains": 5.0, "lead-drop": 3, "lead-swap": 2, "limb-reversal": 1, "polarity": 2,
          "gain": 2.0, "clipping": 0.5, "time-shift": 1.0, "resampling-error": 5.0}
DROPS = {"lead-drop", "time-shift", "resampling-error"}  # these make samples missing
NO_CHANCE = {"limb-reversal", "gain", "clipping", "time-shift", "resampling-error"}  # the same for every seed


def recording(seed: int = 0, sig_len: int = SIG_LEN) -> np.ndarray:
    """Twelve sines of different size and offset, float32 microvolts; a flat lead, an absent one and a gap."""
    rng = np.random.default_rng(seed)
    t = np.arange(sig_len) / FS
    signal = np.stack([200 * (lead + 1) * np.sin(2 * np.pi * t * (1 + lead / 7)) + 50 * lead + rng.normal(0, 5, sig_len)
                       for lead in range(12)])
    signal[3], signal[4], signal[5, 10:40] = 120, np.nan, np.nan
    return signal.astype(np.float32)


def open_source(n: int = 9) -> Source:
    """A source of `n` recordings of `n` patients, three in each split."""
    refs = [RecordRef(f"r{i}", f"p{i}", f"file {i}", ("train", "val", "test")[i % 3]) for i in range(n)]

    def read(wanted):
        for ref in wanted:
            values = recording(int(ref.record_id[1:]))
            signal = np.where(np.isfinite(values), np.rint(np.nan_to_num(values)), MISSING).astype(np.int16)
            yield Recording(ref, signal, FS, f"report of {ref.record_id}", "en", ["code"], absent_leads=["aVL"])

    assert all(not isinstance(item, QuarantineRow) for item in read(refs))
    return Source("toy", lambda: iter(refs), read, {})


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A small finished store."""
    out = tmp_path / "stores" / "toy"
    prepare_store(open_source(), out, PrepareConfig(clean="none", shard_size=4, fs=FS, seconds=SIG_LEN / FS))
    return out


def perturb(store: Path, out: Path, kind: str = "gaussian", **options):
    level = options.pop("level", LEVELS[kind])
    return perturb_store(store, out, kind=kind, levels={level_name(kind): level}, **options)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# Every perturbation in the table, whatever it does

@pytest.mark.parametrize("kind", names.choices("perturbation"))
def test_every_perturbation_keeps_shape_missing_samples_and_its_input(kind):
    signal = recording()
    before = signal.copy()
    after = names.resolve("perturbation", kind)(signal, FS, LEVELS[kind], np.random.default_rng(1))
    assert after.shape == signal.shape and after.dtype == np.float32
    np.testing.assert_array_equal(signal, before)
    gone = np.isnan(after) & ~np.isnan(signal)
    if kind not in ("lead-swap", "limb-reversal"):  # which move what is missing with its lead
        assert bool(gone.any()) == (kind in DROPS) and np.isnan(after)[np.isnan(signal)].all()
    assert gone.any() or np.nanmax(np.abs(after - signal)) > 0


@pytest.mark.parametrize("kind", names.choices("perturbation"))
def test_every_perturbation_is_a_function_of_its_arguments(kind):
    function, global_state = names.resolve("perturbation", kind), np.random.get_state()[1].copy()
    first, again, other = (function(recording(), FS, LEVELS[kind], np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.array_equal(first, other, equal_nan=True) == (kind in NO_CHANCE)
    np.testing.assert_array_equal(np.random.get_state()[1], global_state)


@pytest.mark.parametrize("kind", names.choices("perturbation"))
def test_every_perturbation_bears_a_recording_without_samples(kind):
    nothing = np.full((12, 50), np.nan, np.float32)
    after = names.resolve("perturbation", kind)(nothing, FS, LEVELS[kind], np.random.default_rng(0))
    assert np.isnan(after).all()


@pytest.mark.parametrize("kind", names.choices("perturbation"))
def test_every_perturbation_refuses_levels_out_of_range(kind):
    for level in (float("nan"), float("inf"), 1e12, -1e12):
        with pytest.raises(MedReportError) as error:
            names.resolve("perturbation", kind)(recording(), FS, level, np.random.default_rng(0))
        assert error.value.hint


@pytest.mark.parametrize("kind", names.choices("perturbation"))
def test_every_perturbation_makes_a_view_whose_rows_fit_its_samples(kind, store, tmp_path):
    perturb(store, tmp_path / "out", kind)
    clean, view = open_store(store), open_store(tmp_path / "out")
    for i in range(0, len(view), 4):
        row, before, after = view.row(i), clean.signal(i), view.signal(i)
        absent = [name for lead, name in enumerate(LEADS) if (after[lead] == MISSING).all()]
        assert row.absent_leads == absent and (after == MISSING)[before == MISSING].all()
        present = [lead for lead, name in enumerate(LEADS) if name not in absent]
        assert row.n_missing == np.count_nonzero(after[present] == MISSING)
        assert row.signal_hash != clean.row(i).signal_hash
    assert view.manifest.details["perturbation"]["unchanged"] == 0


# gaussian

@pytest.mark.parametrize("snr_db", [-10.0, 0.0, 6.0, 20.0, 40.0])
def test_gaussian_reaches_its_ratio_in_every_lead(snr_db):
    signal = recording(sig_len=20000)
    noise = gaussian(signal, FS, snr_db, np.random.default_rng(0)).astype(np.float64) - signal
    for lead in range(12):
        if lead in (3, 4):  # flat, absent
            continue
        reached = 10 * np.log10(np.nanvar(signal[lead].astype(np.float64)) / np.nanmean(noise[lead] ** 2))
        assert reached == pytest.approx(snr_db, abs=0.15), lead


def test_gaussian_leaves_a_flat_lead_alone_and_is_independent_between_leads():
    signal = recording(sig_len=20000)
    noise = gaussian(signal, FS, 10.0, np.random.default_rng(0)) - signal
    assert not noise[3].any()
    whole = [lead for lead in range(12) if lead not in (3, 4, 5)]
    correlation = np.corrcoef(noise[whole]) - np.eye(len(whole))
    assert np.abs(correlation).max() < 0.05
    assert abs(np.corrcoef(noise[0, 1:], noise[0, :-1])[0, 1]) < 0.05


@pytest.mark.parametrize(("function", "level"), [(gaussian, float("nan")), (gaussian, float("inf")), (gaussian, 5e3),
                                                 (meit_proportion, 0.0), (meit_proportion, 1.5),
                                                 (meit_proportion, float("nan"))])
def test_a_level_out_of_range_is_refused(function, level):
    with pytest.raises(MedReportError) as error:
        function(recording(), FS, level, np.random.default_rng(0))
    assert error.value.hint


# meit-proportion

def test_meit_adds_one_row_to_all_leads_in_one_stretch():
    signal = np.nan_to_num(recording())
    lengths, sigmas = [], []
    for seed in range(400):
        noise = meit_proportion(signal, FS, 0.4, np.random.default_rng(seed)).astype(np.float64) - signal
        np.testing.assert_allclose(noise, np.broadcast_to(noise[0], noise.shape), atol=1e-3)
        hit = np.flatnonzero(np.abs(noise[0]) > 1e-3)
        if hit.size > 30:
            lengths.append(hit[-1] - hit[0] + 1)
            sigmas.append(noise[0, hit[0]:hit[-1] + 1].std() / np.ptp(signal))
    assert max(lengths) <= 0.4 * SIG_LEN and np.mean(lengths) == pytest.approx(0.2 * SIG_LEN, rel=0.15)
    assert max(sigmas) < 0.12 and np.mean(sigmas) == pytest.approx(0.05, rel=0.15)


def test_meit_noise_power_is_the_one_of_the_paper():
    # spec: proportion / 600 in squared min-max units, E[share] = p/2 and E[sigma^2] = 0.01/3
    signal = np.nan_to_num(recording())
    powers = [np.mean((meit_proportion(signal, FS, 0.2, np.random.default_rng(seed))[0] - signal[0]) ** 2)
              for seed in range(3000)]
    assert np.mean(powers) / np.ptp(signal) ** 2 == pytest.approx(0.2 / 600, rel=0.12)


# achieved ratio

def test_achieved_ratio_by_hand():
    before = np.zeros((12, 4), np.int16)
    before[0] = [100, -100, 100, -100]
    after = before.copy()
    after[0] += np.array([10, -10, 10, -10], np.int16)
    assert achieved_snr_db(before, after) == pytest.approx(20.0)
    assert achieved_snr_db(before, before) is None
    assert achieved_snr_db(np.zeros((12, 4), np.int16), after) is None


# stores

def test_only_signals_differ_and_what_was_reached_is_recorded(store, tmp_path):
    result = perturb(store, tmp_path / "noisy")
    before, after = open_store(store), open_store(tmp_path / "noisy")
    assert not result.already_finished and len(after) == len(before) == 9
    same = ["record_id", "subject_id", "split", "report", "codes", "source", "absent_leads", "n_missing", "start_s"]
    assert after.scan().select(same).collect().equals(before.scan().select(same).collect())
    assert after.dataset == before.dataset
    assert after.manifest.details["split_hash"] == before.manifest.details["split_hash"]
    rows = read_rows(tmp_path / "noisy" / PERTURBED, PerturbedRow)
    assert [row.record_id for row in rows] == before.column("record_id").to_list()
    for i, row in enumerate(rows):
        a, b = to_float_uv(before.signal(i)), to_float_uv(after.signal(i))
        np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
        assert row.snr_db == pytest.approx(10, abs=0.6) and row.changed > 0.9
        assert np.nanmax(np.abs(a[3] - b[3])) == 0
    details = after.manifest.details["perturbation"]
    assert details["kind"] == "gaussian" and details["snr_db"] == 10 and details["perturbed"] == 9
    assert details["achieved_snr_db"]["p50"] == pytest.approx(np.median([row.snr_db for row in rows]), abs=0.01)
    assert after.manifest.inputs["store"]["hash"] and after.manifest.command == "perturb"


def test_share_and_split_choose_records(store, tmp_path):
    perturb(store, tmp_path / "part", records=0.34, split="test")
    before, after = open_store(store), open_store(tmp_path / "part")
    changed = [i for i in range(9) if not np.array_equal(before.signal(i), after.signal(i))]
    assert len(changed) == 1 and before.row(changed[0]).split == "test"
    assert after.manifest.counts["perturbed"] == 1
    perturb(store, tmp_path / "more", records=0.67, split="test")
    more = {row.record_id for row in read_rows(tmp_path / "more" / PERTURBED, PerturbedRow)}
    assert before.row(changed[0]).record_id in more and len(more) == 2


def test_a_records_noise_depends_on_seed_and_record_alone(store, tmp_path):
    reversed_source = open_source()
    backwards = list(reversed(list(reversed_source.listing())))
    prepare_store(replace(reversed_source, listing=lambda: iter(backwards)), tmp_path / "reversed",
                  PrepareConfig(clean="none", shard_size=2, fs=FS, seconds=SIG_LEN / FS))
    perturb(store, tmp_path / "a")
    perturb(tmp_path / "reversed", tmp_path / "b")
    perturb(store, tmp_path / "c", seed=1)
    a, b, c = (open_store(tmp_path / name) for name in "abc")
    for i in range(9):
        np.testing.assert_array_equal(a.signal(i), b.signal(8 - i))
        assert not np.array_equal(a.signal(i), c.signal(i))


def test_same_seed_at_two_levels_is_the_same_noise_at_two_strengths(store, tmp_path):
    perturb(store, tmp_path / "weak", level=20.0)
    perturb(store, tmp_path / "strong", level=0.0)
    clean, weak, strong = (to_float_uv(open_store(path).signal(0))
                           for path in (store, tmp_path / "weak", tmp_path / "strong"))
    np.testing.assert_allclose((strong - clean)[0], 10 * (weak - clean)[0], atol=6)


@pytest.mark.parametrize(("module", "function", "call", "copy"), [
    ("perturbations.writing", "make_shard", 2, True), ("store.writer", "write_manifest", 1, True),
    ("perturbations.writing", "achieved_snr_db", 3, False), ("perturbations.writing", "write_rows", 1, False),
    ("perturbations.writing", "write_manifest", 1, False)])
def test_stopped_and_run_again_gives_the_same_bytes(store, tmp_path, monkeypatch, module, function, call, copy):
    monkeypatch.setattr(writing, "PrepareConfig", lambda: PrepareConfig(shard_size=2 if not copy else 4))
    perturb(store, tmp_path / "whole", records=0.5, copy=copy)
    owner = importlib.import_module(f"emgecg_cli.core.{module}")
    original, calls = getattr(owner, function), []

    def dies(*args, **kwargs):
        calls.append(args)
        if len(calls) == call:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(owner, function, dies)
        perturb(store, tmp_path / "cut", records=0.5, copy=copy)
    with pytest.raises(MedReportError, match="not a finished store"):
        open_store(tmp_path / "cut")
    perturb(store, tmp_path / "cut", records=0.5, copy=copy)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_default_place_and_finished_before(store):
    first = perturb(store, None, level=7.5)
    assert first.path == store.parent / "toy-gaussian-7.5"
    again = perturb(store, None, level=7.5)
    assert again.already_finished and again.manifest == first.manifest
    with pytest.raises(MedReportError, match=r"seed: 0 \(now 5\)"):
        perturb(store, None, level=7.5, seed=5)


def test_a_perturbed_store_can_be_perturbed(store, tmp_path):
    perturb(store, tmp_path / "once")
    perturb(tmp_path / "once", tmp_path / "twice", "meit-proportion", level=1.0)
    assert open_store(tmp_path / "twice").manifest.details["perturbation"]["kind"] == "meit-proportion"


@pytest.mark.parametrize(("levels", "options", "message"), [
    ({}, {}, "needs --snr-db"),
    ({"snr_db": None, "proportion": 0.1}, {}, "takes no --proportion"),
    ({"snr_db": 10.0, "proportion": 0.1}, {}, "takes no --proportion"),
    ({"snr_db": 999.0}, {}, "999 dB"),
    ({"snr_db": 10.0}, {"records": 0.0}, "share of 0"),
    ({"snr_db": 10.0}, {"records": 1.1}, "share of 1.1"),
    ({"snr_db": 10.0}, {"split": "dev"}, "no split 'dev'"),
])
def test_wrong_options_are_refused_before_anything_is_written(store, tmp_path, levels, options, message):
    with pytest.raises(MedReportError, match=message) as error:
        perturb_store(store, tmp_path / "out", kind="gaussian", levels=levels, **options)
    assert error.value.hint and not (tmp_path / "out").exists()


def test_not_in_place_and_not_an_unknown_kind(store):
    untouched = contents(store)
    with pytest.raises(MedReportError, match="in place"):
        perturb(store, store)
    with pytest.raises(MedReportError, match="did you mean 'gaussian'"):
        perturb_store(store, None, kind="gausian", levels={})
    assert contents(store) == untouched


def test_manifest_holds_no_absolute_path_of_its_own(store, tmp_path, monkeypatch):
    monkeypatch.chdir(store.parent)
    result = perturb(Path("toy"), Path("noisy"))
    assert str(tmp_path) not in json.dumps(result.manifest.details) + json.dumps(result.manifest.arguments)
    assert result.manifest.inputs["store"]["path"] == "../toy"
