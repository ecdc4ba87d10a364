"""How long `score` takes beside the libraries whose numbers it gives, in one run on one process.

    python benchmarks/score_speed.py [--pairs 10000] [--smallest]
    python benchmarks/score_speed.py --whole 10000 40000 160000

The second line times nothing but the whole command's work at several sizes, each in a process of its own: processor
seconds, and the most memory that was in use, of all text metrics, statements and intervals, for a model and its
baselines; it should grow in proportion.

Reports are drawn from statements of the kind an ECG machine prints; hypotheses are edited references. pycocoevalcap is
timed where it is installed. Times are processor seconds: compare the ratios, not the seconds, between machines.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from nltk.tokenize.destructive import NLTKWordTokenizer
from nltk.translate.meteor_score import meteor_score
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU

from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.evaluation.score import score_predictions
from emgecg_cli.core.metrics import Metric
from emgecg_cli.core.metrics.text.bleu import Bleu
from emgecg_cli.core.metrics.text.cider import CiderD
from emgecg_cli.core.metrics.text.meteor import Meteor
from emgecg_cli.core.metrics.text.rouge import Rouge
from emgecg_cli.core.metrics.text.tokens import split_sentences
from emgecg_cli.core.metrics.text.wordnet import load_lexicons, synonyms

PARTS = (("sinus rhythm", "atrial fibrillation", "sinus bradycardia", "ectopic atrial rhythm", "paced rhythm"),
         ("with first degree block", "with premature ventricular complexes", "with rapid ventricular response", ""),
         ("left axis deviation", "normal axis", "rightward axis", "indeterminate axis"),
         ("inferior infarct, age undetermined", "possible anterior infarct", "nonspecific st-t changes",
          "left ventricular hypertrophy", "prolonged qt interval", "low voltage qrs", "right bundle branch block"),
         ("abnormal ecg", "borderline ecg", "otherwise normal ecg", "normal ecg"))
TEXT = ("bleu", "meteor", "rouge", "cider")


class Lemmas:
    """What NLTK's METEOR asks of WordNet, from the packaged table."""

    def __init__(self, name: str = "") -> None:
        self._name = name

    def name(self) -> str:
        return self._name

    def lemmas(self) -> list[Lemmas]:
        return [Lemmas(word) for word in synonyms(self._name)]

    def synsets(self, word: str) -> list[Lemmas]:
        return [Lemmas(word)]


def make_rows(n: int, seed: int = 0) -> list[PredictionRow]:
    """Rows of about 20 words a side."""
    rng = random.Random(seed)

    def report() -> list[str]:
        statements = [f"{rng.choice(PARTS[0])} {rng.choice(PARTS[1])}".strip(), rng.choice(PARTS[2]),
                      *rng.sample(PARTS[3], rng.randrange(1, 4)), f"rate {rng.randrange(45, 140)} bpm",
                      rng.choice(PARTS[4])]
        return ". ".join(statements).split(" ")

    rows = []
    for number in range(n):
        reference = report()
        hypothesis = [word for word in reference if rng.random() < 0.85] if rng.random() < 0.7 else report()
        rows.append(PredictionRow(str(number), " ".join(hypothesis), " ".join(reference), language="en"))
    return rows


def nltk_meteor(hypotheses: list[str], references: list[str]) -> None:
    """NLTK's METEOR over word_tokenize's tokens."""
    cut, wordnet = NLTKWordTokenizer().tokenize, Lemmas()
    for texts in zip(references, hypotheses, strict=True):
        right, left = ([word for sentence in split_sentences(text) for word in cut(sentence)] for text in texts)
        meteor_score([right], left, wordnet=wordnet)


def sacrebleu_all(hypotheses: list[str], references: list[str]) -> None:
    """BLEU-1..4, one call each."""
    for n in (1, 2, 3, 4):
        BLEU(lowercase=True, max_ngram_order=n).corpus_score(hypotheses, [references])


def rouge_score_all(hypotheses: list[str], references: list[str]) -> None:
    """ROUGE-1, ROUGE-2 and ROUGE-L."""
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"])
    for hypothesis, reference in zip(hypotheses, references, strict=True):
        scorer.score(reference, hypothesis)


def pycocoevalcap_cider(hypotheses: list[str], references: list[str]) -> None:
    """CIDEr-D, whitespace tokens."""
    from pycocoevalcap.cider.cider import Cider

    Cider().compute_score({i: [text] for i, text in enumerate(references)},
                          {i: [text] for i, text in enumerate(hypotheses)})


def seconds(work: Callable[[], object]) -> float:
    """Processor seconds of one call, which other work on the machine disturbs less than the clock's."""
    start = time.process_time()
    work()
    return time.process_time() - start


def whole(pairs: int, resamples: int) -> float:
    """Processor seconds of scoring so many pairs with all that needs neither weights nor recordings."""
    rows, train = make_rows(pairs), [row.reference for row in make_rows(2000, seed=1)]
    return seconds(lambda: score_predictions(rows, metrics=[*TEXT, "labels"], train_reports=train, resamples=resamples))


def print_whole(sizes: list[int], resamples: int) -> None:
    """A line for each size, from a process of its own, so that memory is that of this size."""
    print(f"{'pairs':>8} {'processor s':>12} {'ms a pair':>10} {'memory GB':>10}")
    for pairs in sizes:
        code = ("import resource, sys; sys.path.insert(0, sys.argv[1]); from score_speed import whole; "
                "print(whole(int(sys.argv[2]), int(sys.argv[3])), "
                "resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)")
        found = subprocess.run([sys.executable, "-c", code, str(Path(__file__).parent), str(pairs), str(resamples)],
                               capture_output=True, text=True, check=True)
        took, memory = map(float, found.stdout.split())
        print(f"{pairs:8} {took:12.2f} {1e3 * took / pairs:10.3f} {memory:10.2f}", flush=True)


def main() -> None:
    """Time every metric and its library, then the whole command's work."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument("--smallest", action="store_true", help="as little as runs through it all: no measurement")
    parser.add_argument("--whole", type=int, nargs="+", metavar="PAIRS", help="the whole command's work at these sizes")
    given = parser.parse_args()
    if given.whole or given.smallest:
        print_whole([20] if given.smallest else given.whole, 20 if given.smallest else 1000)
    if given.whole:
        return
    rows = make_rows(20 if given.smallest else given.pairs)
    hypotheses, references = [row.prediction for row in rows], [row.reference for row in rows]
    jobs: list[tuple[str, Metric, Callable[[list[str], list[str]], None] | None]] = [
        ("sacrebleu", Bleu(), sacrebleu_all), ("rouge-score", Rouge(), rouge_score_all),
        ("nltk", Meteor(), nltk_meteor),
        ("pycocoevalcap", CiderD(), pycocoevalcap_cider if importlib.util.find_spec("pycocoevalcap") else None)]
    print(f"{len(rows)} pairs, {len(set(zip(hypotheses, references, strict=True)))} different")
    print(f"{'metric':8} {'medreport':>10} {'library':>10} {'ratio':>7}")
    print(f"{'wordnet':8} {seconds(load_lexicons):9.2f}s  (read once)")
    for library, metric, theirs in jobs:
        ours = seconds(lambda metric=metric: metric.segment_statistics(hypotheses, references, rows))
        line = f"{metric.name:8} {ours:9.2f}s"
        if theirs is not None:
            other = seconds(lambda theirs=theirs: theirs(hypotheses, references))
            line += f" {other:9.2f}s {other / ours:6.1f}x  {library}"
        print(line)
    train = [row.reference for row in make_rows(2000, seed=1)]
    for resamples in (0, 20 if given.smallest else 1000):
        took = seconds(lambda resamples=resamples: score_predictions(rows, metrics=TEXT, train_reports=train,
                                                                     resamples=resamples))
        print(f"all text metrics, model and two baselines, {resamples} resamples: {took:.2f}s")


if __name__ == "__main__":
    main()
