"""Lead order by name, units, and the limb-lead identities."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ptbxl_fixture import twelve_leads

from emgecg_cli.core.datasets.formats.wfdb_headers import read_header
from emgecg_cli.core.datasets.formats.wfdb_records import read_leads
from emgecg_cli.core.signals.lead_names import lead_rows
from emgecg_cli.core.signals.leads import LEADS, MISSING, to_float_uv, to_int16_uv
from emgecg_cli.core.signals.quality import check_limb_leads

SWAPS = [("I", "II"), ("II", "III"), ("I", "aVF"), ("aVR", "aVL"), ("aVL", "aVF"), ("aVR", "aVF"), ("III", "aVL")]


@pytest.mark.parametrize("names, expected", [
    (["I", "II", "III", "AVR", "AVL", "AVF"], {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 5}),
    (["I", "II", "III", "aVR", "aVF", "aVL"], {0: 0, 1: 1, 2: 2, 3: 3, 5: 4, 4: 5}),
    (["v6", " V1 ", "Lead II", "RESP"], {11: 0, 6: 1, 1: 2}),
    (["MLII", "V"], {}),
])
def test_leads_are_found_by_name(names: list[str], expected: dict[int, int]) -> None:
    assert lead_rows(names) == expected


def test_a_lead_named_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="aVL is named twice"):
        lead_rows(["aVL", "AVL"])


def test_microvolts_round_clip_and_mark_missing() -> None:
    signal, clipped = to_int16_uv(np.array([[0.5, 1.5, -40000.0, np.nan, 32767.0]]))
    assert signal.tolist() == [[0, 2, -32767, MISSING, 32767]] and clipped == 1
    assert np.isnan(to_float_uv(signal)[0, 3]) and to_float_uv(signal)[0, 4] == 32767


def test_residuals_are_the_definitions() -> None:
    rng = np.random.default_rng(0)
    signal = rng.integers(-2000, 2000, (12, 1001)).astype(np.int16)
    i, ii, iii, r, l, f = signal[:6].astype(float)  # noqa: E741
    einthoven = np.abs(i + iii - ii)
    goldberger = np.max(np.abs([r + (i + ii) / 2, l - (i - iii) / 2, f - (ii + iii) / 2]), axis=0)
    check = check_limb_leads(signal)
    assert (check.einthoven_p50_uv, check.einthoven_p99_uv) == tuple(np.quantile(einthoven, (0.5, 0.99)))
    assert (check.goldberger_p50_uv, check.goldberger_p99_uv) == tuple(np.quantile(goldberger, (0.5, 0.99)))
    assert check.verdict.endswith("no swap or inversion of limb leads explains it")


@pytest.mark.parametrize("pair", SWAPS)
def test_a_swapped_pair_is_named(pair: tuple[str, str]) -> None:
    signal = twelve_leads(3, 100)
    assert check_limb_leads(signal).verdict == "ok"
    a, b = (LEADS.index(name) for name in pair)
    signal[[a, b]] = signal[[b, a]]
    verdict = check_limb_leads(signal).verdict
    assert verdict.startswith("suspect: limb leads disagree by ")
    assert verdict.endswith(f"{LEADS[min(a, b)]} and {LEADS[max(a, b)]} look swapped")


@pytest.mark.parametrize("lead", LEADS[:6])
def test_an_inverted_lead_is_named(lead: str) -> None:
    signal = twelve_leads(4, 100)
    signal[LEADS.index(lead)] *= -1
    assert check_limb_leads(signal).verdict.endswith(f"{lead} looks inverted")


def test_missing_samples_do_not_count_and_absent_leads_are_not_checked() -> None:
    signal = twelve_leads(5, 100)
    signal[2, 100:700] = MISSING
    assert check_limb_leads(signal).verdict == "ok" and check_limb_leads(signal).einthoven_p99_uv == 0
    signal[4] = MISSING
    check = check_limb_leads(signal)
    assert check.verdict.startswith("not checked") and check.einthoven_p50_uv == 0 and check.goldberger_p50_uv is None
    signal[1] = -signal[1]
    assert check_limb_leads(signal).verdict.startswith("suspect: I, II and III")
    signal[0] = MISSING
    assert check_limb_leads(signal).einthoven_p50_uv is None


def test_real_recordings_agree_and_their_swaps_are_named(shared_data: Path) -> None:
    root = shared_data / "ptb-xl"
    paths = sorted((root / "records100").glob("*/*.hea"))[:40]
    for path in paths:
        signal = read_leads(read_header(root, str(path.relative_to(root).with_suffix("")))).signal
        check = check_limb_leads(signal)
        assert check.verdict == "ok" and check.einthoven_p99_uv <= 2 and check.goldberger_p99_uv <= 1.5
        swapped = signal.copy()
        swapped[[3, 4]] = swapped[[4, 3]]
        assert check_limb_leads(swapped).verdict.endswith("aVR and aVL look swapped"), path.name
