"""A server that commands start and stop, behind a link that delays all calls and loses some.

The examples of the page for operators run, with an ``ssh`` that runs the command in another folder.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from clients import LIMIT_S, RRL, check_answer, running
from test_cli import said
from test_faults import lines_of, wait_for

from rrl.cli import main
from rrl.operating.journal import JOURNAL
from rrl.operating.report import PAGE, RESULT
from rrl.serving import envoy
from rrl.serving.elsewhere import Elsewhere
from rrl.serving.lasting import wait_until
from rrl.serving.launcher import free_port

ROOT = Path(__file__).parent.parent
DELAY_S, LOSS = 0.03, 2  # each call takes so many seconds longer, and so many of a hundred fail
TYPE = "type.googleapis.com/envoy.extensions."
PAGE_OF_OPERATORS = (ROOT / "rrl" / "operating" / "README.md").read_text(encoding="utf-8")
(SCRIPT,) = re.findall(r"```sh\n(#!/bin/sh\n# serve.*?)```", PAGE_OF_OPERATORS, re.DOTALL)
EXAMPLES = re.findall(r"```sh\n(rrl tune [^`]*--address.*?)```", PAGE_OF_OPERATORS, re.DOTALL)


def link(port, server_port):
    """The configuration of an Envoy that delays calls to a server, and loses some."""
    fault = {
        "@type": f"{TYPE}filters.http.fault.v3.HTTPFault",
        "delay": {"fixed_delay": f"{DELAY_S}s", "percentage": {"numerator": 100}},
        "abort": {"grpc_status": 14, "percentage": {"numerator": LOSS}},
    }
    router = {"@type": f"{TYPE}filters.http.router.v3.Router"}
    manager = {
        "@type": f"{TYPE}filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "link",
        "http_filters": [
            {"name": "envoy.filters.http.fault", "typed_config": fault},
            {"name": "envoy.filters.http.router", "typed_config": router},
        ],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "server"}}],
                }
            ]
        },
    }

    def at(number):
        return {"socket_address": {"address": "127.0.0.1", "port_value": number}}

    chain = {"filters": [{"name": "manager", "typed_config": manager}]}
    endpoint = {"lb_endpoints": [{"endpoint": {"address": at(server_port)}}]}
    http2 = {
        "@type": f"{TYPE}upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    cluster = {
        "name": "server",
        "load_assignment": {"cluster_name": "server", "endpoints": [endpoint]},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2
        },
    }
    listener = {"name": "link", "address": at(port), "filter_chains": [chain]}
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


@pytest.fixture
def box(model, tmp_path, monkeypatch):
    """A machine behind a link: its address, and how a command of the page is written for it."""
    port, server_port, home = free_port(), free_port(), tmp_path / "box"
    home.mkdir()
    programs = tmp_path / "bin"
    programs.mkdir()
    local = shlex.join([sys.executable, "-m", "rrl.serving.local_server"])
    serve = SCRIPT.replace("8500", str(server_port)).replace("/models/mine", str(model))
    server = f'#!/bin/sh\necho "$@" >>starts\nexec {local} "$@"\n'
    for path, text in (
        (home / "serve", serve),
        (programs / "ssh", f'#!/bin/sh\nshift\ncd {shlex.quote(str(home))}\nexec sh -c "$*"\n'),
        (programs / "tensorflow_model_server", server),
    ):
        path.write_text(text.replace("=mine", "=probe"))
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    (config := tmp_path / "link.json").write_text(json.dumps(link(port, server_port)))
    command = [envoy._find_envoy(), "-c", str(config), "--disable-hot-restart", "-l", "off"]

    def written(example, *more):
        text = example.replace("\\\n", " ").replace("box:8500", f"127.0.0.1:{port}")
        words = shlex.split(text.replace("/models/mine", str(model)))[1:]
        return [*words, "--requests", "10", "--rounds", "2", "--out", str(tmp_path / "out"), *more]

    written.home, written.address, written.direct = home, f"127.0.0.1:{port}", server_port
    with running([*command, "--concurrency", "1", "--base-id", str(port)]):
        yield written
        if (home / "serve.pid").exists():
            os.system(f"cd {shlex.quote(str(home))} && ./serve stop 2>/dev/null")


@contextmanager
def tuning(words):
    with running([*RRL, *words], cwd=ROOT, stdout=-1, stderr=-1, text=True) as process:
        yield process


def test_a_server_elsewhere_is_tuned_interrupted_and_continued(box, tmp_path):
    """The first example of the page; the model was not served there before."""
    out, words = tmp_path / "out", box(EXAMPLES[0], "--episodes", "6", "--budget", "99")
    with tuning(words) as process:
        wait_for(lambda: len(lines_of(out)) > 2, process)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130, err
    assert "'probe' is not served there now; the run ends what it starts" in err
    kept = lines_of(out)
    assert not Elsewhere(f"127.0.0.1:{box.direct}", "", "").listens, "the run has ended the server"
    with tuning(words) as process:
        _, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode in (0, 5), err
    assert lines_of(out)[: len(kept)] == kept
    records = [json.loads(line) for line in lines_of(out)[1:]]
    answers = [one for record in records for one in record["answers"]]
    fastest = min(min(one["latency"]) for one in answers if "latency" in one)
    assert fastest >= DELAY_S, "the link delays each call"
    starts = (box.home / "starts").read_text()
    assert "--tensorflow_intra_op_parallelism=" in starts
    result = json.loads((out / RESULT).read_text())
    assert result["start"].startswith("ssh box ./serve")
    assert "127.0.0.1" in (out / PAGE).read_text()


def test_what_was_served_elsewhere_is_served_afterwards(box, tmp_path, monkeypatch, capsys):
    """The second example of the page."""
    os.system(f"cd {shlex.quote(str(box.home))} && nohup ./serve >log 2>&1 &")
    place = Elsewhere(f"127.0.0.1:{box.direct}", "", "")
    assert wait_until(lambda: place.serves("probe"), LIMIT_S)
    assert main(box(EXAMPLES[1], "--episodes", "2")) in (0, 5)
    err = capsys.readouterr().err
    assert "'probe' is served there; it is stopped and started at each change" in err
    assert f"the service at {box.address} goes on with inter_op" in err
    check_answer(f"127.0.0.1:{box.direct}")


def test_a_command_that_fails_is_told_from_a_server_that_is_silent(box, capsys):
    words = box(EXAMPLES[0], "--quiet")
    start, stop = words.index("--start") + 1, words.index("--stop") + 1
    words[start] = "echo no such box: {flags} >&2; exit 7"
    code, line = said_last(words, capsys)
    assert code == 4
    assert "the command of --start ended with status 7" in line
    assert "no such box" in line
    words[start], words[stop] = "true {flags}", "true"
    code, line = said_last([*words, "--start-timeout", "1"], capsys)
    assert code == 6
    assert "the model is not available after" in line


def said_last(words, capsys):
    """The exit code, and the last line of stderr."""
    code = main(words)
    return code, capsys.readouterr().err.splitlines()[-1]


def test_a_knob_that_the_command_does_not_use_is_refused(model, tmp_path, capsys):
    words = ["tune", str(model), "--rate", "9", "--knob", "cpus=1,2", "--out", str(tmp_path / "o")]
    words += ["--address", "box:8500", "--stop", "true"]
    code, line = said(words, capsys)
    assert code == 2
    assert "needs all of --address, --start and --stop" in line
    code, line = said([*words, "--start", "serve {flags}"], capsys)
    assert code == 2
    assert "--start does not use the knob cpus: write {cpus} into it" in line
    assert not (tmp_path / "o" / JOURNAL).exists()
