"""What a recording shows of its own defects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ptbxl_fixture import twelve_leads

from emgecg_cli.core.datasets.formats.wfdb_headers import read_header
from emgecg_cli.core.datasets.formats.wfdb_records import read_leads
from emgecg_cli.core.signals.leads import LEADS, MISSING, to_int16_uv
from emgecg_cli.core.signals.limb_leads import _quantiles
from emgecg_cli.core.signals.precordial import find_precordial_glitch
from emgecg_cli.core.signals.quality import SignalChecks, check_limb_leads, check_signal


def read(root: Path, record: str) -> np.ndarray:
    return read_leads(read_header(root, record)).signal


def scaled(signal: np.ndarray, gain: float | np.ndarray) -> np.ndarray:
    return to_int16_uv(signal * gain)[0]


@pytest.mark.parametrize("largest", [3, 15, 16, 300, 30_000])
def test_order_statistics_are_those_of_a_sort(largest: int) -> None:
    rng = np.random.default_rng(largest)
    for n in (1, 2, 99, 100, 101, 5000):
        values = rng.integers(0, largest + 1, n)
        ordered = np.sort(values)
        assert _quantiles(values) == (ordered[(n - 1) // 2], ordered[99 * (n - 1) // 100], ordered[-1])


def test_large_amplitudes_do_not_overflow() -> None:
    signal = np.random.default_rng(0).integers(-32767, 32768, (12, 1000)).astype(np.int16)
    wide = signal.astype(np.int64)
    expected = np.sort(np.abs(wide[0] + wide[2] - wide[1]))[(signal.shape[1] - 1) // 2]
    found = check_limb_leads(signal)
    assert found.einthoven_p50_uv == expected
    i, ii, iii, avr, avl, avf = wide[:6]
    twice = np.max(np.abs([2 * avr + i + ii, 2 * avl - i + iii, 2 * avf - ii - iii]), axis=0)
    assert found.goldberger_p99_uv == np.sort(twice)[99 * (signal.shape[1] - 1) // 100] / 2


@pytest.mark.parametrize(("leads", "errors"), [
    (["aVR"], [800]), (["I"], [800]), (["III"], [-700]), (["aVR", "aVF"], [2560, 2560]), (["II", "aVL"], [900, 700])])
def test_a_burst_is_named_by_leads_size_and_place(leads: list[str], errors: list[int]) -> None:
    signal = twelve_leads(1, 500)
    assert check_signal(signal, 500).lead_glitch is None
    for name, error in zip(leads, errors, strict=True):
        signal[LEADS.index(name), 1000:1009] += error
    found = check_signal(signal, 500)
    assert found.lead_check == "ok"
    named, _, rest = (found.lead_glitch or "").partition(" off by ")
    assert named == " and ".join(leads) and rest.endswith(" uV at samples 1000-1008 (2.00 s)")
    assert abs(int(rest.split()[0]) - max(map(abs, errors))) <= 5


def test_a_burst_after_a_gap_keeps_its_place_and_several_are_counted() -> None:
    signal = twelve_leads(1, 500)
    signal[4, 100:300] = MISSING
    signal[[4, 4], [2000, 3000]] += 500
    glitch = check_signal(signal, 500).lead_glitch or ""
    assert glitch.startswith("aVL off by 50") and "at sample 2000 (4.00 s); 2 such bursts" in glitch


def test_a_swap_is_no_glitch() -> None:
    signal = twelve_leads(2, 100)
    signal[[3, 4]] = signal[[4, 3]]
    found = check_signal(signal, 100)
    assert found.lead_check.endswith("aVR and aVL look swapped") and found.lead_glitch is None


def test_leads_scaled_one_by_one_are_said_to_be() -> None:
    signal = twelve_leads(2, 500)
    gains = np.array([1, 0.5, 2.0, 1, 1.5, 0.7] + [1] * 6)
    verdict = check_signal(scaled(signal, gains[:, None]), 500).lead_check
    assert "each lead looks scaled or shifted by itself, gains I " in verdict
    found = [float(word) for word in verdict.replace(",", "").split() if word.replace(".", "").isdigit()][1:]
    assert np.allclose(np.array(found) * gains[:6] / (found[0] * gains[0]), 1, atol=0.15)


@pytest.mark.parametrize(("gain", "expected"), [(1e-3, "about 1000 times too small"), (1, "ok"), (0.4, "ok"), (4, "ok"),
                                                (1e-2, "about 100 times too small"), (1e3, "times too large")])
def test_a_slip_of_units_is_seen_and_low_voltage_is_none(gain: float, expected: str) -> None:
    found = check_signal(scaled(twelve_leads(5, 100), gain), 100).scale_check
    assert found.endswith(expected) and found.startswith("suspect" if gain not in (1, 0.4, 4) else "ok")


def test_one_lead_of_another_scale_is_named() -> None:
    signal = twelve_leads(5, 100)
    signal[8] = scaled(signal[8], 0.01)
    assert check_signal(signal, 100).scale_check.startswith("suspect: V3 spans ")


def test_flat_leads_and_stretches() -> None:
    signal = twelve_leads(6, 100)
    signal[7], signal[9, 300:620] = 0, -4
    signal[10] = 12
    signal[10, 500] = 900
    signal[11] = MISSING
    found = check_signal(signal, 100)
    assert found.flat_leads == ["V2", "V5"] and found.flat_stretches == ["V4 for 3.2 s from 3.0 s"]
    assert found.scale_check == "ok"


def test_a_gap_is_not_flat_and_does_not_count_for_the_scale() -> None:
    signal = twelve_leads(6, 100)
    signal[8, 200:700] = MISSING
    signal[7, 900:] = MISSING
    found = check_signal(signal, 100)
    assert (found.flat_leads, found.flat_stretches, found.scale_check) == ([], [], "ok")


@pytest.mark.parametrize("fs", [100, 500])
def test_saturation_is_seen_in_repeated_plateaus(fs: int) -> None:
    signal = twelve_leads(7, fs)
    assert check_signal(signal, fs).saturated_leads == []
    limit = int(0.3 * signal[10].max())
    signal[10] = np.minimum(signal[10], limit)
    assert check_signal(signal, fs).saturated_leads == ["V5"]


def test_a_value_held_at_the_end_is_no_saturation() -> None:
    signal = twelve_leads(7, 500)
    signal[10, -600:] = signal[10].max() + 5
    assert check_signal(signal, 500).saturated_leads == []


@pytest.mark.parametrize("shape", [(12, 0), (12, 1), (12, 3), (12, 99), (12, 101)])
@pytest.mark.parametrize("value", [0, MISSING, 32767, -32767])
def test_odd_signals_are_checked_without_an_error(shape: tuple[int, int], value: int) -> None:
    signal = np.full(shape, value, np.int16)
    found = check_signal(signal, 100)
    assert isinstance(found, SignalChecks) and found.scale_check.startswith("not checked")


# every one looked at: spikes and steps that no other lead shows
PRECORDIAL = {"00016_hr": "V1", "00027_hr": "V2", "00182_hr": "V5", "00283_hr": "V5", "00292_hr": "V1",
              "00304_hr": "V4", "00332_hr": "V6", "00352_hr": "V1"}


def test_the_glitches_of_ptb_xl_are_those_that_can_be_seen(shared_data: Path) -> None:
    root = shared_data / "ptb-xl"
    found = {}
    for path in sorted((root / "records500" / "00000").glob("*.hea")):
        checks = check_signal(read(root, f"records500/00000/{path.stem}"), 500)
        assert (checks.lead_check, checks.scale_check, checks.flat_leads, checks.flat_stretches,
                checks.saturated_leads) == ("ok", "ok", [], [], [])
        if checks.lead_glitch:
            found[path.stem] = checks.lead_glitch
    assert found.pop("00162_hr") == "aVR and aVF off by 2561 uV at samples 791-799 (1.58 s)"
    assert {record: glitch.partition(" jumps by ")[0] for record, glitch in found.items()} == PRECORDIAL
    assert found["00292_hr"].startswith("V1 jumps by +70")


def test_no_recording_of_ludb_has_a_jump(shared_data: Path) -> None:
    """Paced beats, ectopic beats and steep complexes among them."""
    for number in range(1, 101):
        assert find_precordial_glitch(read(shared_data / "ludb", f"data/{number}"), 500) is None


@pytest.mark.parametrize("fs", [100, 250, 500])
@pytest.mark.parametrize(("lead", "size"), [("V1", -11_100), ("V4", 8_300), ("V6", 6_000)])
@pytest.mark.parametrize("length_s", [0.01, 0.2, 4.0])
def test_a_spike_or_step_of_one_precordial_lead_is_named(fs: int, lead: str, size: int, length_s: float) -> None:
    signal = twelve_leads(3, fs)
    assert check_signal(signal, fs).lead_glitch is None
    start = _still(signal, fs)
    signal[LEADS.index(lead), start:start + max(1, round(length_s * fs))] += size
    found = check_signal(signal, fs).lead_glitch or ""
    named, _, rest = found.partition(" jumps by ")
    assert named == lead and abs(int(rest.split()[0])) == pytest.approx(abs(size), abs=400)
    place = int(rest.split(" at sample ")[1].split()[0])
    assert min(abs(place - start), abs(place - start - round(length_s * fs))) <= 0.01 * fs + 1


def _still(signal: np.ndarray, fs: int) -> int:
    """A place where no precordial lead moves much."""
    moves = np.abs(np.diff(signal[6:].astype(int), axis=1)).max(axis=0)
    reach = round(0.15 * fs)
    quiet = [moves[i - reach:i + reach].max() for i in range(2 * fs, 4 * fs)]
    return 2 * fs + int(np.argmin(quiet))


def test_what_all_leads_do_together_and_what_is_missing_is_no_jump() -> None:
    signal = twelve_leads(3, 500)
    together = signal.copy()
    together[6:, 1500:1503] += 4000  # a pacing spike
    assert find_precordial_glitch(together, 500) is None
    gap = signal.copy()
    gap[8, 1500:1700] = MISSING
    assert find_precordial_glitch(gap, 500) is None
    alone = np.full_like(signal, MISSING)
    alone[6] = signal[6]
    alone[6, 1500] += 9000
    assert find_precordial_glitch(alone, 500) is None  # there is nothing to hold it against
    for short in (np.zeros((12, 0), np.int16), signal[:, :40]):
        assert find_precordial_glitch(short, 500) is None


def test_a_glitch_of_limb_leads_and_one_of_a_precordial_lead_are_both_said() -> None:
    signal = twelve_leads(3, 500)
    start = _still(signal, 500)
    signal[3, start:start + 9] += 800
    signal[9, start + 40] += 7000
    glitch = check_signal(signal, 500).lead_glitch or ""
    assert glitch.startswith("aVR off by") and ". V4 jumps by " in glitch


def test_flat_leads_and_leads_of_their_own_scale_in_real_recordings(shared_data: Path) -> None:
    ningbo = shared_data / "cinc2021" / "ningbo"
    assert check_signal(read(ningbo, "JS20004"), 500).flat_leads == ["V2", "V4", "V6"]
    assert "scaled or shifted by itself" in check_signal(read(shared_data / "ludb", "data/36"), 500).lead_check
