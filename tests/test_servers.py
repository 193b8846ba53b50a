"""The contract that every server keeps: simulated, recorded, from a table, or live."""

from __future__ import annotations

import sys
from copy import deepcopy
from enum import EnumType, IntEnum

import numpy as np
import pytest
from test_profile import PLAN, record

from rrl import ConfigSpace, Knob, LiveServer, Poisson, RecordedServer, TableServer, testbed
from rrl.support.errors import DataError
from rrl.tuning.watch import Watch, WatchingServer, measure_watched


class Member(IntEnum):
    ONE = 1


SPACE = ConfigSpace([Knob("inter_op", (1, 2)), Knob("batch_threads", (0, 2))])


@pytest.fixture(scope="module")
def table_server():
    table = {"a": [1, 1, 2, 4], "b": [1, 2, 2, 1], "cost": [0.1, 0.2, 0.3, 0.05]}
    return TableServer(table, ["a", "b"])


@pytest.fixture(scope="module")
def recorded_server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("profiles") / "profile"
    record(folder)
    return RecordedServer(folder)


@pytest.fixture(scope="module")
def live_server(model):
    with LiveServer(model, SPACE, warmup=2) as server:
        yield server


@pytest.fixture(scope="module")
def simulated_server():
    return testbed("cpu2")


@pytest.fixture(params=["simulated_server", "table_server", "recorded_server", "live_server"])
def server(request):
    return request.getfixturevalue(request.param)


def test_every_request_gets_an_entry(server):
    arrivals = Poisson(40.0).arrivals(12, np.random.default_rng(0))
    configuration = server.space[0]
    episode = server.measure(configuration, arrivals, np.random.default_rng(1))
    assert len(episode) == len(episode.latency) == len(episode.status) == 12
    assert episode.arrivals.tolist() == arrivals.tolist()
    assert dict(episode.configuration) == configuration
    assert (episode.latency > 0).all()
    assert episode.info["server"]


def test_a_watch_stops_an_episode_and_leaves_out_what_was_not_sent(server):
    arrivals = Poisson(40.0).arrivals(30, np.random.default_rng(0))
    rng = np.random.default_rng(1)
    usual = measure_watched(server, server.space[0], arrivals, rng, Watch(60.0, 1000, 0.02))
    assert len(usual) == 30
    assert "aborted" not in usual.info
    stopped = measure_watched(server, server.space[0], arrivals, rng, Watch(1e-6, 1000, 0.02))
    assert 3 <= len(stopped) < 30  # everything is late, and three late ones are enough
    assert stopped.info["aborted"] == "worse"
    assert stopped.arrivals.tolist() == arrivals[: len(stopped)].tolist()
    none = measure_watched(server, server.space[0], arrivals, rng, Watch(1e-6, 1, 0.02))
    assert len(none) == 1
    assert none.info["aborted"] == "budget"
    idle = Watch(1e-6, 0, 0.02, idle=True)
    whole = measure_watched(server, server.space[0], arrivals, rng, idle)  # it serves on as before
    assert len(whole) == 30
    assert "aborted" not in whole.info
    real = isinstance(server, LiveServer)  # what is cut afterwards was sent to the end
    assert isinstance(server, WatchingServer) == real


def test_an_interrupt_is_not_lost_in_numpy(server, monkeypatch):
    """NumPy drops what is raised while it asks an object for attributes, as a signal's handler may.

    Enumerations answer by code written in Python (up to 3.11), so they meet no array.
    """
    asked = []

    def answer(_kind, name):
        asked.append(name)
        raise AttributeError(name)

    watch = Watch(60.0, 1000, 0.02)
    what = server, server.space[0], [0.0, 0.01]
    episode = measure_watched(*what, np.random.default_rng(1), watch)
    monkeypatch.setattr(EnumType, "__getattr__", answer, raising=False)
    np.where(True, Member.ONE, 0)
    assert asked or sys.version_info >= (3, 12)
    asked.clear()
    measure_watched(*what, np.random.default_rng(1), watch)
    assert episode.bad(60.0) == 0
    monkeypatch.undo()
    assert not asked


def test_one_request_is_enough_and_what_cannot_be_measured_is_refused(server):
    configuration = server.space[len(server.space) - 1]
    assert len(server.measure(configuration, [0.0], np.random.default_rng(1))) == 1
    for chosen, arrivals, message in (
        (configuration, [], "at least one"),
        (configuration, [0.2, 0.1], "sorted"),
        ({"nosuch": 1}, [0.0], "nosuch"),
    ):
        with pytest.raises(ValueError, match=message):
            server.measure(chosen, arrivals, np.random.default_rng(1))


@pytest.mark.parametrize("name", ["simulated_server", "table_server", "recorded_server"])
def test_the_same_seed_gives_the_same_episode_also_in_another_process(name, request):
    server = request.getfixturevalue(name)
    other = deepcopy(server)  # pickling takes the same way
    arrivals = Poisson(40.0).arrivals(12, np.random.default_rng(0))
    one, two, sent = (
        s.measure(s.space[1], arrivals, np.random.default_rng(5)) for s in (server, server, other)
    )
    assert one.latency.tobytes() == two.latency.tobytes() == sent.latency.tobytes()


def test_a_recorded_load_can_be_pinned(recorded_server):
    pinned = RecordedServer(recorded_server.profile, rate_per_s=20.0)
    fast = np.arange(5) / 1000
    episode = pinned.measure(PLAN.space[0], fast, np.random.default_rng(0))
    assert episode.info["rate_per_s"] == 20.0
    with pytest.raises(DataError, match="it has 20, 50"):
        RecordedServer(recorded_server.profile, rate_per_s=21.0)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"a": [1, 2]}, "no column 'cost'"),
        ({"a": [1, 2], "cost": ["0,1", 1.0]}, "'cost' is no column of numbers: .*'0,1'"),
        ({"a": [1, 2], "cost": [1.0, np.nan]}, "row 1"),
        ({"a": [1, 2], "cost": [-1.0, 1.0]}, "row 0"),
        ({"a": [1, 2], "cost": [1.0]}, "'cost' has 1 rows, and the knobs have 2"),
    ],
)
def test_bad_tables(table, message):
    with pytest.raises(DataError, match=message):
        TableServer(table, ["a"])
