"""What people give as `--backbone` that is none: each works, or is one line with what it is and the next command."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from made_runs import make_folder, make_run
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, BertConfig, BertModel

from emgecg_cli.commands.app import run as medreport
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.export import export_run
from emgecg_cli.core.models.backbones import load_backbone
from emgecg_cli.core.models.other_formats import what_it_is


def refusal(place: Path | str) -> tuple[str, str]:
    with pytest.raises(MedReportError) as caught:
        load_backbone(str(place), torch.float32)
    assert "\n" not in caught.value.message and caught.value.hint
    return caught.value.message, caught.value.hint


def _files(*names: str) -> Callable[[Path], Path]:
    def make(where: Path) -> Path:
        where.mkdir()
        for name in names:
            (where / name).write_bytes(b"{}" if name.endswith(".json") else b"x")
        return where
    return make


def _gguf_by_content(where: Path) -> Path:
    where.mkdir()
    (where / "sha256-1234").write_bytes(b"GGUF\x03\0\0\0")
    return where / "sha256-1234"


def _file(name: str) -> Callable[[Path], Path]:
    def make(where: Path) -> Path:
        return _files(name)(where) / name
    return make


def _sentences(where: Path) -> Path:
    BertModel(BertConfig(vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                         intermediate_size=16)).save_pretrained(where)
    (where / "modules.json").write_text("[]")
    return where


def _bert(where: Path) -> Path:
    _sentences(where)
    (where / "modules.json").unlink()
    (where / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\necg\n")
    return where


def _adapter(where: Path) -> Path:
    base = make_folder(where.parent / "base")
    model = AutoModelForCausalLM.from_pretrained(base)
    get_peft_model(model, LoraConfig(target_modules=["q_proj"])).save_pretrained(where)
    return where


def _run(tuning: str, part: str = "") -> Callable[[Path], Path]:
    def make(where: Path) -> Path:
        return make_run(where, make_folder(where.parent / "base"), tuning).path / part
    return make


def _changed(change: Callable[[Path], object]) -> Callable[[Path], Path]:
    def make(where: Path) -> Path:
        make_folder(where)
        change(where)
        return where
    return make


def _shards(gone: bool = False, index: str | None = "") -> Callable[[Path], Path]:
    def change(where: Path) -> None:
        model = AutoModelForCausalLM.from_pretrained(where)
        (where / "model.safetensors").unlink()
        model.save_pretrained(where, max_shard_size="150KB")
        assert len(list(where.glob("model-*.safetensors"))) > 2
        if gone:
            (where / "model-00002-of-00004.safetensors").unlink(missing_ok=True)
            sorted(where.glob("model-*.safetensors"))[1].unlink()
        if index is None:
            (where / "model.safetensors.index.json").unlink()
        elif index:
            (where / "model.safetensors.index.json").write_text(index)
    return _changed(change)


def _mlx(where: Path) -> None:
    config = json.loads((where / "config.json").read_text())
    (where / "config.json").write_text(json.dumps(config | {"quantization": {"bits": 4, "group_size": 64}}))


def _cache(where: Path) -> Path:
    make_folder(where / "snapshots" / "0123abc")
    return where


ODD: dict[str, tuple[Callable[[Path], Path], str, str]] = {  # how it is made, what is said of it, what to do
    "gguf file": (_file("model-q4.gguf"), "GGUF file", "gguf_file='model-q4.gguf'"),
    "gguf without a suffix": (_gguf_by_content, "GGUF file", "safetensors it was made from"),
    "folder of gguf": (_files("a-q4.gguf", "b-q8.GGUF", "config.json"),
                       "GGUF files (a-q4.gguf and 1 more)", "gguf_file='a-q4.gguf'"),
    "weights file": (_file("model.safetensors"), "the folder it lies in", "--backbone /"),
    "config file": (_file("config.json"), "the folder it lies in", "--backbone /"),
    "pickled file": (_file("pytorch_model.bin"), "pickled weights", "use_safetensors=False"),
    "onnx file": (_file("model.onnx"), "ONNX", "safetensors"),
    "other file": (_file("notes.md"), "a file, where a folder is needed", "safetensors"),
    "pickled folder": (_files("pytorch_model.bin", "config.json", "training_args.bin"),
                       "only pickled weights (pytorch_model.bin)", "use_safetensors=False"),
    "onnx folder": (_files("model.onnx", "config.json"), "ONNX's format only", "safetensors"),
    "vendor's own": (_files("consolidated.safetensors", "params.json", "tekken.json"),
                     "named consolidated.safetensors", "Hugging Face"),
    "sentence-transformers": (_sentences, "sentence-transformers model", "--backbone smollm2-135m"),
    "bert": (_bert, "cannot load", "says BertModel, which is no model that writes"),
    "adapter": (_adapter, "an adapter of", "merge_and_unload"),
    "lora run": (_run("lora"), "a run of medreport", "medreport export"),
    "full run": (_run("full"), "a run of medreport", "--backbone exports/it"),
    "adapter of a run": (_run("lora", "adapter"), "a part of the run", "medreport export"),
    "backbone of a run": (_run("full", "backbone"), "a part of the run", "medreport export"),
    "unfinished run": (_changed(lambda where: [shutil.rmtree(where), (where / "checkpoints").mkdir(parents=True)]),
                       "not finished", "medreport train"),
    "shard gone": (_shards(gone=True), "its shard model-0000", "fetch it again"),
    "index gone": (_shards(index=None), "without model.safetensors.index.json", "fetch model.safetensors.index.json"),
    "index damaged": (_shards(index="{"), "is damaged", "fetch it again"),
    "no config": (_changed(lambda where: (where / "config.json").unlink()), "no config.json", "fetch config.json"),
    "no tokenizer": (_changed(lambda where: [file.unlink() for file in where.glob("tokenizer*")]),
                     "cannot load", "it has no tokenizer"),
    "lfs pointer": (_changed(lambda where: (where / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")),
                    "Git LFS", "git lfs pull"),
    "mlx": (_changed(_mlx), "MLX", "safetensors it was made from"),
    "hub cache": (_cache, "one deeper", "snapshots/0123abc"),
    "nothing": (_files(), "holds no weights", "config.json, *.safetensors and a tokenizer"),
}


@pytest.mark.parametrize("kind", ODD)
def test_each_kind_is_one_line_with_the_next_command(kind: str, tmp_path: Path) -> None:
    make, said, next_step = ODD[kind]
    message, hint = refusal(make(tmp_path / "it"))
    assert said in message and next_step in hint, (message, hint)
    assert "needs config.json" not in message + hint


def test_a_gguf_that_is_not_there_and_one_on_the_hub() -> None:
    assert "no such file" in refusal("nowhere/model.GGUF")[0]
    found = what_it_is("me/model-GGUF", ["README.md", "model.Q4_K_M.gguf", "config.json"], None)
    assert found and "GGUF files (model.Q4_K_M.gguf)" in found.what and "'me/model-GGUF'" in found.remedy
    found = what_it_is("me/embedding", ["modules.json", "model.safetensors", "config.json"], None)
    assert found and "sentence-transformers" in found.what
    assert what_it_is("me/model", ["model.safetensors", "config.json", "tokenizer.json"], None) is None


def test_shards_and_exports_of_ours_work(tmp_path: Path) -> None:
    plain, _ = load_backbone(str(make_folder(tmp_path / "plain")), torch.float32)
    sharded, _ = load_backbone(str(_shards()(tmp_path / "sharded")), torch.float32)
    for name, weight in plain.named_parameters():
        assert torch.equal(weight, dict(sharded.named_parameters())[name])
    made = make_run(tmp_path / "run", tmp_path / "plain", "lora")
    export_run(made.path, tmp_path / "run" / "exported")
    model, tokenizer = load_backbone(str(tmp_path / "run" / "exported"), torch.float32)
    assert model.config.model_type == "llama" and len(tokenizer) == len(made.tokenizer)


def test_somebodys_names_reach_no_terminal_as_they_are(tmp_path: Path) -> None:
    where = _files("adapter_config.json")(tmp_path / "it")
    config = {"base_model_name_or_path": "\x1b[31mevil'; $(rm -rf \"x\n)"}
    (where / "adapter_config.json").write_text(json.dumps(config))
    message, hint = refusal(where)
    assert "\x1b" not in message + hint and "evil; $(rm -rf x)" in message and "from_pretrained('BASE')" in hint


@pytest.mark.parametrize("name", ["it's mine", "my models", 'a"b', "$(x)"])
def test_commands_with_a_folder_of_any_name_can_be_pasted(name: str, tmp_path: Path) -> None:
    fits = name == "my models"
    for files in (["pytorch_model.bin"], ["adapter_config.json"], ["m.gguf"]):
        command = what_it_is(name, files, None).remedy.split("`")[1].rpartition("-c ")[2]  # type: ignore[union-attr]
        script, = shlex.split(command)
        assert (f"from_pretrained('{name}'" in script) is fits
        compile(script, "pasted", "exec")
    run = _files("manifest.json")(tmp_path / name)
    (run / "manifest.json").write_text(json.dumps({"kind": "run", "format_version": 1}))
    command = what_it_is(str(run), ["manifest.json"], run).remedy.split("`")[1]  # type: ignore[union-attr]
    assert shlex.split(command) == ["medreport", "export", str(run), "--to", f"exports/{name}"]


def test_train_says_it_before_anything_is_written(inputs: tuple[Path, Path], tmp_path: Path,
                                                  capsys: pytest.CaptureFixture[str]) -> None:
    file = _file("model.gguf")(tmp_path / "it")
    status = medreport(["train", "--backbone", str(file), "--store", str(inputs[0]), "--out", str(tmp_path / "run"),
                        str(inputs[1])])
    assert status == 2 and "it is a GGUF file" in capsys.readouterr().err and not (tmp_path / "run").exists()
