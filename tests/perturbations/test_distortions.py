"""What each modelled distortion does, by an independent look at its spectrum, its leads or its samples."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from store_helpers import prepare

from emgecg_cli.commands.app import run
from emgecg_cli.core import names
from emgecg_cli.core.datasets import open_dataset
from emgecg_cli.core.perturbations import SUITES
from emgecg_cli.core.signals.leads import LEADS

FS, LENGTH = 500, 5000
NOISES = ("baseline-wander", "muscle", "electrode-motion", "mains")


@pytest.fixture(scope="module")
def ecg() -> np.ndarray:
    """A clean simulated recording, float32 microvolts (12, 5000)."""
    source = open_dataset("synthetic", 0, FS, records=12)
    return next(iter(source.read(list(source.listing())[:1]))).signal.astype(np.float32)


def apply(kind: str, signal: np.ndarray, level: float, seed: int = 0, fs: int = FS) -> np.ndarray:
    return names.resolve("perturbation", kind)(signal, fs, level, np.random.default_rng(seed))


@pytest.mark.parametrize("kind", NOISES)
def test_noise_reaches_its_ratio_and_keeps_einthovens_law(ecg: np.ndarray, kind: str) -> None:
    for level in (20.0, 0.0, -10.0):
        noise = apply(kind, ecg, level).astype(np.float64) - ecg
        power = ((ecg - ecg.mean(axis=1, keepdims=True)).astype(np.float64) ** 2).mean(axis=1).sum()
        assert 10 * np.log10(power / (noise ** 2).mean(axis=1).sum()) == pytest.approx(level, abs=0.01)
        one, two, three = noise[:3]
        assert np.abs(one + three - two).max() < 1e-3 * np.abs(noise).max() + 0.01
        assert np.abs(noise[3:6].sum(axis=0)).max() < 1e-3 * np.abs(noise).max() + 0.01
    strong, weak = (apply(kind, ecg, level).astype(np.float64) - ecg for level in (0.0, 20.0))
    np.testing.assert_allclose(strong, 10 * weak, rtol=1e-2, atol=0.5)


@pytest.mark.parametrize(("kind", "low", "high"), [("baseline-wander", 0.0, 0.7), ("muscle", 19.0, 151.0),
                                                   ("mains", 49.0, 151.0), ("electrode-motion", 0.0, 12.0)])
def test_noise_lies_in_its_band(ecg: np.ndarray, kind: str, low: float, high: float) -> None:
    noise = apply(kind, np.tile(ecg, 4), 0.0).astype(np.float64) - np.tile(ecg, 4)
    power = (np.abs(np.fft.rfft(noise * np.hanning(noise.shape[1]), axis=1)) ** 2).sum(axis=0)
    frequencies = np.fft.rfftfreq(noise.shape[1], 1 / FS)
    assert power[(frequencies >= low) & (frequencies <= high)].sum() > 0.95 * power.sum()
    if kind == "mains":
        assert frequencies[power.argmax()] == pytest.approx(50, abs=0.05)


def test_leads_that_are_dropped_swapped_or_turned(ecg: np.ndarray) -> None:
    for number in (1, 6, 11):
        dropped = np.isnan(apply("lead-drop", ecg, number)).all(axis=1)
        assert dropped.sum() == number and np.array_equal(apply("lead-drop", ecg, number)[~dropped], ecg[~dropped])
        turned = apply("polarity", ecg, number)
        changed = (turned != ecg).any(axis=1)
        assert changed.sum() == number and np.array_equal(turned[changed], -ecg[changed])
    for number in (1, 6):
        swapped = apply("lead-swap", ecg, number)
        place = [next(i for i in range(12) if np.array_equal(ecg[i], swapped[lead])) for lead in range(12)]
        assert sum(a != lead for lead, a in enumerate(place)) == 2 * number
        assert [place[a] for a in place] == [*range(12)]


@pytest.mark.parametrize(("level", "swapped"), [(1, ("RA", "LA")), (2, ("RA", "LL")), (3, ("LA", "LL"))])
def test_a_limb_reversal_is_that_of_the_electrodes(level: int, swapped: tuple[str, str]) -> None:
    rng = np.random.default_rng(3)
    at = {name: rng.normal(size=50) for name in ("RA", "LA", "LL")}

    def leads(at: dict[str, np.ndarray]) -> np.ndarray:
        right, left, foot = at["RA"], at["LA"], at["LL"]
        return np.stack([left - right, foot - right, foot - left, right - (left + foot) / 2, left - (right + foot) / 2,
                         foot - (right + left) / 2, *np.zeros((6, 50))]).astype(np.float32)

    moved = at | {swapped[0]: at[swapped[1]], swapped[1]: at[swapped[0]]}
    assert list(LEADS[:6]) == ["I", "II", "III", "aVR", "aVL", "aVF"]
    np.testing.assert_allclose(apply("limb-reversal", leads(at), level), leads(moved), atol=1e-5)


def test_gain_clipping_shift_and_rate(ecg: np.ndarray) -> None:
    np.testing.assert_array_equal(apply("gain", ecg, 2.0), 2 * ecg)
    np.testing.assert_array_equal(apply("clipping", ecg, 0.2), np.clip(ecg, -200, 200))
    for seconds in (1.5, -1.5):
        shifted = apply("time-shift", ecg, seconds)
        by = 750
        kept = shifted[:, :-by] if seconds > 0 else shifted[:, by:]
        np.testing.assert_array_equal(kept, ecg[:, by:] if seconds > 0 else ecg[:, :-by])
        assert np.isnan(shifted).sum() == 12 * by
    t = np.arange(LENGTH) / FS
    wave = np.tile(np.sin(2 * np.pi * t), (12, 1)).astype(np.float32)
    fast, slow = apply("resampling-error", wave, 25), apply("resampling-error", wave, -20)
    np.testing.assert_allclose(slow[0], np.sin(2 * np.pi * 0.8 * t), atol=1e-3)
    there = ~np.isnan(fast[0])
    np.testing.assert_allclose(fast[0][there], np.sin(2 * np.pi * 1.25 * t)[there], atol=1e-3)
    assert there.sum() == 4000
    white = apply("gaussian-ratio", wave * 1000, 0.05) - wave * 1000
    assert np.var(wave * 1000) / np.var(white) == pytest.approx(0.05, rel=0.05)


def test_several_levels_and_a_suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                    capsys: pytest.CaptureFixture[str]) -> None:
    prepare(open_dataset("synthetic", 0, records=12), tmp_path / "s", shard_size=64)
    line = ["perturb", str(tmp_path / "s"), "--workers", "1", "--json"]
    assert run([*line, "--kind", "gaussian", "--level", "20,0"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert [Path(one["path"]).name for one in made] == ["s-gaussian-20", "s-gaussian-0"]
    assert [round(one["achieved_snr_db"]["p50"]) for one in made] == [20, 0]
    monkeypatch.setitem(SUITES, "robustness", {"gain": (2.0,), "lead-drop": (1.0, 3.0)})
    assert run([*line, "--suite", "robustness"]) == 0
    assert [one["kind"] for one in json.loads(capsys.readouterr().out)] == ["gain", "lead-drop", "lead-drop"]
    for more, says in ((["--kind", "gaussian"], "needs --snr-db"), (["--kind", "gain"], "needs --level"),
                       ([], "either --kind or --suite"), (["--kind", "gain", "--suite", "robustness"], "either --kind"),
                       (["--suite", "hard"], "no suite 'hard'"),
                       (["--suite", "robustness", "--snr-db", "3"], "give one of them"),
                       (["--kind", "gain", "--level", "2,x"], "not numbers"),
                       (["--kind", "gain", "--level", "2,2"], "twice"),
                       (["--kind", "gain", "--level", "2,3", "--out", "x"], "--out names one place"),
                       (["--kind", "gaussian", "--level", "2", "--snr-db", "2"], "--level is the level"),
                       (["--kind", "mains", "--level", "200"], "200 dB")):
        assert run([*line, *more]) == 2 and says in capsys.readouterr().err, more


def test_every_level_of_a_suite_can_be_made(ecg: np.ndarray) -> None:
    for kind, levels in SUITES["robustness"].items():
        for level in levels:
            assert apply(kind, ecg, level).shape == ecg.shape


def test_the_suite_holds_every_kind_but_the_two_that_are_one_kinds_other_scales() -> None:
    assert set(SUITES["robustness"]) == set(names.PERTURBATIONS) - {"gaussian-ratio", "meit-proportion"}
