"""Downloads against a loopback hub: what is fetched, who may, what is cut, and what never leaves this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hub_server import TOKEN, Client, Hub, Model
from made_runs import make_folder

from emgecg_cli.core.models.backbones import load_backbone


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("backbone") / "llama")


@pytest.fixture(scope="module")
def served(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """Tiny models on a loopback hub."""
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    extra = {"README.md": b"# hello", "consolidated.safetensors": b"twice", "original/params.json": b"{}"}
    bare = {name: data for name, data in files.items() if name != "model.safetensors"}
    pickled = bare | {"pytorch_model.bin": b"cos\nsystem\n."}
    cut = tmp_path_factory.mktemp("shards")
    load_backbone(str(folder), torch.float32)[0].save_pretrained(cut, max_shard_size="150KB")
    shards = bare | {path.name: path.read_bytes() for path in cut.iterdir()}
    shards["model.fp16-00001-of-00001.safetensors"] = b"another variant"
    with Hub({"tiny/open": Model({"main": files | extra, "v1": files}),
              "tiny/pickled": Model({"main": pickled, "refs/pr/1": files}),
              "tiny/gated": Model({"main": files}, gated=True), "tiny/allowed": Model({"main": files}, gated=True),
              "tiny/shards": Model({"main": shards}), "tiny/cut": Model({"main": files}, cuts=2),
              "tiny/broken": Model({"main": files}, cuts=1000, share=0.0)}) as here:
        yield here


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def client(served: Hub, home: Path) -> Iterator[Client]:
    """A process without a token."""
    with Client(served, home) as process:
        yield process


def test_a_model_is_downloaded_once_and_only_what_is_needed(client: Client, served: Hub, folder: Path) -> None:
    model, _ = load_backbone(str(folder), torch.float32)
    expected = model(input_ids=torch.tensor([[5, 6, 7]])).logits[0, -1, :8].tolist()
    first = client.load("tiny/open")
    assert first["logits"] == pytest.approx(expected, abs=1e-6) and first["name"] == "tiny/open"
    assert first["commit"] == served.models["tiny/open"].commit("main")
    fetched = {name for method, name in served.models["tiny/open"].served if method == "GET"}
    assert fetched == {"api", "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
                       "model.safetensors"}
    seen = len(served.models["tiny/open"].served)
    with served.down():
        again = client.load("tiny/open")
    assert again["logits"] == first["logits"] and again["commit"] == first["commit"] and again["seconds"] < 5
    assert client.load("tiny/open", first["commit"])["commit"] == first["commit"]
    assert len(served.models["tiny/open"].served) == seen
    tagged = client.load("tiny/open@v1")
    assert tagged["commit"] == served.models["tiny/open"].commit("v1") != first["commit"]


def test_shards_are_all_there_or_the_missing_one_is_fetched(client: Client, served: Hub, home: Path) -> None:
    first, model = client.load("tiny/shards"), served.models["tiny/shards"]
    fetched = {name for method, name in model.served if method == "GET" and name.endswith(".safetensors")}
    assert len(fetched) > 2 and all(name.startswith("model-0") for name in fetched)
    assert first["logits"] == pytest.approx(client.load("tiny/open")["logits"])
    lost = sorted(home.rglob("model-00002-of-*.safetensors"))
    blob = lost[0].resolve()
    lost[0].unlink()
    blob.unlink()
    with served.down():
        assert "it is not complete in the cache" in client.load("tiny/shards")["error"]
    before = len(model.served)
    assert client.load("tiny/shards")["logits"] == first["logits"]
    assert {name for method, name in model.served[before:] if method == "GET"} == {"api", lost[0].name}


def test_pickled_weights_are_neither_loaded_nor_sent_to_be_converted(client: Client, served: Hub) -> None:
    said = client.load("tiny/pickled")
    assert "only pickled weights (pytorch_model.bin)" in said["error"]
    assert "tiny/pickled@refs/pr/N" in said["hint"] and "save_pretrained('converted')" in said["hint"]
    assert {name for _, name in served.models["tiny/pickled"].served} == {"api"} and not served.strange
    converted = client.load("tiny/pickled@refs/pr/1")
    assert converted["commit"] == served.models["tiny/pickled"].commit("refs/pr/1") and not served.strange


def test_who_may_not_have_a_model_is_told_before_any_download(client: Client, served: Hub) -> None:
    said = client.load("tiny/gated")
    assert "licence must be accepted, and no token" in said["error"]
    assert "/tiny/gated, then run `hf auth login`" in said["hint"]
    assert {name for _, name in served.models["tiny/gated"].served} == {"api", "config.json"}
    assert {method for method, name in served.models["tiny/gated"].served if name != "api"} == {"HEAD"}
    assert "no model tiny/nowhere" in client.load("tiny/nowhere")["error"]
    assert "no revision 'v9'" in client.load("tiny/open@v9")["error"]


def test_a_cut_download_goes_on_or_says_so_in_one_line(client: Client, served: Hub) -> None:
    assert "logits" in client.load("tiny/cut") and served.models["tiny/cut"].cuts == 0
    with served.down():
        said = client.load("tiny/allowed")
    assert "cannot be reached" in said["error"] and said["seconds"] < 10
    assert "hf download tiny/allowed" in said["hint"]


def test_a_token_opens_a_gated_model_and_a_broken_download_says_so(client: Client, served: Hub) -> None:
    said = client.load("tiny/gated", HF_TOKEN="hf_another")
    assert "has not been accepted by" in said["error"] and "fine-grained" in said["hint"]
    assert "logits" in client.load("tiny/allowed", HF_TOKEN=TOKEN)
    said = client.load("tiny/broken")
    assert "the download of model.safetensors" in said["error"] and "broke off" in said["error"]
    assert "\n" not in said["error"] and "goes on where it stopped" in said["hint"]
    served.models["tiny/broken"].cuts = 0
    assert "logits" in client.load("tiny/broken")
