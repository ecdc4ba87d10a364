"""Downloads against a loopback server that cuts, lies and refuses; and against kills at any moment."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from download_server import Behaviour, DownloadServer, lies_in, sums_of

from emgecg_cli.core.downloads import run as download_run
from emgecg_cli.core.downloads import transfer
from emgecg_cli.core.downloads.ledger import NAME
from emgecg_cli.core.downloads.run import SUMS, DownloadResult, download
from emgecg_cli.core.downloads.sets import SETS, room_needed, wanted_names
from emgecg_cli.core.downloads.transfer import Patience
from emgecg_cli.core.errors import MedReportError

QUICK = Patience(attempts=3, backoff=0.001, max_wait=0.01, timeout=2)
RNG = random.Random(7)
LUDB = {"ludb.csv": b"ID,Sex\n1,F\n", **{f"data/{n}.dat": RNG.randbytes(40_000 + n) for n in range(1, 6)},
        **{f"data/{n}.hea": b"%d 12 500 5000\n" % n for n in range(1, 6)}}


def published(files: dict[str, bytes], **other: bytes) -> dict[str, bytes]:
    return {SUMS: sums_of(files), **files, **other}


def fetch(root: Path, server: DownloadServer, dataset: str = "ludb", **options: Any) -> DownloadResult:
    return download(dataset, root, **{"base_url": server.url, "connections": 3, "patience": QUICK, **options})


def refused(root: Path, server: DownloadServer, dataset: str = "ludb", **options: Any) -> MedReportError:
    with pytest.raises(MedReportError) as caught:
        fetch(root, server, dataset, **options)
    assert "\n" not in caught.value.message and caught.value.hint
    return caught.value


def test_a_set_is_fetched_once_and_then_neither_asked_for_nor_hashed(tmp_path: Path,
                                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []
    with DownloadServer(published(LUDB)) as server:
        result = fetch(tmp_path, server, progress=lambda done, total, **_: seen.append((done, total)))
        assert (result.files, result.fetched, result.kept) == (11, 11, 0) and lies_in(tmp_path) == LUDB
        assert result.bytes == sum(map(len, LUDB.values())) + len(sums_of(LUDB)) and seen[-1] == (11, 11)
        before = dict(server.asked)
        monkeypatch.setattr(download_run, "digest_of", lambda *_: pytest.fail("hashed again"))
        assert fetch(tmp_path, server).kept == 11
        assert {name for name, n in server.asked.items() if n > before[name]} == {SUMS}
        assert server.sent[SUMS] == len(sums_of(LUDB))  # the second answer was 304


@pytest.mark.parametrize("damage", ["lost", "cut", "garbage", "other bytes"])
def test_the_ledger_only_saves_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    with DownloadServer(published(LUDB)) as server:
        fetch(tmp_path, server)
        ledger = tmp_path / NAME
        if damage == "lost":
            ledger.unlink()
        elif damage == "cut":
            ledger.write_bytes(ledger.read_bytes()[:-25])
        elif damage == "garbage":
            ledger.write_bytes(b'\xff\xfe{"name": 7}\n[1]\nnull\n{"name": "a", "state": 3, "checksum": []}\n'
                               b'{"list": []}\n')
        else:
            (tmp_path / "data/2.dat").write_bytes(b"x" * len(LUDB["data/2.dat"]))
        result = fetch(tmp_path, server)
        assert result.fetched == (damage == "other bytes") and lies_in(tmp_path) == LUDB
        with monkeypatch.context() as patched:
            patched.setattr(download_run, "digest_of", lambda *_: pytest.fail("hashed again"))
            assert fetch(tmp_path, server).kept == 11 and server.asked["data/1.dat"] == 1


def test_files_of_another_program_are_kept_or_completed(tmp_path: Path) -> None:
    """A copy by hand is verified, not fetched; one that was cut short is gone on with from its end."""
    for name, data in LUDB.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data[:1000] if name == "data/3.dat" else data)
    with DownloadServer(published(LUDB)) as server:
        result = fetch(tmp_path, server)
        assert (result.fetched, result.kept) == (1, 10) and lies_in(tmp_path) == LUDB
        assert server.sent["data/3.dat"] == len(LUDB["data/3.dat"]) - 1000


def test_cut_connections_go_on_where_they_were_cut(tmp_path: Path) -> None:
    cuts = {"data/1.dat": [1, 10_000, 0, 29_000], "data/2.dat": [39_999], SUMS: [100, 200]}
    with DownloadServer(published(LUDB), Behaviour(cuts=cuts)) as server:
        fetch(tmp_path, server)
        assert lies_in(tmp_path) == LUDB
        for name in cuts:  # no byte twice
            assert server.sent[name] == len(server.files[name])
        asked = [(span, tag) for name, span, tag in server.ranges_asked if name == "data/1.dat"]
        assert [span for span, _ in asked] == ["", *(f"bytes={n}-" for n in (1, 10_001, 10_001, 39_001))]
        assert all(tag.startswith('"') for _, tag in asked[1:])


def test_another_range_than_was_asked_for(tmp_path: Path) -> None:
    with DownloadServer(published(LUDB), Behaviour(other_ranges=1, cuts={"data/1.dat": [5000]})) as server:
        fetch(tmp_path, server)
        assert lies_in(tmp_path) == LUDB and server.asked["data/1.dat"] == 3 and not server.secrets
    with DownloadServer(published(LUDB), Behaviour(other_ranges=1, cuts={SUMS: [300]})) as server:
        assert fetch(tmp_path / "b", server).fetched == 11  # no checksum covers the list


def test_a_server_without_ranges_or_length_starts_the_file_again(tmp_path: Path) -> None:
    how = Behaviour(ranges=False, cuts={"data/1.dat": [5000, 6000]})
    with DownloadServer(published(LUDB), how) as server:
        fetch(tmp_path / "a", server)
        assert lies_in(tmp_path / "a") == LUDB and server.sent["data/1.dat"] == 11_000 + len(LUDB["data/1.dat"])
        how.cuts, how.tags = {SUMS: [300]}, False
        fetch(tmp_path / "b", server)
        assert lies_in(tmp_path / "b") == LUDB
        how.cuts = {"data/1.dat": [20_000] * 50}  # always cut at the same byte: no end without a limit
        assert "nothing came in 3 attempts" in refused(tmp_path / "c", server).message
        how.cuts, how.length = {}, False
        assert "does not say how long" in refused(tmp_path / "d", server).message


def test_a_file_that_changed_between_two_runs_is_not_patched_together(tmp_path: Path) -> None:
    old, new = b"a" * 50_000, b"b" * 60_000
    (tmp_path / "data").mkdir()
    for there in (old[:30_000], b"c" * 70_000, new, b""):
        (tmp_path / "data/1.dat.part").write_bytes(there)
        (tmp_path / "data/1.dat").unlink(missing_ok=True)
        with DownloadServer(published({"data/1.dat": new})) as server:
            fetch(tmp_path, server)
            assert server.sent["data/1.dat"] <= 60_000 + 30_000
        assert lies_in(tmp_path) == {"data/1.dat": new}


def test_wrong_bytes_get_one_more_try_and_then_a_line(tmp_path: Path) -> None:
    how = Behaviour()
    how.wrong.update({"data/4.dat": 1, "data/5.dat": 9})
    with DownloadServer(published(LUDB), how) as server:
        error = refused(tmp_path, server)
        right = hashlib.sha256(LUDB["data/5.dat"]).hexdigest()
        wrong = hashlib.sha256(LUDB["data/5.dat"][:-1] + bytes([LUDB["data/5.dat"][-1] ^ 1])).hexdigest()
        assert "data/5.dat" in error.message and right[:16] in error.message and wrong[:16] in error.message
        assert server.asked["data/4.dat"] == server.asked["data/5.dat"] == 2
        assert lies_in(tmp_path) == {name: data for name, data in LUDB.items() if name != "data/5.dat"}
        how.wrong.clear()
        assert fetch(tmp_path, server).fetched == 1 and lies_in(tmp_path) == LUDB


def test_what_was_there_under_the_name_does_not_stay_when_it_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "ludb.csv").write_bytes(b"something else, and longer than the real one")
    how = Behaviour()
    how.wrong["ludb.csv"] = 9
    with DownloadServer(published(LUDB), how) as server:
        refused(tmp_path, server)
    assert "ludb.csv" not in lies_in(tmp_path)


def test_patience_with_busy_servers(tmp_path: Path) -> None:
    how = Behaviour(refusals={"data/1.dat": [429, 503], SUMS: [500]}, retry_after="3600")
    with DownloadServer(published(LUDB), how) as server:
        start = time.monotonic()
        fetch(tmp_path, server)
        assert lies_in(tmp_path) == LUDB and time.monotonic() - start < 2  # an hour, capped
        how.refusals = {"data/1.dat": [503] * 9}
        (tmp_path / "data/1.dat").unlink()
        assert "HTTP 503" in refused(tmp_path, server).message


def test_files_that_are_not_there_do_not_hold_up_the_others(tmp_path: Path) -> None:
    files = published(LUDB)
    del files["data/1.dat"], files["data/2.hea"]
    with DownloadServer(files) as server:
        error = refused(tmp_path, server)
        assert "HTTP 404" in error.message and "(and 1 more files of ludb)" in error.message
        assert len(lies_in(tmp_path)) == 9 and server.asked["data/1.dat"] == 1


@pytest.mark.parametrize("line", [
    b"<!DOCTYPE html>\n", b"abc data/1.dat\n", b"\xff\xfe\n", b"0" * 64 + b"\n", b"0" * 64 + b"  ../evil\n",
    b"0" * 64 + b" /etc/passwd\n", b"0" * 64 + b" data/../../evil\n", b"0" * 64 + b" data\\..\\evil\n",
    b"0" * 64 + b" C:/evil\n", b"0" * 64 + b" a\x00b\n", b"0" * 64 + b" data//evil\n",
    b"0" * 64 + b" .medreport-verified.jsonl\n", b"0" * 64 + b" " + b"a" * 5000 + b"\n", b"0" * 64 + b" dir/\n",
])
def test_a_list_that_is_none_or_leads_out_of_the_root(tmp_path: Path, line: bytes) -> None:
    files = published(LUDB)
    files[SUMS] += line
    with DownloadServer(files) as server:
        error = refused(tmp_path / "root", server)
        assert f"{SUMS}, line 12" in error.message and set(server.asked) == {SUMS}
    assert sorted(path.name for path in tmp_path.rglob("*")) == sorted([NAME, SUMS, "root"])


def test_lists_in_every_spelling(tmp_path: Path) -> None:
    """Two blanks or a star, hashes in capitals, "./" and Windows line ends; names keep their case."""
    files = {"Data/A.dat": b"upper", "data/a b#ü?.dat": b"lower", "c": b"", "d": b"d"}
    digest = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    sums = (f"{digest['Data/A.dat'].upper()}  Data/A.dat\r\n{digest['data/a b#ü?.dat']} *data/a b#ü?.dat\r\n\r\n"
            f"{digest['c']} ./c\n{digest['d']} d\n{digest['d']} d")
    with DownloadServer({SUMS: sums.encode(), **files}) as server:
        result = fetch(tmp_path, server)
    assert lies_in(tmp_path) == files and result.files == 5 and result.fetched == 4


def test_a_file_listed_often_is_fetched_once(tmp_path: Path) -> None:
    data = RNG.randbytes(3_000_000)
    with DownloadServer({SUMS: 5 * sums_of({"a.dat": data}), "a.dat": data}) as server:
        assert fetch(tmp_path, server).fetched == 1 and server.asked["a.dat"] == 1


def test_only_what_the_rate_needs(tmp_path: Path) -> None:
    files = {name: name.encode() for name in (
        "ptbxl_database.csv", "scp_statements.csv", "LICENSE.txt", "example_physionet.py", "records100/0/1_lr.dat",
        "records500/0/1_hr.dat", "records1000/x", "RECORDS")}
    both = {"ptbxl_database.csv", "scp_statements.csv", "LICENSE.txt"}
    with DownloadServer(published(files)) as server:
        fetch(tmp_path, server, "ptb-xl", fs=100)
        assert set(lies_in(tmp_path)) == both | {"records100/0/1_lr.dat"}
        assert fetch(tmp_path, server, "ptb-xl", fs=250).kept == 3
        assert set(lies_in(tmp_path)) == both | {"records100/0/1_lr.dat", "records500/0/1_hr.dat"}
    assert wanted_names(SETS["ptb-xl"], None) == wanted_names(SETS["ptb-xl"], 100)
    assert room_needed(SETS["ptb-xl"], 500) > 4 * room_needed(SETS["ptb-xl"], None)


def test_one_part_of_the_challenge_becomes_the_root(tmp_path: Path) -> None:
    files = {f"training/{folder}/g1/{name}": name.encode() for folder in ("georgia", "cpsc_2018", "ptb")
             for name in ("A1.mat", "A1.hea")}
    with DownloadServer(published(files)) as server:
        fetch(tmp_path, server, "georgia")
        assert set(lies_in(tmp_path)) == {"g1/A1.mat", "g1/A1.hea"} and fetch(tmp_path, server, "georgia").kept == 2
        assert "holds no file of ludb" in refused(tmp_path / "b", DownloadServer({SUMS: b""})).message


def test_redirects(tmp_path: Path) -> None:
    how = Behaviour()
    with DownloadServer(published(LUDB), how) as server, DownloadServer({"elsewhere": LUDB["ludb.csv"]}) as other:
        how.moved["ludb.csv"] = other.url + "/elsewhere"
        fetch(tmp_path / "a", server)
        assert lies_in(tmp_path / "a") == LUDB
        for place, said in (("http://example.invalid/x", "not https"), ("file:///etc/passwd", "not https"),
                            ("/ludb.csv", "without end")):
            how.moved["ludb.csv"] = place
            assert said in refused(tmp_path / "b", server).message


def test_proxies_are_not_asked_for_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with DownloadServer(published(LUDB)) as server:
        assert fetch(tmp_path, server).fetched == 11


def test_a_disk_that_is_full_or_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with DownloadServer(published(LUDB)) as server:
        assert "cannot be written" in refused(tmp_path / "file", server).message
        root = tmp_path / "root"
        root.mkdir()
        (root / "data").write_text("a file where a folder is needed")
        assert "data" in refused(root, server).message
        (root / "data").unlink()

        def full(sink: Any, block: bytes) -> bool:
            raise OSError(28, os.strerror(28))

        with monkeypatch.context() as patched:
            patched.setattr(transfer.Sink, "takes", full)
            error = refused(root, server)
        assert "No space left on device" in error.message and "free some space" in str(error.hint)
        assert fetch(root, server).files == 11 and lies_in(root) == LUDB


def test_a_set_that_will_not_fit_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10**9})())
    monkeypatch.setattr(download_run, "connect", lambda *_: pytest.fail("asked the network"))
    with pytest.raises(MedReportError, match=r"mimic-iv-ecg takes about 98.0 GB, 1.0 GB are free"):
        download("mimic-iv-ecg", tmp_path)


def test_two_processes_do_not_write_into_one_root(tmp_path: Path) -> None:
    with DownloadServer(published(LUDB)) as server:
        ledger = download_run.Ledger(tmp_path)
        try:
            assert "another process" in refused(tmp_path, server).message
        finally:
            ledger.close()
        assert fetch(tmp_path, server).fetched == 11


def test_wrong_arguments_send_nothing(tmp_path: Path) -> None:
    with pytest.raises(MedReportError, match="ludb"):
        download("ludbb", tmp_path)
    for address in ("ftp://x", "x", "http://", "http://user:word@x/", "http://x/?key=1", "http://x y"):
        with pytest.raises(MedReportError, match="no plain http"):
            download("ludb", tmp_path, base_url=address)
    with pytest.raises(MedReportError, match="too few"):
        download("ludb", tmp_path, connections=0)
    with pytest.raises(MedReportError, match="nothing came in 2 attempts"):
        download("ludb", tmp_path, base_url="http://127.0.0.1:9/", patience=QUICK)
    assert lies_in(tmp_path) == {}


CLIENT = """
import sys
from pathlib import Path
from emgecg_cli.core.downloads.run import download
from emgecg_cli.core.downloads.transfer import Patience
download("ludb", Path(sys.argv[1]), base_url=sys.argv[2], connections=2, patience=Patience(backoff=0.01))
"""


def test_killed_at_any_moment_nothing_is_wrong_and_little_comes_twice(tmp_path: Path) -> None:
    rng = random.Random(1)
    files = {f"data/{n}.dat": rng.randbytes(600_000) for n in range(12)}
    how = Behaviour(cuts={name: [rng.randrange(600_000)] for name in files})
    with DownloadServer(published(files), how) as server:
        for attempt in range(4):
            process = subprocess.Popen([sys.executable, "-c", CLIENT, str(tmp_path), server.url],
                                       stdout=subprocess.PIPE)
            before, deadline = sum(server.sent.values()), time.monotonic() + 20
            while sum(server.sent.values()) < before + 800_000 * (attempt + 1) and time.monotonic() < deadline:
                time.sleep(0.001)
                if process.poll() is not None:
                    break
            process.send_signal(signal.SIGKILL)
            process.communicate()
            for name, data in lies_in(tmp_path).items():
                if not name.endswith(".part"):
                    assert data == files[name]
        fetch(tmp_path, server)
        assert lies_in(tmp_path) == files
        assert sum(server.sent[name] for name in files) < 1.6 * sum(map(len, files.values()))
