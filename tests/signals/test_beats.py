"""Every beat in every lead: drawn beats whose waves are known, ectopic ones, and what is not there."""

from __future__ import annotations

import json

import numpy as np
import pytest
from test_delineation import SIZES, as_int16, bump, draw

from emgecg_cli.core.signals.delineation.beat_table import EDGES, UNITS, serialise_gem
from emgecg_cli.core.signals.delineation.per_beat import measure_beats
from emgecg_cli.core.signals.leads import LEADS, MISSING

II, V2 = LEADS.index("II"), LEADS.index("V2")


def drawn(**changes):
    return measure_beats(as_int16(draw(rate=70, pr=0.16, qrs=0.09, qt=0.40, **changes)), 500)


def test_each_beat_has_an_entry_in_each_lead_with_the_drawn_values():
    table = drawn()
    n = len(table.time)
    assert n == 12 and not table.ectopic.any() and (np.diff(table.time) > 0).all()
    assert list(table.values) == list(UNITS) and all(rows.shape == (12, n) for rows in table.values.values())
    inner = slice(1, n - 1)
    for name, true, tolerance in (("rr_interval_1", 60_000 / 70, 3), ("heart_rate", 70, 0.3), ("pr_interval", 160, 16),
                                  ("qrs_duration", 90, 16), ("qt_interval", 400, 25), ("p_duration", 100, 25)):
        assert table.values[name][II, inner] == pytest.approx(true, abs=tolerance), name
    assert table.values["p_amplitude"][II, inner] == pytest.approx(0.120, abs=0.015)
    assert table.values["t_amplitude"][:, inner].mean(axis=1) == pytest.approx(SIZES[:, 4] / 1000, abs=0.04)
    assert table.values["t_amplitude"][LEADS.index("V1"), 1] < 0 < table.values["t_amplitude"][V2, 1]
    qt, rr = table.values["qt_interval"][II, 3], table.values["rr_interval_1"][II, 3] / 1000
    assert table.values["qtc_interval"][II, 3] == pytest.approx(qt / rr ** 0.5)
    assert measure_beats(as_int16(draw()), 500, qtc="fridericia").values["qtc_interval"][II, 3] == pytest.approx(
        table.values["qt_interval"][II, 3] / rr ** (1 / 3), abs=1)
    assert np.isnan(table.values["rr_interval_1"][II, 0]) and np.isnan(table.values["rr_interval_2"][II, -1])


def test_a_beat_that_is_larger_is_larger_in_its_own_entry_alone():
    signal = draw(rate=60, qt=0.40)
    signal[V2, 2600:3050] *= 1.5  # the sixth beat, from 5.35 s on
    before, after = (measure_beats(as_int16(one), 500).values for one in (draw(rate=60, qt=0.40), signal))
    for name in ("qrs_amplitude", "t_amplitude"):
        share = after[name][V2, 1:9] / before[name][V2, 1:9]
        assert share[4] == pytest.approx(1.5, abs=0.06) and np.delete(share, 4) == pytest.approx(1, abs=0.03)


def test_pr_is_that_of_each_beat_where_it_lengthens():
    onsets, pr = np.arange(0.6, 9.5, 0.9), np.tile([0.15, 0.17, 0.19], 4)[:10]
    t = np.arange(5000) / 500
    signal = draw(beats=onsets, sizes=SIZES * [0, 1, 1, 1, 1])
    for onset, own in zip(onsets, pr, strict=True):
        signal += SIZES[:, :1] * bump(t, onset - own, onset - own + 0.1)
    found = measure_beats(as_int16(signal), 500).values["pr_interval"][II]
    assert np.diff(found) == pytest.approx(1000 * np.diff(pr), abs=8)


def test_an_ectopic_beat_is_marked_measured_by_itself_and_not_averaged_in():
    steady = np.arange(0.5, 9.5, 0.9)
    early = steady.copy()
    early[5] -= 0.35
    wide = SIZES[:, [0, 1, 2, 3, 4]] * [0, -2.0, -1.4, 3.0, -1.5]
    signal = draw(beats=np.delete(early, 5)) + draw(beats=early[5:6], qrs=0.16, sizes=wide)
    table, normal = measure_beats(as_int16(signal), 500), measure_beats(as_int16(draw(beats=steady)), 500)
    assert table.ectopic.tolist() == [i == 5 for i in range(10)] and not normal.ectopic.any()
    for name in ("p_amplitude", "pr_interval", "t_amplitude", "qt_interval", "qtc_interval", "st_form"):
        assert np.isnan(table.values[name][:, 5]).all(), name
    assert np.nanmedian(table.values["qrs_duration"][:, 5]) == pytest.approx(160, abs=25)
    assert table.average("qrs_duration") == pytest.approx(normal.average("qrs_duration"), abs=4)
    premature = measure_beats(as_int16(draw(beats=early)), 500)  # of the usual shape
    assert premature.ectopic.tolist() == table.ectopic.tolist()
    assert '"Ectopic_beats": "6"' in serialise_gem(table) and "Ectopic_beats" not in serialise_gem(normal)


def test_what_is_not_there_is_null():
    sizes = SIZES.copy()
    sizes[:, 0] = 0
    noise = np.random.default_rng(0).normal(0, 10, (12, 5000))
    signal = as_int16(draw(sizes=sizes) + noise)
    signal[V2, 2000:2600] = MISSING
    signal[8] = MISSING
    table = measure_beats(signal, 500)
    assert all(np.isnan(table.values[name]).all() for name in ("p_amplitude", "p_duration", "pr_interval"))
    assert np.isnan(table.values["qrs_amplitude"][8]).all()
    hit = (table.time > 3.9) & (table.time < 5.3)
    assert np.isnan(table.values["qrs_amplitude"][V2, hit]).any() and np.isfinite(
        table.values["qrs_amplitude"][V2, 1:-1][~hit[1:-1]]).all()
    values = json.loads(json.dumps(table.to_json(), allow_nan=False))
    assert values["leads"]["II"]["pr_interval"] == [None] * len(table.time)
    assert values["units"]["qrs_amplitude"] == "mV" and values["leads"]["V3"]["heart_rate"][1] is None
    assert json.loads(serialise_gem(table))["II"]["PR_intervals"] == ", ".join(["null"] * len(table.time))
    flat = measure_beats(np.zeros((12, 5000), np.int16), 500)
    assert len(flat.time) == 0 and json.loads(serialise_gem(flat))["V6"]["ST_form"] == ""


def test_json_and_the_text_of_prompts_say_the_same():
    table = drawn(st=300)
    values, text = table.to_json(), json.loads(serialise_gem(table))
    assert list(text) == list(LEADS) == list(values["leads"])
    assert list(values["leads"]["V2"]) == list(UNITS) and len(text["V2"]) == 14
    words = text["V2"]["QRS_amplitudes"].split(", ")
    assert [float(one) for one in words] == values["leads"]["V2"]["qrs_amplitude"]
    assert all(len(one.partition(".")[2]) == 3 for one in words)
    assert text["II"]["QT_intervals"].split(", ")[1] == str(values["leads"]["II"]["qt_interval"][1])
    assert set(values["leads"]["II"]["st_form"][1:-1]) <= {"horizontal", "upslope", "declination"}
    assert all(set(EDGES) < set(beat) and beat["ectopic"] is False for beat in values["beats"])
    assert values["averages"]["II"]["qrs_duration"] == values["leads"]["II"]["qrs_duration"][3]
