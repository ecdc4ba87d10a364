"""ECGBench's closed tasks: answers read as they are meant, unread ones wrong, the published arithmetic beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from emgecg_cli.commands.app import run
from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.evaluation.score import Scores, score_predictions
from emgecg_cli.core.metrics.bench.answers import labels_in, letter_in, options_in, options_of
from emgecg_cli.core.metrics.bench.tasks import TASKS

PTB, CODE15, CPSC = (TASKS[name].labels for name in ("ptb-test", "code15-test", "cpsc-test"))
QUESTION = ("Which lead shows it?\nOptions: lead I, lead II, lead III, none. Only answer based on the given Options "
            "without any explanation.")


@pytest.mark.parametrize(("labels", "answer", "found"), [
    (PTB, "MI; CD", {"MI", "CD"}), (PTB, "NORM(normal ECG)", {"NORM"}), (PTB, "an ECG of a CDROM, MInimal", None),
    (PTB, "Shows a conduction disturbance and hypertrophy.", {"CD", "HYP"}),
    (PTB, "There is no MI. Answer: STTC", {"STTC"}),
    (PTB, "I do not know", None), (PTB, "none", set()), (PTB, "No evidence of MI, but HYP", {"HYP"}),
    (CODE15, "ABNORMAL; ST", {"ABNORMAL", "ST"}), (CODE15, "Answer: 1dAVb, RBBB", {"1dAVb", "RBBB"}),
    (CPSC, "I-AVB and STE", {"I-AVB", "STE"}), (CPSC, "STD", {"STD"}),
])
def test_labels_are_whole_words(labels: dict[str, str], answer: str, found: set[str] | None) -> None:
    assert labels_in(answer, labels) == found


@pytest.mark.parametrize(("answer", "letter"), [
    ("B", "B"), ("B. atrial flutter", "B"), ("(C)", "C"), ("The correct option is D.", "D"), ("Answer: **E**", "E"),
    ("A. is wrong since the rate is high; the answer is C", "C"), ("A regular rhythm suggests F.", "F"),
    ("It is either B or C.", None), ("sinus rhythm", None), ("", None), ("Z", None),
    ("a sinus tachycardia is seen", "B"),
])
def test_a_letter_is_found_by_where_it_stands(answer: str, letter: str | None) -> None:
    assert letter_in(answer, "ABCDEFGH", "What is it? A. atrial flutter\nB. sinus tachycardia\nC. pacing") == letter


def test_options_are_whole_and_the_longest_first() -> None:
    options = options_of(QUESTION)
    assert options == ("lead I", "lead II", "lead III", "none")
    assert options_in("It is lead II.", options) == {"lead ii"} and options_in("lead III, lead I", options) == {
        "lead iii", "lead i"}
    assert options_in("aVR", options) is None


def scored(task: str, *pairs: tuple[str, str], compat: bool = False, question: str | None = None) -> Scores:
    rows = [PredictionRow(f"r{i}", said, true, subject_id=f"p{i}", language="en", task=task, question=question)
            for i, (said, true) in enumerate(pairs)]
    return score_predictions(rows, metrics=["ecgbench-tasks"], compat=["gem"] if compat else (), resamples=20)


def test_values_of_labels() -> None:
    pairs = [("NORM", "NORM"), ("MI; CD", "MI"), ("STTC", "STTC;CD"), ("HYP", "MI"), ("gibberish", "CD"), ("CD", "CD")]
    found = scored("ptb-test", *pairs)
    # by hand, over the labels of some reference: NORM 1, MI 2/3, STTC 1, CD 2/5; HYP is in none
    assert found.value("ecgbench-F1").value == pytest.approx((1 + 2 / 3 + 1 + 0.4) / 4, abs=1e-4)
    assert found.value("ecgbench-AUC").value == pytest.approx((1 + 0.75 + 1 + 0.5) / 4, abs=1e-4)
    assert found.value("ecgbench-hamming").value == pytest.approx(4 / 24, abs=1e-4)
    assert found.value("ecgbench-unparsable").value == pytest.approx(1 / 6, abs=1e-4)
    assert found.value("ecgbench-F1").ci_low is not None
    assert any("1 of 6 answers cannot be read and are wrong" in note for note in found.notes)


def test_unread_choices_are_wrong_and_the_published_arithmetic_guesses() -> None:
    pairs = [("The answer is C, not A.", "C. x"), ("no idea", "B. y"), ("B", "B. y")]
    found = scored("csn-test-no-cot", *pairs, compat=True)
    assert found.value("ecgbench-accuracy").value == pytest.approx(2 / 3, abs=1e-4)
    assert found.value("ecgbench-unparsable").value == pytest.approx(1 / 3, abs=1e-4)
    # "A." comes first in the alphabet; the guess of seed 42 among A to H is B
    assert found.value("gem-accuracy").value == pytest.approx(2 / 3, abs=1e-4)
    assert found.value("gem-accuracy").ci_low is None


def test_published_labels_are_substrings_and_options_characters() -> None:
    # ABNORMAL holds NORM, STD holds nothing of ST here, and "lead I" has the characters of "lead II"
    code15 = scored("code15-test", ("LBBB with no ST change", "LBBB"), ("NORM", "NORM"), ("ST", "ST"), compat=True)
    assert code15.value("ecgbench-F1").value == 1 > code15.value("gem-F1").value
    qa = scored("ecgqa-test", ("lead II", "lead I"), ("lead III", "lead III"), compat=True, question=QUESTION)
    assert qa.value("ecgbench-accuracy").value == 0.5 and qa.value("gem-accuracy").value == 1


def test_the_command_and_what_it_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "answers.jsonl"
    lines = [{"question_id": i, "text": said, "gold": true, "prompt": "?"}
             for i, (said, true) in enumerate([("A", "A. x"), ("B", "C. y")])]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    fields = "record_id=question_id,prediction=text,reference=gold,question=prompt"
    asked = ["score", str(file), "--suite", "ecgbench", "--field", fields, "--out", str(tmp_path / "s.json"), "--json"]
    assert run([*asked, "--task", "g12-test-no-cot"]) == 0
    values = {one["name"]: one["value"] for one in json.loads(capsys.readouterr().out)["systems"][0]["values"]
              if one["value"] is not None}
    assert values == {"ecgbench-accuracy": 0.5, "ecgbench-unparsable": 0.0}
    assert run([*asked, "--task", "g12"]) == 2 and "no task 'g12'" in capsys.readouterr().err
    assert run([*asked, "--task", "ptb-test", "--metric", "bleu"]) == 2
    assert "--metric and --suite are both given" in capsys.readouterr().err
    assert run(asked) == 2 and "needs a task" in capsys.readouterr().err
    with pytest.raises(MedReportError, match="several tasks"):
        score_predictions([PredictionRow("a", "A", "A", task="mmmu-ecg"),
                           PredictionRow("b", "A", "A", task="ecgqa-test")], metrics=["ecgbench-tasks"])
