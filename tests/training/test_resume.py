"""Training and generation killed before any of their file operations end with the bytes of an unbroken run."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuse import Fuse
from pipeline import contents, short_config

from emgecg_cli.core.config import GenerateConfig
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.evaluation.files import score_file
from emgecg_cli.core.generation import generate_reports
from emgecg_cli.core.instructions.build import build_instructions
from emgecg_cli.core.training.run import train

QUICK = dict(steps=3, batch_size=4, checkpoint_every=1)


@pytest.mark.long
def test_training(inputs: tuple[Path, Path], tmp_path: Path, fuse: Fuse) -> None:
    def work(name: str) -> object:
        return train(inputs[1], tmp_path / name, short_config(**QUICK))

    operations = fuse.burn(lambda: work("whole"), tmp_path / "whole", -1)
    expected = contents(tmp_path / "whole")
    assert operations > 40
    for left in range(1, operations + 1):
        name = f"killed-{left}"
        assert fuse.burn(lambda name=name: work(name), tmp_path / name, left) == left
        work(name)
        assert contents(tmp_path / name) == expected, f"killed before operation {left}"


@pytest.mark.long
def test_training_killed_again_while_it_resumes(inputs: tuple[Path, Path], tmp_path: Path, fuse: Fuse) -> None:
    def work(name: str) -> object:
        return train(inputs[1], tmp_path / name, short_config(**QUICK))

    operations = fuse.burn(lambda: work("whole"), tmp_path / "whole", -1)
    for again in range(1, operations // 2):
        name = f"killed-{again}"
        fuse.burn(lambda name=name: work(name), tmp_path / name, operations // 2)
        fuse.burn(lambda name=name: work(name), tmp_path / name, again)
        work(name)
        assert contents(tmp_path / name) == contents(tmp_path / "whole"), f"killed again before operation {again}"


def test_generation(short_run: Path, tmp_path: Path, fuse: Fuse) -> None:
    config = GenerateConfig(max_new_tokens=4, batch_size=4)

    def work(folder: Path) -> object:
        return generate_reports(short_run, folder / "p.jsonl", config)

    operations = fuse.burn(lambda: work(tmp_path / "whole"), tmp_path / "whole", -1)
    expected = contents(tmp_path / "whole")
    assert operations > 5 and set(expected) == {"p.jsonl", "p.jsonl.manifest.json"}
    for left in range(1, operations + 1):
        folder = tmp_path / f"killed-{left}"
        assert fuse.burn(lambda folder=folder: work(folder), folder, left) == left
        work(folder)
        work(folder)
        assert contents(folder) == expected, f"killed before operation {left}"


def test_instructions(inputs: tuple[Path, Path], tmp_path: Path, fuse: Fuse) -> None:
    def work(name: str) -> object:
        return build_instructions(inputs[0], tmp_path / name, pool_size=40)

    operations = fuse.burn(lambda: work("whole"), tmp_path / "whole", -1)
    for left in range(1, operations + 1):
        name = f"killed-{left}"
        assert fuse.burn(lambda name=name: work(name), tmp_path / name, left) == left
        work(name)
        work(name)
        assert contents(tmp_path / name) == contents(tmp_path / "whole"), f"killed before operation {left}"


def test_scores(short_run: Path, tmp_path: Path, fuse: Fuse) -> None:
    predictions = tmp_path / "p.jsonl"
    generate_reports(short_run, predictions, GenerateConfig(max_new_tokens=4))

    def work(name: str, resamples: int = 5) -> object:
        return score_file(predictions, tmp_path / name / "s.json", resamples=resamples, metrics=["bleu"])

    operations = fuse.burn(lambda: work("whole"), tmp_path / "whole", -1)
    for left in range(1, operations + 1):
        for again in (False, True):  # the first scores, and later ones over them
            name = f"killed-{left}-{again}"
            if again:
                work(name, resamples=7)
            fuse.burn(lambda name=name: work(name), tmp_path / name, left)
            work(name)
            assert contents(tmp_path / name) == contents(tmp_path / "whole"), f"killed before operation {left}"


@pytest.mark.long
def test_predictions_made_again_over_an_old_manifest(short_run: Path, tmp_path: Path, fuse: Fuse) -> None:
    config = GenerateConfig(max_new_tokens=4, batch_size=4)
    out = tmp_path / "p.jsonl"
    generate_reports(short_run, out, config)
    expected = contents(tmp_path)
    out.unlink()
    operations = fuse.burn(lambda: generate_reports(short_run, out, config), tmp_path, -1)
    for left in range(1, operations):
        out.unlink(missing_ok=True)
        fuse.burn(lambda: generate_reports(short_run, out, config), tmp_path, left)
        generate_reports(short_run, out, config)
        assert {k: v for k, v in contents(tmp_path).items() if not k.endswith(".lock")} == expected


def test_what_is_refused_leaves_the_place_free(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    for wrong in (dict(tuning="lora"), dict(max_length=9), dict(augment="rol"), dict(encoder="resnet99")):
        with pytest.raises(MedReportError):
            train(inputs[1], tmp_path / "run", short_config(**QUICK | wrong))
        assert not (tmp_path / "run").exists()
    train(inputs[1], tmp_path / "run", short_config(**QUICK))
