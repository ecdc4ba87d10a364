"""What the codes of the synthetic cohort say can be measured on its signals, by means that know nothing of the codes.

Noise-free records in millivolts; R peaks are found on the signal, beats are medians over a record.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from emgecg_cli.core.datasets.synthetic import RECORDS_PER_BLOCK, draw_block
from emgecg_cli.core.datasets.synthetic.findings import CODES
from emgecg_cli.core.datasets.synthetic.render import DOWER, render
from emgecg_cli.core.signals.leads import LEADS

FS = 500


class Measured:
    """Noise-free records of two blocks, in millivolts, with R peaks found on the signal."""

    def __init__(self) -> None:
        blocks = [draw_block(11, number, "full") for number in (0, 1)]
        self.signals = np.concatenate(
            [render(b.hearts, b.beats, slice(0, RECORDS_PER_BLOCK), FS, None) / 1000 for b in blocks]
        )
        self.has = {code: np.concatenate([b.has[code] for b in blocks]) for code in CODES}
        self.stated_rate = np.concatenate([b.beats.rate for b in blocks])
        self.peaks = [self._peaks(signal) for signal in self.signals]

    def _peaks(self, signal: np.ndarray) -> np.ndarray:
        energy = gaussian_filter1d((np.gradient(signal, axis=1) ** 2).sum(axis=0), 10)
        return find_peaks(energy, height=0.2 * np.quantile(energy, 0.99), distance=0.3 * FS)[0]

    def beat(self, i: int) -> np.ndarray:
        """The median beat of record i (12, 500): 0.4 s before to 0.6 s after the steepest moment."""
        inside = [p for p in self.peaks[i] if 200 <= p < self.signals.shape[2] - 300]
        beat = np.median([self.signals[i][:, p - 200 : p + 300] for p in inside], axis=0)
        return beat - np.median(beat, axis=1, keepdims=True)

    def only(self, code: str, *without: str) -> np.ndarray:
        mask = self.has[code].copy()
        for other in without:
            mask &= ~self.has[other]
        return np.flatnonzero(mask)


@pytest.fixture(scope="module")
def measured() -> Measured:
    return Measured()


def test_rate_and_irregularity_on_the_signal(measured: Measured) -> None:
    quiet = ("pvc", "lowv")
    spread = []
    for i in measured.only("afib", *quiet):
        rr = np.diff(measured.peaks[i]) / FS
        spread.append(rr.std() / rr.mean())
    assert len(spread) > 10 and np.quantile(spread, 0.1) > 0.11
    for code in ("sr", "sbrad", "stach"):
        for i in measured.only(code, *quiet):
            rr = np.diff(measured.peaks[i]) / FS
            assert rr.std() / rr.mean() < 0.07
            assert 60 / rr.mean() == pytest.approx(measured.stated_rate[i], rel=0.03)


def test_axis_on_the_signal(measured: Measured) -> None:
    blocks = ("lbbb", "rbbb", "pvc")
    for code, signs in (("lad", (1, -1)), ("rad", (-1, 1))):
        rows = measured.only(code, *blocks)
        assert len(rows) > 5
        for i in rows:
            qrs = measured.beat(i)[:, 150:250]
            net = qrs.max(axis=1) + qrs.min(axis=1)
            assert (np.sign(net[LEADS.index("I")]), np.sign(net[LEADS.index("aVF")])) == signs


def test_voltage_on_the_signal(measured: Measured) -> None:
    others = ("lbbb", "rbbb", "pvc")
    to_frank = np.linalg.pinv(DOWER)

    def swing(code: str, *without: str) -> np.ndarray:
        loops = [to_frank @ measured.beat(i)[[0, 1, *range(6, 12)], 150:250] for i in measured.only(code, *without)]
        return np.array([np.linalg.norm(loop, axis=0).max() for loop in loops])

    low, normal, high = swing("lowv", *others), swing("sr", *others, "lvh", "lowv"), swing("lvh", *others)
    assert min(len(low), len(normal), len(high)) > 5
    assert low.max() < 0.6 < normal.min() and normal.max() < 1.5 < high.min()


def test_qrs_duration_on_the_signal(measured: Measured) -> None:
    def duration(i: int) -> float:
        slope = np.abs(np.gradient(measured.beat(i)[:, 130:270], axis=1)).sum(axis=0)
        return float(np.count_nonzero(slope > 0.15 * slope.max())) / FS

    narrow = [duration(i) for i in measured.only("sr", "lbbb", "rbbb", "pvc", "lowv")]
    right, left = ([duration(i) for i in measured.only(code, "pvc", "lowv")] for code in ("rbbb", "lbbb"))
    assert min(len(right), len(left)) > 10
    assert max(narrow) < 0.097 < min(right) and max(right) < 0.135 < min(left)


def test_st_and_t_on_the_signal(measured: Measured) -> None:
    others = ("lbbb", "rbbb", "pvc", "afib", "lowv")
    leads = {"inf": LEADS.index("aVF"), "ant": LEADS.index("V2"), "lat": LEADS.index("V6")}
    for code in CODES:
        kind, _, region = code.partition("_")
        if kind not in {"ste", "std", "twi"}:
            continue
        rows = measured.only(code, *others, "stach")
        assert len(rows) >= 2, code
        for i in rows:
            lead = measured.beat(i)[leads[region]]
            if kind == "twi":
                late = lead[270 : 200 + int(0.6 * FS * 60 / measured.stated_rate[i])]
                assert abs(late.min()) > 1.5 * late.max(), (code, i)
            else:
                r = 150 + int(np.argmax(np.linalg.norm(measured.beat(i)[:, 150:250], axis=0)))
                level = lead[r + 35 : r + 50].mean() - lead[r - 28 : r - 20].mean()
                assert (level > 0.1) if kind == "ste" else (level < -0.1), (code, i, level)


def test_pr_and_qt_on_the_signal(measured: Measured) -> None:
    to_frank = np.linalg.pinv(DOWER)
    p_to_r: dict[bool, list[float]] = {False: [], True: []}
    r_to_t: dict[bool, list[float]] = {False: [], True: []}
    for i in range(len(measured.signals)):
        if any(measured.has[code][i] for code in ("afib", "stach", "pvc", "lbbb", "rbbb", "lowv")):
            continue
        rr = 60 / measured.stated_rate[i]
        vector = to_frank @ measured.beat(i)[[0, 1, *range(6, 12)]]
        size = np.linalg.norm(vector, axis=0)
        r = 150 + int(np.argmax(size[150:250]))
        downward = vector[1, r - 150 : r - 35]
        bumps = find_peaks(downward)[0]
        p = bumps[np.argmax(downward[bumps])]
        t = 70 + int(np.argmax(size[r + 70 : r + int(0.65 * rr * FS)]))
        p_to_r[bool(measured.has["avb1"][i])].append((150 - p) / FS)
        r_to_t[bool(measured.has["lqt"][i])].append(t / FS / np.sqrt(rr))
    assert min(len(p_to_r[True]), len(r_to_t[True])) > 10
    assert max(p_to_r[False]) < 0.17 < min(p_to_r[True])
    assert max(r_to_t[False]) < 0.345 < min(r_to_t[True])


def test_every_ectopic_patient_shows_wide_odd_beats(measured: Measured) -> None:
    blocks = [draw_block(11, number, "full") for number in (0, 1)]
    times = np.concatenate([b.beats.times for b in blocks])
    ectopic = np.concatenate([b.beats.ectopic for b in blocks])
    rows = np.flatnonzero(measured.has["pvc"])
    assert len(rows) > 10 and np.array_equal(rows, np.flatnonzero(ectopic.any(axis=1)))
    for i in rows:
        at = times[i, ectopic[i]]
        assert 2 <= len(at) <= 5 and at.min() > 0.15 and at.max() < 9.9
        own = times[i, ~ectopic[i] & (times[i] > 0.2) & (times[i] < 9.5)]

        def area(moments: np.ndarray, i: int = i) -> np.ndarray:
            windows = [measured.signals[i][:, int((t - 0.08) * FS) : int((t + 0.12) * FS)] for t in moments]
            return np.array([np.abs(w).sum() for w in windows])

        assert np.median(area(at)) > 1.15 * np.median(area(own))
