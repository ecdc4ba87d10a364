"""Generation: batch size and padding do not matter, what the model is shown is what was asked, kills lose nothing."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from manifests import change_manifest
from pipeline import contents, finish, kill_when, make_inputs, make_store, medreport, short_config

from emgecg_cli.core.artifacts import PredictionRow, parse_rows, read_rows
from emgecg_cli.core.claims import Claim, claim, mark_path
from emgecg_cli.core.config import GenerateConfig
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.evaluation.files import score_file
from emgecg_cli.core.generation import SIGNALS, Places, generate_reports, reports
from emgecg_cli.core.generation.job import BATCHES, plan_job, settings_of
from emgecg_cli.core.inputs.records import open_inputs
from emgecg_cli.core.inputs.shuffled import shuffle_between_patients
from emgecg_cli.core.instructions.build import build_instructions, open_instructions
from emgecg_cli.core.instructions.render import PLACEHOLDER
from emgecg_cli.core.manifest import file_hashes, hashes_of, package_versions, read_manifest
from emgecg_cli.core.models.report_model import ReportModel
from emgecg_cli.core.models.run_files import load_tokenizer
from emgecg_cli.core.store import open_store
from emgecg_cli.core.training.run import train

FEW = GenerateConfig(max_new_tokens=12, batch_size=5)


def write(run: Path, out: Path, **changes: object) -> list[PredictionRow]:
    config = GenerateConfig(**{"max_new_tokens": 12, "batch_size": 5, **changes})  # type: ignore[arg-type]
    generate_reports(run, out, config)
    return read_rows(out, PredictionRow)


def test_each_test_record_once_with_its_whole_reference(short_run: Path, inputs: tuple[Path, Path],
                                                        tmp_path: Path) -> None:
    rows = write(short_run, tmp_path / "p.jsonl")
    store = open_store(inputs[0])
    expected = {store.row(i).record_id: store.row(i) for i in store.indices("test")}
    assert sorted(row.record_id for row in rows) == sorted(expected)
    for row in rows:
        record = expected[row.record_id]
        assert (row.reference, row.codes, row.subject_id, row.dataset) == \
            (record.report, record.codes, record.subject_id, "synthetic")
        assert row.signal == "real" and row.signal_from == row.record_id
    assert read_manifest(tmp_path / "p.jsonl", "predictions").counts["records"] == len(rows)


@pytest.mark.parametrize("beams", [1, 3])
def test_batch_size_does_not_change_a_report(short_run: Path, tmp_path: Path, beams: int) -> None:
    texts = [{row.record_id: row.prediction for row in write(short_run, tmp_path / f"{size}.jsonl", batch_size=size,
                                                             num_beams=beams)} for size in (1, 5, 64)]
    assert texts[0] == texts[1] == texts[2] and len(set(texts[0].values())) > 1


@pytest.mark.parametrize("fusion", ["splice", "cross-attention"])
def test_other_fusions_generate_too(inputs: tuple[Path, Path], tmp_path: Path, fusion: str) -> None:
    train(inputs[1], tmp_path / "run", short_config(fusion=fusion))
    for changes in ({}, {"num_beams": 2}, {"signal": "none"}, {"temperature": 1.0, "repetition_penalty": 1.2}):
        alone, together = ([row.prediction for row in write(
            tmp_path / "run", tmp_path / f"{len(str(changes))}-{size}.jsonl", batch_size=size, **changes)]
            for size in (1, 64))
        assert alone == together and any(alone)


def test_placeholders_stand_for_a_signal_only(short_run: Path, inputs: tuple[Path, Path]) -> None:
    tokenizer = load_tokenizer(short_run)
    for signal, expected in (("real", 3), ("zeros", 3), ("none", 0)):
        shown = open_inputs(open_store(inputs[0]), open_instructions(inputs[1]), encoder="resnet18-tiny", hints={})
        job = plan_job(shown, tokenizer, GenerateConfig(signal=signal))
        prompts = job.prompts(job.order, tokenizer, {"ecg": 3})
        assert {prompt.count(PLACEHOLDER) for prompt in prompts} == {expected}
        assert all(PLACEHOLDER not in prompt for prompt in job.prompts(job.order, tokenizer, None))


def test_what_the_model_is_shown(short_run: Path, inputs: tuple[Path, Path], tmp_path: Path,
                                 monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[torch.Tensor | None] = []

    def spy(self: object, inputs: dict[str, torch.Tensor] | None, input_ids: torch.Tensor, *args: object,
            **kwargs: object) -> torch.Tensor:
        shown.append(inputs and inputs["ecg"])
        return input_ids

    monkeypatch.setattr(ReportModel, "generate", spy)
    monkeypatch.setattr(reports, "why_not_refilled", lambda backbone: "it is spied on")
    store = open_store(inputs[0])
    by_id = {store.row(i).record_id: i for i in range(len(store))}
    noises: list[torch.Tensor] = []
    for signal in SIGNALS:
        shown.clear()
        rows = write(short_run, tmp_path / f"{signal}.jsonl", signal=signal, batch_size=1)
        for row, tensor in zip(rows, shown, strict=True):
            if signal == "none":
                assert tensor is None and row.signal_from is None
            elif signal == "zeros":
                assert tensor is not None and not tensor.any() and row.signal_from is None
            elif signal == "noise":
                own = torch.tensor(store.signal(by_id[row.record_id])).float() / 250
                assert tensor is not None and row.signal_from is None
                # lead by lead of the same power, up to chance and rounding, and of nothing else
                torch.testing.assert_close(tensor[0].std(1), own.std(1), rtol=0.2, atol=0.01)
                both = torch.stack([(one - one.mean(1, keepdim=True)).flatten() for one in (tensor[0], own)])
                assert abs(torch.corrcoef(both)[0, 1]) < 0.05
                noises.append(tensor)
            else:
                assert tensor is not None and row.signal_from is not None
                source = store.row(by_id[row.signal_from])
                expected = torch.tensor(store.signal(by_id[row.signal_from])).float() / 250
                torch.testing.assert_close(tensor[0], expected)
                assert (source.subject_id == row.subject_id) == (signal == "real")
    assert not torch.equal(noises[0], noises[1])  # each record has its own


def test_shuffling_gives_everybody_another_patients_recording() -> None:
    subjects = [f"p{i // 3}" for i in range(30)] + ["lone"]
    for seed in range(20):
        shown = shuffle_between_patients(list(range(31)), subjects, seed)
        assert sorted(shown) == sorted(shown.values()) == list(range(31))
        assert all(subjects[a] != subjects[b] for a, b in shown.items())
    first, again, other = (shuffle_between_patients(list(range(31)), subjects, seed) for seed in (0, 0, 1))
    assert first == again != other
    with pytest.raises(MedReportError, match="3 of 5"):
        shuffle_between_patients([0, 1, 2, 3, 30], subjects, 0)


def test_the_pipe_gives_the_same_lines(short_run: Path, tmp_path: Path) -> None:
    pipe = io.StringIO()
    generate_reports(short_run, pipe, FEW)
    piped = list(parse_rows(pipe.getvalue().splitlines(), PredictionRow, "pipe"))
    assert piped == write(short_run, tmp_path / "p.jsonl")


@pytest.mark.parametrize(("kept", "torn"), [
    (0, b'{"record_id": "syn-0'), (7, b""), (8, b'{"record_id": "syn-000003", "prediction": "\xc3'), (8, b""),
    (12, b'{"record_id": "syn-0')])
def test_an_unfinished_file_is_completed_to_the_same_bytes(short_run: Path, tmp_path: Path, kept: int,
                                                           torn: bytes) -> None:
    whole, single = tmp_path / "whole.jsonl", replace(FEW, batch_size=1)
    rows = write(short_run, whole, batch_size=1)
    assert len(rows) >= 12
    cut = tmp_path / "cut.jsonl"
    cut.write_bytes(b"".join(whole.read_bytes().splitlines(keepends=True)[:kept]) + torn)
    finished = read_manifest(whole, "predictions")
    plan = {"settings": settings_of(single), "inputs": hashes_of(finished.inputs),
            "machine": finished.details["machine"], "versions": package_versions()}
    Claim(cut, plan, False).begin()
    result = generate_reports(short_run, cut, single)
    assert result.written == len(rows) - kept // BATCHES * BATCHES
    assert cut.read_bytes() == whole.read_bytes() and not mark_path(cut).exists()
    made = read_manifest(cut, "predictions")
    assert made.counts == finished.counts
    assert made.details["files"]["cut.jsonl"] == finished.details["files"]["whole.jsonl"]
    with pytest.raises(MedReportError, match=r"batch_size: 1 \(now 6\)"):
        write(short_run, cut, batch_size=6)


def test_what_is_not_ours_or_of_other_settings_is_refused(short_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.jsonl"
    write(short_run, out)
    assert generate_reports(short_run, out, FEW).already_finished
    with pytest.raises(MedReportError, match=r"signal: real \(now zeros\)"):
        write(short_run, out, signal="zeros")
    (tmp_path / "mine.jsonl").write_text("precious\n")
    with pytest.raises(MedReportError, match="did not make"):
        write(short_run, tmp_path / "mine.jsonl")
    assert (tmp_path / "mine.jsonl").read_text() == "precious\n"
    with pytest.raises(MedReportError, match="no signal 'static'"):
        write(short_run, tmp_path / "n.jsonl", signal="static")
    with pytest.raises(MedReportError, match=r"written to a \.jsonl"):
        write(short_run, tmp_path / "p.txt")
    slow = make_store(tmp_path / "slow", 20, fs=50)
    with pytest.raises(MedReportError, match="50 Hz"):
        generate_reports(short_run, tmp_path / "s.jsonl", FEW, places=Places(slow))
    with pytest.raises(MedReportError, match="of its patients were trained on") as caught:
        generate_reports(short_run, tmp_path / "all.jsonl", replace(FEW, split="all"))
    assert caught.value.hint and "--split test" in caught.value.hint
    other = make_store(tmp_path / "other", 60, split="30/30/40")
    with pytest.raises(MedReportError, match="were trained on"):
        generate_reports(short_run, tmp_path / "o.jsonl", FEW, places=Places(other))


@pytest.mark.parametrize("victim", ["signal.safetensors", "backbone/model.safetensors", "tokenizer/tokenizer.json"])
def test_a_damaged_run_says_so(short_run: Path, tmp_path: Path, victim: str) -> None:
    run = tmp_path / "run"
    shutil.copytree(short_run, run)
    (run / victim).write_bytes((run / victim).read_bytes()[:100])
    with pytest.raises(MedReportError, match=str(run)):
        generate_reports(run, tmp_path / "x.jsonl", FEW)
    shutil.rmtree((run / victim).parent)
    with pytest.raises(MedReportError, match=str(run)):
        generate_reports(run, tmp_path / "x.jsonl", FEW)
    assert not list(tmp_path.glob("x.jsonl*"))



def test_a_transfer_is_written_on_all_of_another_store(short_run: Path, tmp_path: Path) -> None:
    other = make_store(tmp_path / "other", 20, seed=7)
    build_instructions(other, tmp_path / "instructions", pool_size=32)
    out = tmp_path / "all.jsonl"
    generate_reports(short_run, out, replace(FEW, split="all"), places=Places(other, tmp_path / "instructions"))
    assert [row.record_id for row in sorted(read_rows(out, PredictionRow), key=lambda row: row.record_id)] == \
        sorted(open_store(other).column("record_id"))
    caveats = score_file(out, None, metrics=["rouge"], resamples=0).caveats
    assert any("the run was trained on no patient of this store" in caveat for caveat in caveats)
    assert not any("whose reports models have seen" in caveat for caveat in caveats)


def test_a_checkpoints_own_generation_settings_are_put_aside(short_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(short_run, run)
    settings = {"do_sample": True, "temperature": 3.0, "repetition_penalty": 5.0, "no_repeat_ngram_size": 1,
                "num_beams": 2}
    name = "backbone/generation_config.json"
    (run / name).write_text(json.dumps(settings))
    change_manifest(run, lambda values: values["details"]["files"].update(file_hashes(run, [name])))
    assert [row.prediction for row in write(run, tmp_path / "a.jsonl")] == \
        [row.prediction for row in write(short_run, tmp_path / "b.jsonl")]


def test_another_cohort_is_no_patient_of_training(short_run: Path, tmp_path: Path) -> None:
    store, instructions = make_store(tmp_path / "stores/synthetic", 60, seed=1), tmp_path / "instructions"
    build_instructions(store, instructions, pool_size=32)
    result = generate_reports(short_run, tmp_path / "p.jsonl", FEW, places=Places(store, instructions))
    assert result.written > 5


def test_two_processes_do_not_write_one_file(short_run: Path, tmp_path: Path) -> None:
    with claim(tmp_path / "p.jsonl", {}), pytest.raises(MedReportError, match="another process"):
        write(short_run, tmp_path / "p.jsonl")
    write(short_run, tmp_path / "p.jsonl")


def test_killed_generation_ends_with_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    monkeypatch.chdir(whole)
    inputs = make_inputs(Path(), 80)
    train(inputs[1], Path("runs/a"), short_config(steps=2))
    shutil.copytree(whole, killed)
    arguments = ["generate", "runs/a", "--batch-size", "1", "--max-new-tokens", "40"]
    finish(medreport(arguments, whole))
    out = killed / "predictions/a.jsonl"
    for lines in (0, 3):
        kill_when(medreport(arguments, killed), lambda n=lines: out.exists() and out.read_bytes().count(b"\n") >= n)
    finish(medreport(arguments, killed))
    assert contents(killed / "predictions") == contents(whole / "predictions")
    ids = [json.loads(line)["record_id"] for line in out.read_text().splitlines()]
    assert len(set(ids)) == len(ids)
