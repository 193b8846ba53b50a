"""Input that no client should send, while others call: what it gets, and that they notice nothing.

`pytest -s tests/test_probes.py` prints a line for each probe: how often it was tried, what was
answered, failed calls of other clients, and the most memory of Envoy and the kept server.
"""

from __future__ import annotations

import collections
import json
import os
import socket
from contextlib import ExitStack, suppress

import psutil
import pytest
from clients import LIMIT_S, await_calls, clients, http_call, refused

from rrl import ConfigSpace, Knob
from rrl.cli import main
from rrl.operating.journal import JOURNAL, open_journal
from rrl.operating.options import TuneOptions
from rrl.serving.envoy_config import Door
from rrl.serving.handover import HandoverServer
from rrl.serving.launcher import LOCAL, free_port
from rrl.serving.loadgen import Client
from rrl.serving.service import port_folder
from rrl.support.errors import DataError

SPACE = ConfigSpace([Knob("inter_op", (1, 2))])
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
PATH = "/tensorflow.serving.PredictionService/Predict"


@pytest.fixture(scope="module")
def service(model):
    with HandoverServer(
        model, SPACE, executable=LOCAL, door=Door(free_port(), free_port()), warmup=2
    ) as server:
        server.configure({"inter_op": 1})
        yield server


def answered(port, *parts):
    """What comes back for raw bytes: the words of HTTP/1, or "closed"."""
    with socket.create_connection(("127.0.0.1", port), 5.0) as connection:
        with suppress(OSError):
            for part in parts:
                connection.sendall(part)
            connection.shutdown(socket.SHUT_WR)
        found = b""
        with suppress(OSError):
            while part := connection.recv(65536):
                found += part
        return found.split(b"\r\n")[0].decode() if found.startswith(b"HTTP/1") else "closed"


def malformed_frames(server, rng):
    """HTTP/2 frames of random bytes after a right preface."""
    frames = [bytes(rng.integers(0, 256, 64).tolist()) for _ in range(8)]
    return answered(server.door.port, PREFACE, SETTINGS, *frames)


def cut_frame(server, rng):
    """A frame that promises more than comes."""
    return answered(server.door.port, PREFACE, SETTINGS, bytes([0, 64, 0, 0, 0, 0, 0, 0, 1]) + b"x")


def wrong_message(server, rng):
    """Random bytes in a right frame of gRPC."""
    with Client(server.address, "probe") as client:
        body = bytes(rng.integers(0, 256, 200).tolist())
        return refused(client._on_bytes, body)[0]


def other_message(server, rng):
    """The message of another call in a right frame."""
    with Client(server.address, "probe") as client:
        return refused(client._on_bytes, client._named.SerializeToString())[0]


def large_headers(server, rng):
    """A header of 64 KB."""
    path = "/v1/models/probe:predict"
    body = json.dumps({"instances": [[1.0, 1.0]]})
    status, _ = http_call(server.door.rest_port, path, body, headers={"x": "a" * 2**16}.items())
    return str(status)


def large_metadata(server, rng):
    """Metadata of 64 KB."""
    with Client(server.address, "probe") as client:
        metadata = (("x", "a" * 2**16),)
        return refused(lambda: client._on_bytes(b"", metadata=metadata, timeout=LIMIT_S))[0]


def half_open(server, rng):
    """Connections that say nothing, a hundred at once."""
    with ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.door.port)))
        with Client(server.address, "probe") as client:
            return "others served" if client.available(LIMIT_S) else "others wait"


PROBES = {
    malformed_frames: (20, {"closed"}),
    cut_frame: (20, {"closed"}),
    wrong_message: (20, {"INTERNAL", "INVALID_ARGUMENT", "UNKNOWN"}),
    other_message: (20, {"INTERNAL", "INVALID_ARGUMENT"}),
    large_headers: (20, {"431"}),
    large_metadata: (20, {"INTERNAL", "UNAVAILABLE", "RESOURCE_EXHAUSTED"}),
    half_open: (10, {"others served"}),  # 1000 in all
}


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.__name__)
def test_odd_input_is_refused_and_others_notice_nothing(probe, service):
    import numpy as np

    times, allowed = PROBES[probe]
    rng = np.random.default_rng(0)
    before = memory(service)
    with clients(service.address) as codes:
        found = collections.Counter(probe(service, rng) for _ in range(times))
        most = memory(service)
        await_calls(codes, 4)
    said = ", ".join(f"{words} {count}" for words, count in found.items())
    print(
        f"\n| {probe.__doc__[:-1]} | {times} | {said} | {sum(map(bool, codes))} | {most:.0f} MiB |"
    )
    assert set(found) <= allowed
    assert most < before + 256


def memory(server):
    """MiB of Envoy and the kept server."""
    return sum(psutil.Process(pid).memory_info().rss for pid in server._processes()) / 2**20


def test_a_journal_that_is_cut_at_any_byte_goes_on_or_is_refused(tmp_path):
    settings = {"seed": 1}
    with open_journal(tmp_path, settings) as journal:
        for episode in range(2):
            journal.append({"episode": episode, "cost": 0.1})
    whole, found = (tmp_path / JOURNAL).read_bytes(), collections.Counter()
    for end in range(len(whole)):
        (tmp_path / JOURNAL).write_bytes(whole[:end])
        try:
            with open_journal(tmp_path, settings) as journal:
                found[len(journal.records)] += 1
                assert whole.startswith((tmp_path / JOURNAL).read_bytes())
        except DataError:
            found["refused"] += 1
    print(f"\n| a journal that is cut at every byte | {len(whole)} | {dict(found)} | | |")
    lines = whole.splitlines(keepends=True)
    assert found["refused"] == len(lines[0]) - 1, "only without a whole first line"
    assert found[0] + found[1] == len(whole) - found["refused"]


def test_the_folder_of_a_port_may_be_no_link_and_of_nobody_else(
    model, tmp_path, monkeypatch, capsys
):
    """Otherwise another user would decide what starts here."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    port = free_port()
    options = TuneOptions(str(model), port=port)
    victim = tmp_path / "victim"
    victim.mkdir()
    folder = port_folder(options.port)
    os.rmdir(folder) if folder.exists() else None
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.symlink_to(victim)
    words = ["tune", str(model), "--port", str(port), "--rate", "9", "--slo", "p99<9s"]
    words += ["--executable", LOCAL, "--out", str(tmp_path / "out"), "--knob", "inter_op=1,2"]
    codes = [main(words)]
    folder.unlink()
    if os.getuid() == 0:  # only root can give a folder away
        folder.mkdir()
        os.chown(folder, 12345, 12345)
        codes.append(main(words))
    assert set(codes) == {2}
    assert list(victim.iterdir()) == []
    assert capsys.readouterr().err.count("or the folder of another user; remove it") == len(codes)
    print(f"\n| a folder of a port that is a link, or of others | {len(codes)} | {codes} | | |")
