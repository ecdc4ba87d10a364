"""Who is healthy: normal and abnormal examinations in the words of Chinese and English reports."""

from __future__ import annotations

from dataclasses import replace

import pytest

from emgecg_cli.core.emg.case import EmgRow
from emgecg_cli.core.reports.emg.healthy import abnormal_word, is_healthy, why_not_healthy

QUIET = EmgRow("left", "apb", "-", "-", "-", "-", "-", "-", "interference")
NORMAL_CN = ("EMG: 被检肌未见明显肌源性或神经源性损害肌电改变。"
             "NCV: 所检神经运动、感觉传导速度、波幅及潜伏期均在正常范围。")
NORMAL_EN = ("EMG: no fibrillations, positive sharp waves, or fasciculations were seen in the muscles examined. "
             "NCV: velocities, amplitudes and latencies are within normal limits, without slowing.")


@pytest.mark.parametrize(("findings", "impression"), [
    (NORMAL_CN, "肌电图未见异常"), (NORMAL_CN, "正常范围"),
    (NORMAL_EN, "No abnormality."), ("", "肌电图未见明显异常。"),
    (NORMAL_EN, "Normal study"),
    (NORMAL_CN, "未见明显神经源性或肌源性损害"),
    (NORMAL_EN, "No electrophysiological evidence of neuropathy or myopathy."),
    ("未见纤颤、正锐波及束颤，运动单位电位正常", "肌电图正常"),
    ("ＥＭＧ：未见自发电位；余正常范围", "未见异常"),
    ("F waves are not prolonged.", "Within normal limits"),
    ("腕管处神经源性指标在正常范围内", "正常"),
    ("No denervation or myogenic changes; amplitudes 7.0 mV, normal", "unremarkable")])
def test_normal_examinations(findings, impression):
    assert why_not_healthy(findings, impression, [QUIET, replace(QUIET, recruitment="mixed")]) is None
    assert is_healthy(findings, impression, [])


@pytest.mark.parametrize(("findings", "impression"), [
    # the example of the data set's own figure: some nerves are called normal
    ("EMG 被检肌未见明显肌源性或神经源性损害肌电改变。NCV 左侧正中神经运动传导潜伏期正常上限，"
     "感觉神经传导速度轻度减慢；余运动、感觉传导正常范围。",
     "左侧正中神经轻度损害，CTS可考虑"),
    (NORMAL_CN, "左侧正中神经轻度损害，余正常范围"), (NORMAL_CN, ""), (NORMAL_CN, "请结合临床"),
    ("左正中神经传导速度减慢余正常范围", "未见异常"), ("双侧腓总神经F波未引出", "未见异常"),
    ("正中神经减慢尺神经正常", "未见异常"), ("未见纤颤，但可见正锐波", "未见异常"),
    ("未见肌源性损害而见神经源性损害", "未见异常"),
    ("运动传导速度低于正常范围", "正常"), ("波幅不正常", "正常"), ("潜伏期在正常上限", "正常"),
    ("感觉无反应", "未见异常"),
    ("未见异常伴波幅降低", "未见异常"), ("可见fibs", "未见异常"), ("除左侧正中神经传导减慢外余未见异常", "未见异常"),
    ("Left median motor latency prolonged, others normal.", "Normal study"),
    ("No fibrillations, but the median nerve is slowed.", "No abnormality"),
    ("No denervation, median nerve slowed.", "No abnormality"), ("No response from the sural nerve.", "Normal"),
    ("Sural SNAP could not be obtained.", "Normal"), ("Velocities are below the normal range", "Normal"),
    ("Velocity is not within normal limits", "Normal"), ("Absent F waves", "Normal"), ("", "Abnormal study"),
    ("", "Mild carpal tunnel syndrome, otherwise normal"), ("Amplitude at the lower limit of normal", "normal"),
    ("Without neuropathy. Amplitudes reduced", "normal")])
def test_abnormal_examinations(findings, impression):
    assert why_not_healthy(findings, impression, [QUIET])


@pytest.mark.parametrize("change", [{"fibs": "1+"}, {"psw": "2+"}, {"fascics": "+"}, {"others": "myotonic_discharge"},
                                    {"polyph": "1+"}, {"form": ">5mv MUP"}, {"form": "large"},
                                    {"recruitment": "single"}, {"recruitment": "single_mixed"}])
def test_a_needle_that_saw_something_makes_it_abnormal(change):
    rows = [QUIET, replace(QUIET, **change)]
    assert why_not_healthy(NORMAL_CN, "未见异常", rows) == f"the EMG table: {next(iter(change))}"


def test_the_abnormal_word_is_named_and_long_text_takes_no_time():
    assert why_not_healthy("尺神经传导速度减慢", "未见异常", []) == "the findings: 减慢"
    assert abnormal_word(NORMAL_CN) is None
    for text in ("无" * 50_000, "no " * 50_000, "no fib, " * 20_000, "正常," * 30_000, "not " * 9 + "a " * 50_000):
        abnormal_word(text)
