"""The report page: it holds what it was given, escapes all of it, and loads nothing."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from html.parser import HTMLParser

import numpy as np

from emgecg_cli.core.evaluation.page import PageExample, write_page
from emgecg_cli.core.pages import DISCLAIMER
from emgecg_cli.core.signals.leads import MISSING

HOSTILE = '<img src=x onerror=alert(1)>&"\'</style><script>alert(2)</script>'


class Outline(HTMLParser):
    """Tags, attributes and visible text of a page; refuses tags that are closed in the wrong order."""

    VOID = ("meta", "rect", "input")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] not in (["style"], ["script"]):
            self.text.append(data)


def value(name, number, low=None, high=None, signature=""):
    return {"name": name, "value": number, "ci_low": low, "ci_high": high, "signature": signature, "n": 3}


def scores():
    return {"systems": [
        {"name": "model", "values": [value("bleu-4", 0.2134, 0.1, 0.3, "bleu|tok:13a"), value("cider-d", 12.34),
                                     value("bertscore", None)]},
        {"name": "random train report", "values": [value("bleu-4", 0.5, 0.4, 0.6, "bleu|tok:13a")]}],
        "notes": ["3 predictions are empty"]}


def example(**changes):
    values = {"record_id": "42", "signal": np.zeros((12, 1000), np.int16), "fs": 100, "reference": "sinus rhythm",
              "hypotheses": {"real signal": "sinus rhythm", "shuffled signal": "atrial fibrillation"}}
    return PageExample(**values | changes)


def page(tmp_path, examples=(), scores=None, **options):
    write_page(tmp_path / "report.html", examples=examples, scores=scores or {}, **options)
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def test_scores_intervals_signatures_and_notes_are_there(tmp_path):
    html = page(tmp_path, scores=scores())
    text = " ".join(Outline(html).text)
    for expected in ("model", "random train report", "bleu-4", "0.213", "0.100 – 0.300", "12.3", "–", "bleu|tok:13a",
                     "3 predictions are empty", DISCLAIMER):
        assert expected in text, expected
    assert "<b>" not in html and text.count("bleu|tok:13a") == 1
    rows = re.findall(r"<tr>.*?</tr>", html)
    assert [len(re.findall(r"<t[hd]", row)) for row in rows] == [3, 3, 3, 3]


def test_examples_stand_beside_their_texts(tmp_path):
    html = page(tmp_path, [example(), example(record_id="43", hypotheses={"real signal": ""})])
    outline = Outline(html)
    assert outline.tags.count("svg") == 2 and outline.tags.count("article") == 2
    assert "<mark class=extra>atrial fibrillation</mark>" in html
    assert "(empty)" in outline.text and "Record 43" in outline.text


def test_every_text_is_escaped_and_nothing_is_loaded(tmp_path):
    hostile = scores()
    hostile["systems"][0]["name"] = hostile["systems"][0]["values"][0]["name"] = HOSTILE
    hostile["systems"][0]["values"][0]["signature"] = hostile["notes"][0] = HOSTILE
    shown = example(record_id=HOSTILE, reference=HOSTILE, hypotheses={HOSTILE: HOSTILE + " x"})
    html = page(tmp_path, [shown], hostile, title=HOSTILE)
    outline = Outline(html)
    assert not {"img", "link", "iframe", "object", "base"} & set(outline.tags) and outline.tags.count("script") == 1
    script = html.partition("<script>")[2].partition("</script>")[0]
    digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'\">" in html and "alert" not in script
    assert not [name for name, _ in outline.attributes if name.startswith("on") or name in ("src", "style")]
    links = [value for name, value in outline.attributes if name == "href"]
    assert links and all(value.startswith("#") for value in links)  # to sections of the page itself
    assert "url(" not in html and "@import" not in html and "default-src 'none'" in html
    assert "".join(outline.text).count("alert(2)") >= 7


def test_missing_leads_and_lone_surrogates_do_not_break_it(tmp_path):
    signal = np.full((12, 1000), MISSING)
    html = page(tmp_path, [example(signal=signal, reference="a \ud800 b")], scores())
    assert "not recorded" in html


def test_same_input_same_bytes_and_no_machine_in_it(tmp_path):
    first = page(tmp_path, [example()], scores())
    assert first == page(tmp_path, [example()], scores()) and str(tmp_path) not in first


def test_without_scores_or_examples_the_sections_are_left_out(tmp_path):
    text = " ".join(Outline(page(tmp_path)).text)
    assert DISCLAIMER in text and "Scores" not in text and "Examples" not in text and "Signatures" not in text


def test_takes_what_the_scorer_writes(tmp_path):
    from dataclasses import asdict

    from emgecg_cli.core.artifacts import PredictionRow
    from emgecg_cli.core.evaluation.score import score_predictions

    rows = [PredictionRow(str(i), "sinus rhythm normal ecg", "sinus rhythm otherwise normal ecg") for i in range(3)]
    found = score_predictions(rows, metrics=["bleu", "rouge"], train_reports=["normal ecg"], resamples=10)
    text = " ".join(Outline(page(tmp_path, scores=asdict(found))).text)
    for system in found.systems:
        assert system.name in text
        for score in system.values:
            assert score.name in text and score.signature in text
