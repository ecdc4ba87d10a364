"""Hashes and fingerprints of recordings, and the search for pairs among them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ptbxl_fixture import twelve_leads
from scipy.signal import butter, sosfiltfilt

from emgecg_cli.core.datasets.formats.wfdb_headers import read_header
from emgecg_cli.core.datasets.formats.wfdb_records import read_leads
from emgecg_cli.core.signals import duplicates
from emgecg_cli.core.signals.duplicates import first_equal, near_matches, near_pairs, surely_found
from emgecg_cli.core.signals.fingerprint import NEAR_BITS, _waves, fingerprint, signal_hash
from emgecg_cli.core.signals.leads import LEADS, MISSING, to_int16_uv
from emgecg_cli.core.signals.resampling import resample
from emgecg_cli.core.signals.similarity import SAME_RECORDING, similarity


def distance(a: str | None, b: str | None) -> int:
    assert a and b
    return (int(a, 16) ^ int(b, 16)).bit_count()


def changed(signal: np.ndarray, fs: int) -> dict[str, tuple[np.ndarray, int]]:
    """The same recording as others might have stored it."""
    rng = np.random.default_rng(0)
    no_wander = sosfiltfilt(butter(2, 0.5, "high", fs=fs, output="sos"), signal.astype(float), axis=1)
    absent = signal.copy()
    absent[7] = MISSING
    at_400 = resample(signal, fs, 400)[0]
    return {
        "100 Hz": (resample(signal, fs, 100)[0], 100), "400 to 100 Hz": (resample(at_400, 400, 100)[0], 100),
        "500 Hz": (resample(signal, fs, 500)[0], 500), "360 Hz": (resample(signal, fs, 360)[0], 360),
        "half": (to_int16_uv(signal * 0.5)[0], fs), "double": (to_int16_uv(signal * 2.0)[0], fs),
        "offset": (signal + np.arange(-240, 240, 40, dtype=np.int16)[:, None], fs),
        "rounded": (to_int16_uv(np.rint(signal / 10) * 10)[0], fs), "high-pass": (to_int16_uv(no_wander)[0], fs),
        "noise": (to_int16_uv(signal + rng.uniform(-20, 20, signal.shape))[0], fs), "absent": (absent, fs),
        "padded": (np.pad(signal, ((0, 0), (0, fs)), constant_values=int(MISSING)), fs),
        "cut": (signal[:, :6 * fs], fs)}


def test_a_hash_is_of_the_samples() -> None:
    signal = twelve_leads(0, 100)
    assert len(signal_hash(signal)) == 16 and signal_hash(signal) == signal_hash(np.asfortranarray(signal))
    other = signal.copy()
    other[11, 500] += 1
    assert signal_hash(other) != signal_hash(signal)
    assert signal_hash(np.full((12, 99), 7, np.int16)) == signal_hash(signal[:, :0]) == ""


def test_a_fingerprint_of_nothing_is_none() -> None:
    signal = twelve_leads(0, 100)
    flat = np.full_like(signal, 3)
    flat[:3] = signal[:3]
    for nothing in (flat, np.full_like(signal, MISSING), signal[:, :0], signal[:, :1]):
        assert fingerprint(nothing, 100) is None


def test_fingerprints_are_frozen() -> None:
    # A store's fingerprints are compared with those another version wrote.
    ramp = (np.arange(12)[:, None] * 37 + np.arange(1000) ** 2 % 701).astype(np.int16)
    assert fingerprint(ramp, 100) == "c5c94343c4227c38a29cd06b2cba93df"
    assert fingerprint(ramp, 250) == "cc19a67efb6f9e1f5ddfaafe80db1455"
    assert not _waves(360, 3).sum(axis=-1).any()


@pytest.mark.parametrize("fs", [100, 500])
@pytest.mark.parametrize("seed", range(3))
def test_the_same_recording_is_near_and_alike_however_it_is_stored(fs: int, seed: int) -> None:
    signal = twelve_leads(seed, fs)
    code = fingerprint(signal, fs)
    for name, (other, other_fs) in changed(signal, fs).items():
        assert distance(code, fingerprint(other, other_fs)) <= (14 if name == "absent" else 8), name
        found = similarity(signal, fs, other, other_fs)
        assert found and found.correlation > 0.97 and abs(found.lag_s) < 0.01, name
        assert found.n_leads == (11 if name == "absent" else 12)


def test_other_recordings_are_far_and_not_alike() -> None:
    signals = [twelve_leads(seed, 100) for seed in range(40)]
    codes = [fingerprint(signal, 100) for signal in signals]
    assert near_pairs(codes) == []
    assert min(distance(a, b) for i, a in enumerate(codes) for b in codes[:i]) > NEAR_BITS + 4
    found = [similarity(signals[0], 100, other, 100) for other in signals[1:]]
    assert max(one.correlation for one in found if one) < SAME_RECORDING - 0.05


def test_similarity_finds_the_lag_and_says_when_there_is_nothing_to_compare() -> None:
    signal = twelve_leads(3, 500)
    found = similarity(signal, 500, signal[:, 15:], 500)
    assert found and found.correlation > 0.97 and abs(found.lag_s + 0.03) < 0.005
    assert similarity(signal, 500, np.full_like(signal, MISSING), 500) is None
    assert similarity(signal, 500, np.zeros_like(signal), 500) is None


def random_codes(n: int, rng: np.random.Generator) -> list[str | None]:
    return [row.tobytes().hex() for row in rng.integers(0, 256, (n, 16), dtype=np.uint8)]


def flipped(code: str | None, bits: list[int]) -> str:
    number = int(code or "", 16)
    for bit in bits:
        number ^= 1 << bit
    return f"{number:032x}"


@pytest.mark.parametrize(("has_bitwise_count", "of_a_key", "sure"), [
    (True, 4, 15), (False, 4, 15), (True, 1 / 400, 13)])
def test_all_near_pairs_are_found_and_no_other(has_bitwise_count: bool, of_a_key: float, sure: int,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    if not has_bitwise_count:  # numpy before 2.0
        monkeypatch.delattr(np, "bitwise_count", raising=False)
    monkeypatch.setattr(duplicates, "OF_A_KEY", of_a_key)  # as few bands as hundreds of thousands have
    assert surely_found(600) == surely_found(400) == sure
    rng = np.random.default_rng(1)
    codes = random_codes(400, rng)
    codes[50:90] = [f"{code[:4]}0000{code[8:]}" for code in codes[50:90] if code]  # recordings that lack a lead
    codes += [flipped(codes[i], rng.choice(128, i % 24, replace=False).tolist()) for i in range(200)] + [None, None]
    codes[470] = f"{codes[470][:28]}0000"  # the copy alone lacks one
    near = {(i, j) for i in range(600) for j in range(i + 1, 600) if distance(codes[i], codes[j]) <= NEAR_BITS}
    found = near_pairs(codes)
    assert found == sorted(set(found)) and set(found) <= near
    assert {pair for pair in near if distance(codes[pair[0]], codes[pair[1]]) <= sure} <= set(found)
    assert len(found) > 0.9 * len(near)
    matches = near_matches(codes[400:], codes[:400]).tolist()
    assert {(b, a + 400) for a, b in matches} == {pair for pair in found if pair[0] < 400 <= pair[1]}


@pytest.mark.parametrize(("count", "sure"), [(262_144, 15), (262_145, 13), (1_048_576, 13), (1_048_577, 11),
                                             (10 ** 9, 11)])
def test_fewer_records_share_wider_keys(count: int, sure: int) -> None:
    assert surely_found(count) == sure


def test_many_copies_give_as_many_pairs_and_not_their_square() -> None:
    rng = np.random.default_rng(2)
    a, b = random_codes(2, rng)
    near = flipped(a, [3, 77])
    assert near_pairs([b, a, None, a, a, near, near]) == [(1, 3), (1, 4), (1, 5), (1, 6), (3, 5), (4, 5), (5, 6)]
    assert near_matches([a, a], [near, near, b]).tolist() == [[0, 0], [1, 0]]
    assert near_pairs([a] * 3000)[-1] == (0, 2999) and len(near_pairs([a] * 3000)) == 2999


@pytest.mark.parametrize("of_a_key", [4, 1 / 20])
def test_a_lead_that_all_lack_makes_no_candidates(of_a_key: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "OF_A_KEY", of_a_key)
    rng = np.random.default_rng(3)
    codes = [f"{code[:8]}0000{code[12:]}" for code in random_codes(20_000, rng) if code]
    codes.append(flipped(codes[7], [0, 1, 40]))
    assert near_pairs(codes) == [(7, 20_000)]  # in a moment, and not after 200 million comparisons


def test_equal_hashes_and_none_at_all() -> None:
    a, b, c = "0" * 15 + "1", "f" * 16, "ab" * 8
    assert first_equal([a, "", b, None, c], ["", b, b, a]).tolist() == [3, -1, 1, -1, -1]
    assert first_equal([a], []).tolist() == [-1] and first_equal([], [a]).tolist() == []
    assert near_pairs([]) == near_pairs([None]) == [] and near_matches([], [None]).shape == (0, 2)
    with pytest.raises(ValueError, match="32 hexadecimal digits"):
        near_pairs(["abcd"])


def test_real_duplicates_are_found_and_copies_at_two_rates_are_near(shared_data: Path) -> None:
    root = shared_data / "ptb-xl"
    codes, names = [], []
    for rate, suffix in ((100, "lr"), (500, "hr")):
        for number in range(101, 201):
            record = f"records{rate}/00000/{number:05d}_{suffix}"
            codes.append(fingerprint(read_leads(read_header(root, record)).signal, rate))
            names.append(number)
    found = {(names[a], names[b]) for a, b in near_pairs(codes)}
    # Of equal ones the first stands for both.
    assert {(n, n) for n in range(101, 201) if n not in (138, 144)} <= found
    # Two recordings that PTB-XL holds twice.
    assert {(min(pair), max(pair)) for pair in found if pair[0] != pair[1]} == {(137, 138), (143, 144)}
    georgia = [read_leads(read_header(shared_data / "cinc2021" / "georgia", f"E075{n:02d}")).signal for n in (9, 10)]
    assert signal_hash(georgia[0]) == signal_hash(georgia[1]) != ""


def test_eight_leads_decide_and_their_order_is_fixed() -> None:
    signal = twelve_leads(5, 100)
    code = fingerprint(signal, 100) or ""
    for place, name in enumerate(("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")):
        other = signal.copy()
        other[LEADS.index(name)] *= -1
        differs = [i for i in range(8) if (fingerprint(other, 100) or "")[4 * i:4 * i + 4] != code[4 * i:4 * i + 4]]
        assert differs == [place]
