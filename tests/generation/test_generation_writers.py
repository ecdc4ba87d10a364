"""Several writers: their parts end as the bytes of one writer, whoever is killed, and whoever comes late."""

from __future__ import annotations

import io
import os
import shutil
import time
from pathlib import Path

import pytest
from fuse import Fuse
from pipeline import contents, finish, kill_when, make_inputs, medreport, short_config

from emgecg_cli.commands import app
from emgecg_cli.core import claims
from emgecg_cli.core.claims import claim, claim_part, part_path, part_paths
from emgecg_cli.core.config import GenerateConfig
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.generation import GenerateResult, Places, generate_reports, job, processes
from emgecg_cli.core.training.run import train

FEW = GenerateConfig(max_new_tokens=4, batch_size=2)


def write(run: Path, out: Path, writer: tuple[int, int] | None = None, **changes: object) -> int:
    """Generate as one of several writers, or as the one that finishes; returns how many records were written."""
    config = GenerateConfig(**{"max_new_tokens": 4, "batch_size": 2, **changes})  # type: ignore[arg-type]
    return generate_reports(run, out, config, writer=writer).written


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many to share among writers as there are batches."""
    monkeypatch.setattr(job, "BATCHES", 1)


@pytest.fixture(scope="module")
def whole(short_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one writer makes: predictions and manifest."""
    folder = tmp_path_factory.mktemp("whole")
    assert write(short_run, folder / "p.jsonl") >= 12
    return contents(folder)


@pytest.mark.parametrize("writers", [1, 2, 3, 50])
def test_parts_end_as_the_bytes_of_one_writer(short_run: Path, tmp_path: Path, whole: dict[str, bytes],
                                              writers: int) -> None:
    out = tmp_path / "p.jsonl"
    counts = [write(short_run, out, (writer, writers)) for writer in range(writers, 0, -1)]
    assert sum(counts) == whole["p.jsonl"].count(b"\n") and not out.exists()
    if writers < 4:
        assert max(counts) - min(counts) <= 2
    assert write(short_run, out) == 0
    assert contents(tmp_path) == whole


def test_what_is_missing_is_written_whatever_wrote_the_rest(short_run: Path, tmp_path: Path,
                                                            whole: dict[str, bytes]) -> None:
    out, total = tmp_path / "p.jsonl", whole["p.jsonl"].count(b"\n")
    first = write(short_run, out, (1, 3))
    lines = part_path(out, 1, 3).read_bytes().splitlines(keepends=True)
    part_path(out, 1, 3).write_bytes(b"".join(lines[:-1]) + lines[-1][:20])  # killed in its last batch
    second = write(short_run, out, (2, 2))
    assert 0 < second < total - first + 2
    out.write_bytes(whole["p.jsonl"][:len(whole["p.jsonl"]) // 3])  # a single writer had been killed too
    missing = write(short_run, out)
    assert 0 < missing < total - first
    assert contents(tmp_path) == whole


def test_a_killed_writers_part_goes_on(short_run: Path, tmp_path: Path, whole: dict[str, bytes]) -> None:
    out = tmp_path / "p.jsonl"
    count = write(short_run, out, (1, 2))
    part = part_path(out, 1, 2)
    made = part.read_bytes()
    lines = made.splitlines(keepends=True)
    part.write_bytes(b"".join(lines[:3]) + b'{"record_id": "\xc3')
    assert write(short_run, out, (1, 2)) == count - 2 and part.read_bytes() == made


def test_nothing_left_to_do_needs_no_model(short_run: Path, tmp_path: Path, whole: dict[str, bytes],
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "p.jsonl"
    write(short_run, out, (1, 1))

    def load(*args: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("emgecg_cli.core.generation.task.load_run", load)
    assert write(short_run, out, (2, 3)) == 0
    assert write(short_run, out) == 0 and contents(tmp_path) == whole
    assert write(short_run, out, (1, 2)) == 0  # late, after the end
    assert generate_reports(short_run, out, FEW, writer=(1, 2)).already_finished and contents(tmp_path) == whole


def test_who_may_write_beside_whom(short_run: Path, tmp_path: Path, whole: dict[str, bytes],
                                   monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "PATIENCE", 0.1)
    out = tmp_path / "p.jsonl"
    write(short_run, out, (1, 3))
    plan = claims._read_plan(out, claims.mark_path(out))
    with claim_part(out, plan, 2, 3):
        with pytest.raises(MedReportError, match="another process is writing it"):
            write(short_run, out)
        with pytest.raises(MedReportError, match="writing this part"):
            write(short_run, out, (2, 3))
        write(short_run, out, (3, 3))
    with claim(out, plan), pytest.raises(MedReportError, match="another process is writing it"):
        write(short_run, out, (2, 3))
    with pytest.raises(MedReportError, match=r"signal: real \(now zeros\)"):
        write(short_run, out, (2, 3), signal="zeros")
    write(short_run, out)
    assert contents(tmp_path) == whole


def test_the_lock_of_writers_goes_with_the_last(tmp_path: Path) -> None:
    out = tmp_path / "p.jsonl"
    with claim_part(out, {}, 1, 2):
        with claim_part(out, {}, 2, 2):
            pass
        with pytest.raises(MedReportError, match="another process"), claim(out, {}):
            pass
    assert not list(tmp_path.glob(".*.lock"))
    with claim(out, {}) as claimed:
        claimed.begin()
        claimed.finish()
    assert not contents(tmp_path)


def test_a_file_that_is_finished_meanwhile_stays_finished(short_run: Path, tmp_path: Path,
                                                          whole: dict[str, bytes]) -> None:
    out = tmp_path / "p.jsonl"
    write(short_run, out)
    with claim_part(out, {"other": "plan"}, 1, 2) as part:
        assert part is None
    assert contents(tmp_path) == whole


def test_what_is_not_ours_is_refused(short_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.jsonl"
    for foreign in (out, part_path(out, 1, 2)):
        foreign.write_text("precious\n")
        for writer in (None, (1, 2)):
            with pytest.raises(MedReportError, match=f"{foreign}: a file that this command did not make"):
                write(short_run, out, writer)
        assert contents(tmp_path) == {foreign.name: b"precious\n"}
        foreign.unlink()
    with pytest.raises(MedReportError, match="no writer 3 of 2"):
        write(short_run, out, (3, 2))
    with pytest.raises(MedReportError, match="a file they share"):
        generate_reports(short_run, io.StringIO(), FEW, writer=(1, 2))
    assert not contents(tmp_path)


@pytest.mark.long
def test_writers_killed_before_any_operation(short_run: Path, tmp_path: Path, whole: dict[str, bytes],
                                             fuse: Fuse) -> None:
    def work(folder: Path) -> None:
        for writer in ((1, 2), (2, 2), None):
            write(short_run, folder / "p.jsonl", writer, batch_size=8)

    operations = fuse.burn(lambda: work(tmp_path / "whole"), tmp_path / "whole", -1)
    expected = contents(tmp_path / "whole")
    assert operations > 20 and set(expected) == {"p.jsonl", "p.jsonl.manifest.json"}
    assert expected["p.jsonl"] == whole["p.jsonl"]
    for left in range(1, operations + 1):
        folder = tmp_path / f"killed-{left}"
        assert fuse.burn(lambda folder=folder: work(folder), folder, left) == left
        again = tmp_path / f"again-{left}"  # whoever comes next may be the one to finish, or a writer
        if folder.exists():
            shutil.copytree(folder, again)
        work(folder)
        for out in (folder / "p.jsonl", again / "p.jsonl"):
            write(short_run, out, batch_size=8)
            write(short_run, out, batch_size=8)
            assert contents(out.parent) == expected, f"killed before operation {left}"


def test_the_progress_of_all_writers_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "LOOK", 0.0)
    out, seen = tmp_path / "p.jsonl", []
    look = processes._watch(out, 5, lambda done, total: seen.append((done, total)))
    assert look is not None
    for path, text in ((out, "a\nb"), (part_path(out, 1, 2), "c\n"), (out, "b\n"), (part_path(out, 2, 2), "d\ne\nf\n")):
        with path.open("a") as stream:
            stream.write(text)
        look()
    assert seen == [(1, 5), (2, 5), (3, 5), (5, 5)]


def test_a_writer_is_told_all_that_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = GenerateConfig("val", "shuffled", 3, 1, 7, 9, 5, 0.7, 0.9, 4, 1.2, 3)
    words = processes._arguments(Path("-run"), Path("o.jsonl"), config, Places(Path("s"), None, Path("r.json")))
    asked = {}

    def generate_reports(run: Path, out: Path, config: GenerateConfig, **rest: object) -> GenerateResult:
        asked.update(rest, run=run, out=out, config=config)
        return GenerateResult(out, 0, 0)

    monkeypatch.setattr("emgecg_cli.core.generation.generate_reports", generate_reports)
    monkeypatch.setenv(processes.WRITER_VARIABLE, "2/3")
    assert app.run(words) == 0
    del asked["progress"]
    assert asked == {"run": Path("-run"), "out": Path("o.jsonl"), "config": config,
                     "places": Places(Path("s"), None, Path("r.json")), "writer": (2, 3)}


def test_each_writer_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [processes._environment("cuda", 2)(rank)["CUDA_VISIBLE_DEVICES"] for rank in (0, 1)] == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-7")
    assert [processes._environment("cuda", 2)(rank)["CUDA_VISIBLE_DEVICES"] for rank in (0, 1)] == ["5", "GPU-7"]
    assert "CUDA_VISIBLE_DEVICES" not in processes._environment("cpu", 3)(2)
    with pytest.raises(MedReportError, match="--num-processes 3, and 2 GPUs"):
        processes._environment("cuda", 3)


# Real processes

@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with inputs and a run in the default places."""
    folder = tmp_path_factory.mktemp("place")
    before = Path.cwd()
    os.chdir(folder)
    try:
        inputs = make_inputs(Path(), 160)
        train(inputs[1], Path("runs/a"), short_config(steps=2))
        generate_reports(Path("runs/a"), Path("whole/p.jsonl"), GenerateConfig(batch_size=1, max_new_tokens=10))
    finally:
        os.chdir(before)
    return folder


ARGUMENTS = ["generate", "runs/a", "--batch-size", "1", "--max-new-tokens", "10"]


def lines_of(out: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in part_paths(out))


@pytest.mark.long
def test_a_killed_writer_loses_nothing(place: Path) -> None:
    out = place / "killed/p.jsonl"
    arguments = [*ARGUMENTS, "--out", "killed/p.jsonl"]
    one, two = (medreport([*arguments, "--writer", f"{writer}/2"], place) for writer in (1, 2))
    kill_when(one, lambda: part_path(out, 1, 2).exists() and part_path(out, 1, 2).read_bytes().count(b"\n") >= 2)
    finish(two)
    assert part_path(out, 1, 2).exists() and not out.exists()
    errors = finish(medreport(arguments, place))
    assert "next: medreport score killed/p.jsonl" in errors
    assert contents(out.parent) == contents(place / "whole")


@pytest.mark.long
def test_processes_end_as_the_bytes_of_one(place: Path) -> None:
    out = place / "two/p.jsonl"
    arguments = [*ARGUMENTS, "--out", "two/p.jsonl", "--num-processes", "2"]
    kill_when(medreport(arguments, place), lambda: lines_of(out) >= 3)  # the parent: its writers end with it
    deadline = time.monotonic() + 10
    while True:
        try:
            with claim(out, claims._read_plan(out, claims.mark_path(out))):
                break
        except MedReportError:
            assert time.monotonic() < deadline, "a writer outlived its parent"
            time.sleep(0.05)
    assert lines_of(out) >= 3
    finish(medreport(arguments, place))
    assert contents(out.parent) == contents(place / "whole")


def test_a_writers_error_is_shown_once(place: Path) -> None:
    weights = place / "runs/a/signal.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:100])
    try:
        process = medreport([*ARGUMENTS, "--out", "broken/p.jsonl", "--num-processes", "2"], place)
        out, errors = process.communicate(timeout=120)
    finally:
        weights.write_bytes(whole)
    assert process.returncode == 2 and out == ""
    assert errors.count("error: ") == errors.count("hint: ") == 1 and "signal.safetensors" in errors
    assert not (place / "broken").exists()


@pytest.mark.parametrize(("options", "message"), [
    (["--out", "-", "--num-processes", "2"], "--out - is one process"),
    (["--writer", "1/2", "--num-processes", "2"], "--writer is one process"),
    (["--writer", "1", "--out", "x.jsonl"], "--writer is 1"),
    (["--writer", "0/2", "--out", "x.jsonl"], "no writer 0 of 2"),
    (["--writer", "1/2", "--out", "-"], "a file they share")])
def test_options_that_do_not_go_together(short_run: Path, options: list[str], message: str,
                                         capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["generate", str(short_run), *options]) == 2
    assert message in capsys.readouterr().err
