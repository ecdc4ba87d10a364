"""What an encoder of recordings knows, before any language model reads it: codes by a linear probe, or by words alone.

A linear probe is one logistic regression a code on the vectors of train records. Without training, a code is as likely
as its words are near to the recording, for an encoder that was pretrained beside texts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from emgecg_cli.core import names
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.evaluation.baselines.template import words_of
from emgecg_cli.core.evaluation.bootstrap import cluster_draws, percentile_interval
from emgecg_cli.core.files import write_atomically
from emgecg_cli.core.manifest import manifest_hash, package_versions
from emgecg_cli.core.models.text_tower import load_text_tower
from emgecg_cli.core.store import Store, open_store
from emgecg_cli.core.studies.encoder_features import RecordingEncoder, open_recording_encoder, published_encoder
from emgecg_cli.core.training.encoder_targets import LEAST_RECORDS, learnable, mark

PENALTY = 1.0  # of the squared weights, as in scikit-learn
RESAMPLES = 1000


@dataclass(frozen=True)
class Area:
    """The area under the ROC curve of one code, or the mean of several, with its 95 % interval over patients; how many
    records have the code. `words` are what stood for it, without training."""

    auroc: float
    interval: tuple[float, float] | None
    positives: int
    words: str | None = None


@dataclass(frozen=True)
class ProbeResult:
    """What a probe found, code by code and their mean; the file it is in."""

    path: Path
    method: str
    encoder: str
    store: str
    split: str
    records: int
    macro: Area
    codes: dict[str, Area]
    left_out: list[str]


def probe(encoder: Path, store_path: Path, out: Path, *, zero_shot: bool = False, split: str = "test",
          codes: Sequence[str] = (), prompts: Path | None = None, name: str | None = None,
          lead_order: str = "canonical", seed: int = 0, progress: Callable[..., None] | None = None) -> ProbeResult:
    """Evaluate an encoder on the codes of a store and write `out`, a JSON file.

    `encoder` is a folder of `pretrain` or `train`, or a published checkpoint of the encoder `name`. `codes` are all
    that can be told if not given; `prompts` is a JSON file of words for codes, in place of those of the data set.
    Raises MedReportError for a store without codes in the split, or an encoder without texts where those are asked for.
    """
    store = open_store(store_path)
    opened = published_encoder(encoder, name, lead_order, progress) if encoder.is_file() else \
        open_recording_encoder(encoder, progress)
    if encoder.is_dir() and name:
        raise MedReportError(f"--encoder {name}: {encoder} says itself which it holds", "leave --encoder out")
    rows = store.indices(split)
    if not len(rows):
        raise MedReportError(f"{store.path}: no record in the {split} split", "choose another --split")
    scores, words = _by_words(opened, store, rows, codes, prompts) if zero_shot else \
        (_by_regression(opened, store, rows, codes), {})
    truth = mark(store.column("codes").gather(rows).to_list(), len(rows), list(scores))
    known = [code for place, code in enumerate(scores) if 0 < truth[:, place].sum() < len(rows)]
    if not known:
        raise MedReportError(f"{store.path}: no code that some records of the {split} split have and others have not",
                             "choose another --split")
    kept = [place for place, code in enumerate(scores) if code in known]
    areas, macro = areas_of(np.stack([scores[code] for code in known], 1), truth[:, kept],
                            store.column("subject_id").gather(rows).to_list(), seed)
    found = {code: Area(area, interval, int(truth[:, place].sum()), words.get(code)) for place, code, (area, interval)
             in zip(kept, known, areas, strict=True)}
    result = ProbeResult(out, "zero-shot" if zero_shot else "linear", encoder.as_posix(), store.path.as_posix(), split,
                         len(rows), Area(*macro, len(rows)), found, [code for code in scores if code not in known])
    _write(result, store, seed)
    return result


def _by_regression(encoder: RecordingEncoder, store: Store, rows: np.ndarray, codes: Sequence[str]) \
        -> dict[str, np.ndarray]:
    train = store.indices("train")
    held = store.column("codes").gather(train).to_list()
    counts: dict[str, int] = {}
    for code in (code for bag in held for code in set(bag)):
        counts[code] = counts.get(code, 0) + 1
    chosen = sorted(learnable(counts, len(train)))
    chosen = _asked(codes, chosen, f"occurs in {LEAST_RECORDS} of the {len(train)} train records, not in all", store)
    before, after = (encoder.vectors(store, some.tolist()).astype(np.float64) for some in (train, rows))
    mean, spread = before.mean(0), before.std(0)
    before, after = ((one - mean) / np.where(spread > 1e-9, spread, 1.0) for one in (before, after))
    truth = mark(held, len(train), chosen)
    return {code: after @ _regression(before, truth[:, place]) for place, code in enumerate(chosen)}


def _regression(features: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The weights of a logistic regression with a penalty on their squares; of the scores only the order counts, so the
    intercept is left out of what is returned."""
    from scipy.optimize import minimize

    sign = np.where(truth, 1.0, -1.0)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (features @ weights[:-1] + weights[-1])
        wrong = -sign * np.exp(-np.logaddexp(0, margin))
        gradient = np.append(features.T @ wrong + PENALTY * weights[:-1], wrong.sum())
        return float(np.logaddexp(0, -margin).sum() + PENALTY / 2 * weights[:-1] @ weights[:-1]), gradient

    found: Any = minimize(loss, np.zeros(features.shape[1] + 1), jac=True, method="L-BFGS-B", options={"maxiter": 500})
    return np.asarray(found.x[:-1])


def _by_words(encoder: RecordingEncoder, store: Store, rows: np.ndarray, codes: Sequence[str], prompts: Path | None) \
        -> tuple[dict[str, np.ndarray], dict[str, str]]:
    tower, words, scale = load_text_tower(encoder.folder)
    table = _prompts(prompts) if prompts else words_of(store.dataset) if store.dataset in names.VOCABULARIES else {}
    there = {code for bag in store.column("codes").gather(rows).to_list() for code in bag}
    chosen = _asked(codes, [code for code in table if code in there], "has words, and occurs in that split", store)
    with torch.no_grad():
        ids, kept = words.batch(words.ids([table[code] for code in chosen]))
        texts = F.normalize(tower(ids, kept).float(), dim=-1).numpy()
    near = scale * encoder.vectors(store, rows.tolist()) @ texts.T
    return {code: near[:, place] for place, code in enumerate(chosen)}, {code: table[code] for code in chosen}


def _asked(codes: Sequence[str], possible: Sequence[str], what: str, store: Store) -> list[str]:
    if not possible:
        raise MedReportError(f"{store.path}: no code {what}", "give a store with codes; see `medreport prepare`")
    for code in codes:
        if code not in possible:
            error = names.unknown_name("code", code, possible)
            raise MedReportError(f"{error.message} that {what}", error.hint)
    return list(codes or possible)


def _prompts(file: Path) -> dict[str, str]:
    try:
        held = json.loads(file.read_bytes())
        if not isinstance(held, dict) or not all(isinstance(text, str) and text.strip() for text in held.values()):
            raise ValueError("not an object of codes and texts")
    except (OSError, ValueError) as error:
        raise MedReportError(f"{file}: no words for codes ({' '.join(str(error).split())[:120]})",
                             'give {"code": "what it means", …}') from None
    return dict(held)


def areas_of(scores: np.ndarray, truth: np.ndarray, patients: Sequence[str], seed: int) \
        -> tuple[list[tuple[float, tuple[float, float] | None]], tuple[float, tuple[float, float] | None]]:
    """The area of each column of scores (n, K) against truth (n, K), and their mean, with intervals over patients."""
    place: dict[str, int] = {}
    owner = np.array([place.setdefault(patient, len(place)) for patient in patients])
    drawn = np.concatenate([draws[:, owner] for draws in cluster_draws(len(place), RESAMPLES, seed)])  # (R, n)
    once = np.ones((1, len(owner)))
    own = np.stack([_weighted_area(once, scores[:, k], truth[:, k])[0] for k in range(scores.shape[1])])
    again = np.stack([_weighted_area(drawn, scores[:, k], truth[:, k]) for k in range(scores.shape[1])], 1)  # (R, K)
    defined = np.isfinite(again).sum(1)
    means = np.where(defined > 0, np.nansum(again, 1) / np.maximum(defined, 1), np.nan)
    return ([(float(area), percentile_interval(again[:, k])) for k, area in enumerate(own)],
            (float(own.mean()), percentile_interval(means)))


def _weighted_area(weights: np.ndarray, scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Areas (R) where record i counts `weights[r, i]` times; NaN where one kind is lacking. Ties count half."""
    order = np.argsort(scores, kind="stable")
    ordered, held = scores[order], truth[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    ups, downs = (np.add.reduceat(weights[:, order] * kind, starts, axis=1) for kind in (held, ~held))
    below = np.cumsum(downs, axis=1) - downs
    total = ups.sum(1) * downs.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0, (ups * (below + downs / 2)).sum(1) / total, np.nan)


def _write(result: ProbeResult, store: Store, seed: int) -> None:
    def said(area: Area) -> Mapping[str, Any]:
        return {key: value for key, value in vars(area).items() if value is not None}

    values = {"method": result.method, "encoder": result.encoder, "store": result.store,
              "store_hash": manifest_hash(store.path), "split": result.split, "records": result.records, "seed": seed,
              "resamples": RESAMPLES, "macro_auroc": said(result.macro),
              "codes": {code: said(area) for code, area in result.codes.items()}, "left_out": result.left_out,
              "versions": package_versions()}
    result.path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(result.path, (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode())
