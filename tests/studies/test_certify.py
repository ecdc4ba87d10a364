"""Certificates: the rule, what they are made of, and that a killed one ends with the same bytes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pipeline import contents, interrupted_after, make_store

from emgecg_cli.commands.app import run as command
from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.config import DemoDefaults, GenerateConfig, PrepareConfig
from emgecg_cli.core.datasets import open_dataset
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.generation import Places
from emgecg_cli.core.inputs.sources import EcgSource
from emgecg_cli.core.instructions.build import build_instructions
from emgecg_cli.core.manifest import read_manifest
from emgecg_cli.core.recipes import resolve_train_config
from emgecg_cli.core.store import Store, open_store, prepare_store
from emgecg_cli.core.studies.certify import CERTIFICATE, Settings, certify, compare_conditions, conditions_of
from emgecg_cli.core.studies.information import Facts, information
from emgecg_cli.core.studies.verdict import (
    LOSS,
    LOSS_MARGIN,
    MARGIN,
    NOTHING,
    OTHER,
    SEES,
    USES,
    Difference,
    loss_difference,
    verdict_of,
)
from emgecg_cli.core.training.run import train
from emgecg_cli.core.verify import verify_artefact

FEW = Settings(GenerateConfig(split="train", max_new_tokens=4, batch_size=1), resamples=200)


def test_the_rule_in_three_steps() -> None:
    score = Difference("score-F1", "clinical", OTHER, 0.1, 0.02, 0.2, True, 0.01)
    loss = Difference(LOSS, "loss", OTHER, 0.05, 0.04, 0.06, rule_low=0.03)
    unsure = replace(score, rule_low=-0.001)  # better at 95 %, and not at the level that all decisive scores share
    assert verdict_of([score, loss]).verdict == USES and verdict_of([score]).because == ["score-F1"]
    assert verdict_of([unsure, loss]).verdict == SEES
    for no_use in (replace(score, value=MARGIN), replace(score, decisive=False), replace(score, condition="zeros"),
                   replace(score, value=None, rule_low=None)):
        assert verdict_of([no_use]).verdict == NOTHING and verdict_of([no_use, loss]).verdict == SEES
    for unseen in (replace(loss, value=LOSS_MARGIN), replace(loss, rule_low=0.0), replace(loss, condition="none")):
        assert verdict_of([unsure, unseen]).verdict == NOTHING


def test_losses_are_paired_and_drawn_by_patient() -> None:
    rng = np.random.default_rng(0)
    level = rng.normal(5, 3, 200)  # records differ by far more than the conditions
    real, other = level, level + 0.05 + rng.normal(0, 0.1, 200)
    alone = loss_difference("zeros", real, other, list(range(200)), 2000, 0)
    error = (other - real).std(ddof=1) / np.sqrt(200)
    assert alone.value == pytest.approx((other - real).mean())
    assert alone.ci_low == pytest.approx(alone.value - 1.96 * error, abs=0.2 * error)
    by_patient = loss_difference("zeros", np.repeat(real, 4), np.repeat(other, 4),
                                 np.repeat(range(200), 4).tolist(), 2000, 0)
    assert by_patient.ci_high - by_patient.ci_low == pytest.approx(alone.ci_high - alone.ci_low, rel=0.1)


def test_information_is_what_is_above_chance() -> None:
    rng = np.random.default_rng(0)
    facts = Facts({"rate": rng.integers(0, 3, 400), "axis": rng.integers(0, 3, 400), "few": np.full(400, -1),
                   "one": np.zeros(400, int)})
    said = {"rate": facts.of["rate"] + 1, "axis": rng.integers(0, 4, 400), "few": rng.integers(0, 2, 400),
            "one": rng.integers(0, 2, 400)}
    rate, axis = information(facts, said, [i // 2 for i in range(400)], 0)  # what cannot differ is not looked at
    shares = np.bincount(facts.of["rate"]) / 400
    assert rate.nats == pytest.approx(-(shares * np.log(shares)).sum()) and rate.p == pytest.approx(2 / 1000)
    assert axis.nats > 0 and abs(axis.corrected) < 0.01 and axis.p > 0.05
    # records of one patient stay together: what is known of 20 patients is not known of 400 records
    alike = np.repeat(rng.integers(0, 2, 20), 20)
    same = {"rate": np.repeat(rng.integers(0, 2, 20), 20)}
    together, = information(Facts({"rate": alike}), same, np.repeat(range(20), 20).tolist(), 0)
    apart, = information(Facts({"rate": alike}), same, list(range(400)), 0)
    assert together.p > 5 * apart.p


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return open_store(make_store(tmp_path_factory.mktemp("stores") / "cohort", 70))


def rows_of(store: Store, texts: list[str], losses: np.ndarray) -> list[PredictionRow]:
    records = [store.row(i) for i in range(len(store))]
    return [PredictionRow(row.record_id, text, row.report, 0, row.subject_id, store.dataset, row.language, row.codes,
                          reference_loss=float(loss)) for row, text, loss in zip(records, texts, losses, strict=True)]


def test_all_three_verdicts_from_predictions(cohort: Store) -> None:
    own = [str(cohort.row(i).report) for i in range(len(cohort))]
    others = own[7:] + own[:7]
    loss = np.random.default_rng(0).normal(1, 0.5, len(own))
    shift = np.random.default_rng(1).normal(0.05, 0.05, len(own))

    def certified(real: list[str], other: list[str], seen: bool) -> Any:
        rows = {"real": rows_of(cohort, real, loss), OTHER: rows_of(cohort, other, loss + seen * shift)[::-1]}
        return compare_conditions(rows, cohort, Settings(GenerateConfig(), resamples=400))[0]

    used, seen, unseen = certified(own, others, True), certified(others, others, True), certified(others, others, False)
    assert (used.verdict, seen.verdict, unseen.verdict) == (USES, SEES, NOTHING)
    assert {"clinical", "facts", "text", "loss"} == {one.kind for one in used.differences}
    deciding = {one.score: one for one in used.differences if one.decisive}
    assert set(used.because) == set(deciding) and all(one.rule_low < one.ci_low for one in deciding.values())
    assert seen.because == [LOSS] and seen.losses["real"] == pytest.approx(loss.mean())
    assert next(one for one in seen.differences if one.kind == "loss").value == pytest.approx(shift.mean())
    rates = {name: next(one for one in own if one.fact == "rate") for name, own in used.information.items()}
    assert rates["real"].corrected > 0.5 and rates["real"].p < 0.05 and rates[OTHER].corrected < 0.1
    with pytest.raises(MedReportError, match="too few to certify"):
        few = rows_of(cohort, own, loss)[:19]
        compare_conditions({"real": few, OTHER: few}, cohort, FEW)


def test_of_tables_what_makes_no_sense_is_said() -> None:
    of_tables = {one.name: one for one in conditions_of(("values",))}
    assert [name for name, one in of_tables.items() if one.signal is None] == ["zeros", "noise"]
    assert all(of_tables[name].reason for name in ("zeros", "noise")) and of_tables["none"].signal == "none"
    both = {one.name: one.signal for one in conditions_of(("ecg", "values"))}
    assert both == {"real": "real", "shuffled": "shuffled", "zeros": "ecg=zeros,values=none",
                    "noise": "ecg=noise,values=none", "none": "none"}
    assert all(one.signal for one in conditions_of(("ecg",)))


def test_reports_of_tables_are_held_against_their_tables(tables: tuple[Path, Path]) -> None:
    store = open_store(tables[0])
    own = [str(store.row(i).report) for i in range(len(store))]
    losses = np.ones(len(own))
    rows = {"real": rows_of(store, own, losses), OTHER: rows_of(store, own[5:] + own[:5], losses)}
    found, _, _ = compare_conditions(rows, store, Settings(GenerateConfig(), resamples=200))
    assert found.verdict == USES and any(one.startswith("statements") for one in found.because)
    knows = {name: {one.fact: one.corrected for one in of} for name, of in found.information.items()}
    assert knows["real"].keys() <= {"amp", "cv", "lat", "dur"} and knows["real"]
    assert all(value > knows[OTHER][fact] for fact, value in knows["real"].items())


def test_a_killed_certificate_ends_with_the_same_bytes(short_run: Path, tmp_path: Path,
                                                       capsys: pytest.CaptureFixture[str]) -> None:
    line = ["certify", str(short_run), "--split", "train", "--max-new-tokens", "4", "--batch-size", "2", "--limit",
            "40", "--resamples", "200"]
    assert command([*line[:-4], "--out", str(tmp_path / "few"), "--limit", "9"]) == 2
    assert "too few to certify" in capsys.readouterr().err and not (tmp_path / "few").exists()
    assert command([*line, "--out", str(tmp_path / "whole")]) == 0
    shown = capsys.readouterr()
    assert NOTHING in shown.out and "another patient's" in shown.out and "Bonferroni" in shown.err
    for chunks in (1, 5):  # amid a condition, each time another
        with interrupted_after(chunks):
            assert command([*line, "--out", str(tmp_path / "killed")]) == 130
    assert command([*line, "--out", str(tmp_path / "killed"), "--json"]) == 0
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    found = json.loads((tmp_path / "whole" / CERTIFICATE).read_text())
    assert found["n"] == 40
    assert [one["name"] for one in found["conditions"]] == ["real", OTHER, "zeros", "noise", "none"]
    manifest = read_manifest(tmp_path / "whole" / CERTIFICATE, "certificate")
    assert {"run", "store", "real", OTHER} <= set(manifest.inputs) and manifest.details["verdict"] == NOTHING
    (tmp_path / "whole/certificate.json").write_text("{}")
    assert verify_artefact(tmp_path / "whole" / CERTIFICATE).damaged


SEEDS = (0, 1, 2)  # each takes two trainings, some two minutes
RECORDS, STEPS = 1200, 360


@pytest.mark.long
def test_a_model_of_signals_uses_them_and_one_of_zeros_does_not(tmp_path: Path,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    verdicts = []
    for seed in SEEDS:
        store, instructions = tmp_path / f"{seed}/store", tmp_path / f"{seed}/instructions"
        prepare_store(open_dataset("synthetic", seed, records=RECORDS), store,
                      PrepareConfig(split=DemoDefaults.split, seed=seed))
        build_instructions(store, instructions, seed=seed)
        for name in ("signal", "zeros"):
            steps = STEPS if name == "signal" else STEPS // 3
            config = resolve_train_config(backbone="tiny", steps=steps, seed=seed)
            with monkeypatch.context() as patched:
                if name == "zeros":
                    patched.setattr(EcgSource, "read", lambda self, record: np.zeros_like(self.blank()))
                train(instructions, tmp_path / f"{seed}/{name}", config)
            certify(tmp_path / f"{seed}/{name}", tmp_path / f"{seed}/certificate-{name}",
                    Settings(GenerateConfig(seed=seed), resamples=500), places=Places(), stage=_silent)
            found = json.loads((tmp_path / f"{seed}/certificate-{name}" / CERTIFICATE).read_text())
            deciding = [one for one in found["differences"] if one["condition"] == OTHER
                        and (one["decisive"] or one["kind"] == "loss")]
            print(seed, name, found["verdict"], *deciding, sep="\n  ")
            verdicts.append((name, found["verdict"]))
    assert verdicts == [("signal", USES), ("zeros", NOTHING)] * len(SEEDS)


class _silent:
    """A stage that nobody watches."""

    def __init__(self, description: str) -> None:
        pass

    def __enter__(self) -> None:
        return None

    def __exit__(self, *of: object) -> None:
        pass
