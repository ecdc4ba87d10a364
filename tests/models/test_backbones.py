"""Backbones: the table, what is said when one cannot be had, folders, families, tokens, four bits."""

from __future__ import annotations

import importlib.util
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_backbones import FAMILIES, make
from tiny_seq2seq import make_seq2seq
from transformers import (
    BartConfig,
    BloomConfig,
    Gemma3TextConfig,
    GPT2Config,
    GPTJConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    OPTConfig,
    Phi3Config,
    PreTrainedTokenizerFast,
    Qwen3Config,
    T5Config,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING

from emgecg_cli.core import names
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.models import capacity, hub
from emgecg_cli.core.models.backbones import add_tokens, grow_embeddings, load_backbone
from emgecg_cli.core.models.capacity import Memory, Use, bytes_needed
from emgecg_cli.core.models.tiny_backbone import train_tokenizer
from emgecg_cli.core.models.tuning import count_parameters

TEXTS = ["sinus rhythm. normal ecg.", "atrial fibrillation, <|user|>"] * 5
FOUR_BIT = pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not here")
GB = 10**9


def small(vocabulary: int, **more: Any) -> LlamaConfig:
    return LlamaConfig(vocab_size=vocabulary, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
                       num_attention_heads=4, **more)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny LLaMA with its tokenizer; not to be written to."""
    path, tokenizer = tmp_path_factory.mktemp("backbone"), train_tokenizer(TEXTS)
    torch.manual_seed(0)
    LlamaForCausalLM(small(len(tokenizer))).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


# ----------------------------------------------------------------------------------------------------------- the table
def meta(config: Any) -> int:
    table = MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING if config.is_encoder_decoder else MODEL_FOR_CAUSAL_LM_MAPPING
    with torch.device("meta"):
        return count_parameters(table[type(config)](config))


LLAMA_3 = dict(vocab_size=128256, num_key_value_heads=8)


@pytest.mark.parametrize(("name", "config"), [
    ("gpt2-medium", GPT2Config(n_embd=1024, n_layer=24, n_head=16)),
    ("gpt-j-6b", GPTJConfig()), ("bloom-7b1", BloomConfig(vocab_size=250880, hidden_size=4096, n_layer=30, n_head=32)),
    ("opt-6.7b", OPTConfig(hidden_size=4096, ffn_dim=16384, num_hidden_layers=32, num_attention_heads=32,
                           word_embed_proj_dim=4096)),
    ("llama-1-7b", LlamaConfig()), ("chinese-alpaca-2-7b", LlamaConfig(vocab_size=55296)),
    ("mistral-7b", MistralConfig()), ("llama-3-8b", LlamaConfig(intermediate_size=14336, **LLAMA_3)),
    ("llama-3.2-1b", LlamaConfig(hidden_size=2048, intermediate_size=8192, num_hidden_layers=16, **LLAMA_3,
                                 tie_word_embeddings=True)),
    ("t5-large", T5Config(d_model=1024, d_ff=4096, num_layers=24, num_heads=16)), ("bart-large", BartConfig()),
    ("qwen3-0.6b", Qwen3Config(hidden_size=1024, intermediate_size=3072, num_hidden_layers=28, num_attention_heads=16,
                               num_key_value_heads=8, head_dim=128, tie_word_embeddings=True)),
    ("gemma-3-270m", Gemma3TextConfig(hidden_size=640, intermediate_size=2048, num_hidden_layers=18, head_dim=256,
                                      num_attention_heads=4, num_key_value_heads=1, vocab_size=262144)),
    ("phi-4-mini", Phi3Config(vocab_size=200064, hidden_size=3072, intermediate_size=8192, num_attention_heads=24,
                              num_key_value_heads=8, tie_word_embeddings=True, pad_token_id=0))])
def test_the_table_knows_how_large_models_are(name: str, config: Any) -> None:
    assert names.BACKBONES[name].parameters == meta(config)


def test_every_line_of_the_table_is_a_hub_id_of_its_own() -> None:
    lines = [line for name, line in names.BACKBONES.items() if name != "tiny"]
    assert len({line.hub_id for line in lines}) == len(lines) >= 30
    assert all(line.hub_id.count("/") == 1 and line.parameters > 10**8 for line in lines)
    assert all(name in names.BACKBONES and not names.BACKBONES[name].gated for name in capacity.SMALLER)


@pytest.mark.parametrize(("name", "revision", "repo", "at"), [
    ("llama-1-7b", None, "huggyllama/llama-7b", None), ("me/mine@v1.0", None, "me/mine", "v1.0"),
    ("opt-6.7b@refs/pr/8", None, "facebook/opt-6.7b", "refs/pr/8"), ("me/mine@v1.0", "abc", "me/mine", "abc")])
def test_names_hub_ids_and_revisions(name: str, revision: str | None, repo: str, at: str | None) -> None:
    place = hub.locate(name, revision)
    assert (place.repo, place.revision, place.folder) == (repo, at, None)


def test_a_folder_goes_before_a_name_and_may_bear_an_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("gpt-j-6b", "a@b"):
        Path(name).mkdir()
        assert hub.locate(name).folder == Path(name)


@pytest.mark.parametrize(("name", "message"), [("lama-3-8b", "did you mean 'llama-3-8b'"), ("./x", "no such folder"),
                                               ("/dev/null", "not a folder"), ("a/b/c", "neither a folder nor a hub"),
                                               ("tiny", "cannot be loaded")])
def test_what_is_no_backbone(name: str, message: str) -> None:
    with pytest.raises(MedReportError, match=message):
        load_backbone(name, torch.float32)


# ----------------------------------------------------------------------------------------------------- what is missing
@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No network, no cache, no token, and a machine that holds next to nothing."""
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hub, "get_token", lambda: None)
    monkeypatch.setattr(hub, "_in_cache", lambda *_: None)
    monkeypatch.setattr(capacity, "available_memory", lambda: Memory(3 * GB, 3 * GB, False))
    monkeypatch.setattr(capacity.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 5, 4 * GB))  # type: ignore


@pytest.mark.usefixtures("offline")
def test_one_error_lists_all_that_is_missing_and_at_once() -> None:
    start = time.monotonic()
    with pytest.raises(MedReportError) as caught:
        load_backbone("llama-3-8b", torch.float32, tuning="lora")
    assert time.monotonic() - start < 2
    message, hint = caught.value.message, caught.value.hint or ""
    for part in ("llama-3-8b (meta-llama/Meta-Llama-3-8B-Instruct)", "not complete in the cache",
                 "HF_HUB_OFFLINE is set", "licence must be accepted", "no token",
                 "disk: 16.1 GB to download, 4.0 GB are free",
                 "weights in float32 need about 32.1 GB, 3.0 GB of memory are free"):
        assert part in message
    for part in ("hf auth login", "huggingface.co/meta-llama", "HF_HOME", "`hf download", "--backbone qwen3-0.6b"):
        assert part in hint
    assert "\n" not in message + hint


def memory_error(monkeypatch: pytest.MonkeyPatch, free: Memory, use: Use, parameters: int = 8_030_261_248) -> str:
    monkeypatch.setattr(capacity, "available_memory", lambda: free)
    return " -> ".join(f"{one.what} -> {one.remedy}" for one in capacity.missing_memory(parameters, use))


def test_memory_counts_precision_four_bits_moments_and_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    n = 8_030_261_248
    assert bytes_needed(n, Use(torch.float32)) == 4 * n and bytes_needed(n, Use(torch.bfloat16)) == 2 * n
    assert bytes_needed(n, Use(torch.float32, tuning="full")) == 16 * n
    assert bytes_needed(n, Use(torch.bfloat16, four_bit=True)) < n
    gpu = Memory(24 * GB, 64 * GB, True)
    assert memory_error(monkeypatch, gpu, Use(torch.bfloat16, tuning="lora")) == ""
    said = memory_error(monkeypatch, gpu, Use(torch.float32, tuning="full"))
    assert "weights, gradients and moments need about 128.5 GB, 24.0 GB of GPU memory" in said
    assert "`--tuning lora --precision bf16` (about 16.1 GB)" in said and "`--backbone qwen3-0.6b`" in said
    assert memory_error(monkeypatch, gpu, Use(torch.float32, tuning="full", shards=8)) == ""
    said = memory_error(monkeypatch, Memory(8 * GB, 64 * GB, True), Use(torch.bfloat16, tuning="lora"))
    assert "`--tuning qlora` (about 6.0 GB)" in said
    said = memory_error(monkeypatch, Memory(24 * GB, 8 * GB, True), Use(torch.bfloat16, tuning="lora"))
    assert "pass through main memory" in said
    assert not memory_error(monkeypatch, Memory(24 * GB, 8 * GB, True), Use(torch.bfloat16, through_ram=False))
    assert "--tuning" not in memory_error(monkeypatch, Memory(1, 1, False), Use(torch.float32))  # to generate


def test_a_containers_limit_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.current").write_text("2000\n")
    monkeypatch.setattr(capacity, "CGROUP", tmp_path)
    assert capacity.available_memory().ram == 3000


def test_a_folder_is_measured_by_its_headers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = load_backbone(str(folder), torch.float32)
    assert hub._stored_parameters(folder) == count_parameters(model)
    monkeypatch.setattr(capacity, "available_memory", lambda: Memory(1000, 1000, False))
    with pytest.raises(MedReportError, match="cannot be used here: memory"):
        load_backbone(str(folder), torch.float32)


# ------------------------------------------------------------------------------------------------------------- folders
def copy(folder: Path, to: Path, without: str) -> Path:
    return Path(shutil.copytree(folder, to, ignore=shutil.ignore_patterns(without)))


def test_folders_without_safetensors_say_what_they_hold(folder: Path, tmp_path: Path) -> None:
    for held, message, hint in (("pytorch_model.bin", "only pickled weights", "convert it once"),
                                ("adapter_model.safetensors", r"an adapter \(peft\), not a model", "merge it"),
                                ("notes.txt", "no weights", "safetensors")):
        path = copy(folder, tmp_path / held, "*.safetensors")
        (path / held).write_bytes(b"junk")
        with pytest.raises(MedReportError, match=message) as caught:
            load_backbone(str(path), torch.float32)
        assert hint in (caught.value.hint or "")


def test_weights_that_are_missing_are_not_made_up(tmp_path: Path, folder: Path) -> None:
    path = copy(folder, tmp_path / "headless", "model.safetensors")
    model, _ = load_backbone(str(folder), torch.float32)
    model.model.save_pretrained(path)  # without the head, which is not tied
    shutil.copy(folder / "config.json", path)
    with pytest.raises(MedReportError, match=r"lack lm_head\.weight"):
        load_backbone(str(path), torch.float32)


def test_damaged_weights_are_one_line(tmp_path: Path, folder: Path) -> None:
    path = copy(folder, tmp_path / "cut", "nothing")
    weights = path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(MedReportError, match="cannot load"):
        load_backbone(str(path), torch.float32)
    weights.write_bytes(b"no safetensors at all")
    with pytest.raises(MedReportError, match="cannot load"):
        load_backbone(str(path), torch.float32)


def test_texts_can_end_and_be_padded_whatever_the_tokenizer(tmp_path: Path, folder: Path) -> None:
    def load(tokenizer: PreTrainedTokenizerFast, name: str) -> Any:
        path = copy(folder, tmp_path / name, "token*")
        tokenizer.save_pretrained(path)
        return load_backbone(str(path), torch.float32)[1]

    raw = train_tokenizer(TEXTS)._tokenizer
    plain = load(PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="</s>", padding_side="right"), "no-pad")
    assert plain.pad_token_id == plain.eos_token_id is not None
    without = PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>")
    assert load(without, "no-eos").eos_token == "</s>"  # which generation_config.json names
    bare = copy(folder, tmp_path / "bare", "token*")
    without.save_pretrained(bare)
    (bare / "generation_config.json").write_text("{}")
    with pytest.raises(MedReportError, match="no EOS"):
        load_backbone(str(bare), torch.float32)
    from tokenizers.processors import TemplateProcessing

    raw.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    closing = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="</s>", bos_token="<s>")
    assert closing("ecg")["input_ids"][-1] == 2
    assert load(closing, "ends")("ecg")["input_ids"] == closing("ecg")["input_ids"][:-1]


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_encoder_decoders_come_with_their_own_head(family: str, tmp_path: Path) -> None:
    tokenizer = train_tokenizer(TEXTS)
    model = make_seq2seq(family)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded, _ = load_backbone(str(tmp_path), torch.float32)
    assert type(loaded) is type(model)
    ids = torch.tensor([[5, 6, 7]])
    torch.testing.assert_close(loaded.eval()(input_ids=ids, decoder_input_ids=ids).logits,
                               model.eval()(input_ids=ids, decoder_input_ids=ids).logits)


# -------------------------------------------------------------------------------------------------------------- tokens
def test_new_tokens_are_one_id_each_and_start_as_the_mean(folder: Path) -> None:
    model, tokenizer = load_backbone(str(folder), torch.float32)
    before = len(tokenizer)
    old = [model.get_input_embeddings().weight.clone(), model.get_output_embeddings().weight.clone()]
    assert len(tokenizer("<signal>", add_special_tokens=False)["input_ids"]) > 1
    add_tokens(model, tokenizer, ["<signal>", "</signal>"])
    assert tokenizer("<signal>", add_special_tokens=False)["input_ids"] == [before]
    assert tokenizer.decode([before, 70], skip_special_tokens=True) == tokenizer.decode([70])
    for rows, was in zip((model.get_input_embeddings().weight, model.get_output_embeddings().weight), old, strict=True):
        assert rows.shape[0] == before + 2 and torch.equal(rows[:before], was)
        torch.testing.assert_close(rows[before:], was.mean(0).expand(2, -1))
    for token in ("<signal>", "<|user|>", " "):
        with pytest.raises(MedReportError, match=r"already|empty"):
            add_tokens(model, tokenizer, [token])
    with pytest.raises(MedReportError, match="already"):
        add_tokens(model, tokenizer, ["<a>", "<a>"])
    assert len(tokenizer) == before + 2


@pytest.mark.parametrize("family", [*FAMILIES, "t5", "bart"])
def test_every_family_takes_new_tokens(family: str) -> None:
    torch.manual_seed(3)
    model = make_seq2seq(family) if family in ("t5", "bart") else make(family)
    ids = torch.tensor([[5, 6, 7]])
    more = {"decoder_input_ids": ids} if family in ("t5", "bart") else {}
    before = model.eval()(input_ids=ids, **more).logits
    grow_embeddings(model, 40, 43)
    torch.testing.assert_close(model(input_ids=ids, **more).logits[..., :40], before)
    assert torch.isfinite(model(input_ids=ids + 35, **more).logits).all()


def test_rows_a_vocabulary_has_in_reserve_are_used_first() -> None:
    model = make("gpt_neox")
    grow_embeddings(model, 30, 32)
    rows = model.get_input_embeddings().weight
    assert rows.shape[0] == 40 and torch.equal(rows[30], rows[31]) and not torch.equal(rows[31], rows[32])


# ----------------------------------------------------------------------------------------------------------- four bits
@FOUR_BIT
def test_four_bits_keep_the_head_and_come_close(folder: Path) -> None:
    model, _ = load_backbone(str(folder), torch.float32, four_bit=True)
    plain, _ = load_backbone(str(folder), torch.float32)
    kinds = [type(layer).__name__ for layer in model.modules() if isinstance(layer, torch.nn.Linear)]
    assert kinds.count("Linear4bit") == 14 and kinds.count("Linear") == 1
    assert type(model.get_output_embeddings()) is torch.nn.Linear
    assert count_parameters(model) == count_parameters(plain)
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        gap = (model(input_ids=ids).logits - plain(input_ids=ids).logits).abs().max()
    assert 0 < gap < 0.2


def test_four_bits_without_bitsandbytes_say_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MedReportError) as caught:
        load_backbone(str(folder), torch.float32, four_bit=True)
    assert caught.value.hint == "pip install 'medreport[qlora]'"
