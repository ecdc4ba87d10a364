"""Downloads that come as archives from Zenodo, or through the Hugging Face hub's own client."""

from __future__ import annotations

import io
import json
import os
import random
import stat
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from download_server import Behaviour, DownloadServer, git_hash, hub_files, lies_in, zenodo_files

from emgecg_cli.core.downloads import archives
from emgecg_cli.core.downloads.ledger import NAME
from emgecg_cli.core.downloads.run import DownloadResult, download
from emgecg_cli.core.downloads.transfer import Patience
from emgecg_cli.core.errors import MedReportError

QUICK = Patience(attempts=3, backoff=0.001, max_wait=0.01, timeout=2)
RNG = random.Random(7)


def zipped(members: dict[str, bytes], mode: int = 0) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            packed.writestr(info, data, zipfile.ZIP_DEFLATED)
    return stream.getvalue()


PARTS = {"exams.csv": b"exam_id\n1\n", "exams_part0.zip": zipped({"exams_part0.hdf5": RNG.randbytes(90_000)}),
         "exams_part1.zip": zipped({"exams_part1.hdf5": RNG.randbytes(70_000)})}


def code15(root: Path, server: DownloadServer) -> DownloadResult:
    return download("code15", root, base_url=server.url + "/record", patience=QUICK)


def test_zenodo_parts_are_unpacked_and_not_fetched_again(tmp_path: Path) -> None:
    how = Behaviour(cuts={"record/files/exams_part0.zip/content": [50_000]})
    with DownloadServer(zenodo_files(PARTS), how) as server:
        assert code15(tmp_path, server).fetched == 3
        there = lies_in(tmp_path)
        assert sorted(there) == ["exams.csv", "exams_part0.hdf5", "exams_part1.hdf5"]
        assert len(there["exams_part0.hdf5"]) == 90_000
        assert code15(tmp_path, server).kept == 3 and server.asked["record/files/exams_part1.zip/content"] == 1
        (tmp_path / "exams_part1.hdf5").write_bytes(b"damaged")
        assert code15(tmp_path, server).fetched == 1 and lies_in(tmp_path) == there
        (tmp_path / NAME).unlink()
        assert code15(tmp_path, server).fetched == 2 and lies_in(tmp_path) == there  # the archives are gone
        how.wrong["record/files/exams.csv/content"] = 9
        (tmp_path / "exams.csv").unlink()
        with pytest.raises(MedReportError, match=r"exams.csv: the server sends other bytes than the list says \(md5"):
            code15(tmp_path, server)


def test_an_archive_that_was_verified_but_not_unpacked_when_killed(tmp_path: Path) -> None:
    (tmp_path / "exams_part0.zip").write_bytes(PARTS["exams_part0.zip"])
    (tmp_path / "exams_part0.hdf5.part").write_bytes(b"half")
    with DownloadServer(zenodo_files(PARTS)) as server:
        assert code15(tmp_path, server).fetched == 2 and not server.asked["record/files/exams_part0.zip/content"]
        assert sorted(lies_in(tmp_path)) == ["exams.csv", "exams_part0.hdf5", "exams_part1.hdf5"]


@pytest.mark.parametrize(("members", "mode", "said"), [
    ({"../evil.hdf5": b"x"}, 0, "leads out"), ({"/evil.hdf5": b"x"}, 0, "leads out"),
    ({"a/../../evil": b"x"}, 0, "leads out"), ({"evil": b"/etc/passwd"}, stat.S_IFLNK, "a link"),
    ({"bomb.hdf5": bytes(3_000_000)}, 0, "would unpack to 3000000 bytes"), ({}, 0, "holds no file"),
    ({"a.hdf5": b"x", "A.hdf5": b"y"}, 0, "the same name twice"),
])
def test_hostile_archives(tmp_path: Path, members: dict[str, bytes], mode: int, said: str) -> None:
    root = tmp_path / "root"
    with DownloadServer(zenodo_files({"exams_part0.zip": zipped(members, mode)})) as server, \
            pytest.raises(MedReportError, match=said):
        code15(root, server)
    assert set(lies_in(root)) == {"exams_part0.zip"} and {path.name for path in tmp_path.iterdir()} == {"root"}


def test_archives_that_lie_about_their_lengths_or_are_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = PARTS["exams_part0.zip"]
    longer = bytearray(good)
    central = good.index(b"PK\x01\x02")
    longer[central + 24:central + 28] = (500).to_bytes(4, "little")  # announces less than it holds
    for number, data in enumerate((bytes(longer), good[:-30], good[:200] + b"?" + good[201:], b"no zip")):
        path = tmp_path / f"{number}.zip"
        path.write_bytes(data)
        with pytest.raises(MedReportError, match="cannot be unpacked"):
            archives.unpack(path, tmp_path)
        assert not (tmp_path / "exams_part0.hdf5").exists()
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    (tmp_path / "good.zip").write_bytes(good)
    with pytest.raises(MedReportError, match=r"unpacks to 0.0 GB"):
        archives.unpack(tmp_path / "good.zip", tmp_path)


@pytest.mark.parametrize("record", [b"", b"[]", b'{"files": []}', b'{"files": [{"key": "a"}]}', b"[" * 99_999,
                                    b'{"files": [{"key": "a", "size": 1, "checksum": "crc:1"}]}',
                                    b'{"files": [{"key": "../a", "size": 1, "checksum": "md5:%s"}]}' % (b"0" * 32)])
def test_records_that_are_none(tmp_path: Path, record: bytes) -> None:
    with DownloadServer({"record": record}) as server, pytest.raises(MedReportError) as caught:
        code15(tmp_path, server)
    assert "not the files of a Zenodo record" in caught.value.message or "leads out" in caught.value.message


# The hub

HUB_CLIENT = """
import json, sys
from pathlib import Path
from emgecg_cli.core.downloads.run import download
from emgecg_cli.core.errors import MedReportError
try:
    result = download("etm", Path(sys.argv[1]), base_url=sys.argv[2])
    print(json.dumps([result.files, result.fetched, result.kept]))
except MedReportError as error:
    print(json.dumps(error.message))
"""


def from_hub(root: Path, server: DownloadServer) -> Any:
    """A process of its own, since the hub's client keeps what the environment said when it was imported."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
    settings = {"HF_HOME": str(root.parent / "home"), "NO_PROXY": "127.0.0.1", "HF_HUB_DISABLE_XET": "1",
                "HF_TOKEN": "hf_secret"}
    done = subprocess.run([sys.executable, "-c", HUB_CLIENT, str(root), server.url], env=clean | settings,
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_etm_comes_from_the_hub(tmp_path: Path) -> None:
    first = {"data/train.parquet": RNG.randbytes(50_000), "README.md": b"# ETM\n", "load.py": b"evil",
             ".gitattributes": b""}
    files = hub_files("fangbingzi/ETM-17k", first, large=("data/train.parquet",)) | hub_files(
        "fangbingzi/ETM-17k-LLM", {"train.json": b"[]"})
    root, how = tmp_path / "etm", Behaviour()
    with DownloadServer(files, how) as server:
        assert from_hub(root, server) == [3, 3, 0]
        expected = {"ETM-17k/data/train.parquet": first["data/train.parquet"], "ETM-17k/README.md": b"# ETM\n",
                    "ETM-17k-LLM/train.json": b"[]"}
        assert lies_in(root) == expected and not server.secrets
        (root / "ETM-17k/README.md").write_bytes(b"# EVIL")
        before = dict(server.asked)
        assert from_hub(root, server) == [3, 1, 2] and lies_in(root) == expected
        parquet = f"datasets/fangbingzi/ETM-17k/resolve/{'a' * 40}/data/train.parquet"
        assert server.asked[parquet] == before[parquet] == 1
        how.wrong["fangbingzi/ETM-17k-LLM/train.json"] = 99
        (root / "ETM-17k-LLM/train.json").unlink()
        assert "other bytes than it lists" in from_hub(root, server)
        assert not (root / "ETM-17k-LLM/train.json").exists()
        assert git_hash(b"") == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"  # the empty file of every repository
        how.gated = True
        assert "its terms must be accepted" in from_hub(root, server)
