"""A day of devices: the queue that is carried over, the neighbour, and what a day's tables say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrl.core.knob import Knob
from rrl.core.space import ConfigSpace
from rrl.recording.replay import RecordedServer
from rrl.recording.truth import judge_half
from rrl.simulation.service_model import Machine, Model
from rrl.simulation.shared_machine import Neighbour, SharedServer
from rrl.simulation.simulator import SimulatedServer
from rrl.simulation.testbeds import testbed
from rrl.studies.days import DEFAULT, KNOWING, Day, Knowing, level_costs, run_days, served_days
from rrl.studies.sweeps import Sweep
from rrl.workloads.workload import Poisson

SPACE = ConfigSpace([Knob("batch_threads", (1, 2, 4))])
#: No chance and no waiting but in the queue: a request takes 0.1 s on each of two cores.
PLAIN = SimulatedServer(SPACE, Model("plain", item=0.1), Machine("two cores", cores=2))
gaps = st.lists(st.floats(0.001, 0.5), min_size=2, max_size=40)
EPISODES = [{"batch_threads": threads} for threads in SPACE.knobs[0].values]
QUICK = Day("cpu2", 60.0, "q-learning", 2, 60, 0.05, length_s=48.0)


def serve(server, part, configuration, seed=0):
    return server.measure(configuration, part, np.random.default_rng(seed))


# --- The queue that is carried over ---------------------------------------------------------------


@given(st.lists(st.tuples(gaps.map(np.cumsum), st.sampled_from(EPISODES)), min_size=1, max_size=6))
def test_carry_over_conserves_requests_and_only_ever_delays(parts):
    """Each request is answered once, in its own episode, and not before an empty queue would."""
    shared, owed = SharedServer(PLAIN), 0
    for part, configuration in parts:
        episode, fresh = (serve(server, part, configuration) for server in (shared, PLAIN))
        assert len(episode) == len(part)
        assert episode.info["carried"] == owed
        assert np.all(episode.latency >= fresh.latency - 1e-9)
        owed = shared.carried
        assert 1 <= owed <= episode.info["carried"] + len(part)  # the last one came just now


@given(gaps.map(np.cumsum), st.integers(1, 5), st.sampled_from(EPISODES))
def test_work_is_lost_by_a_restart_only(part, count, configuration):
    """A day in pieces takes as long as the day in one go, and what is begun anew on top of it."""
    shared = SharedServer(PLAIN)
    pieces = [serve(shared, part, configuration).latency for _ in range(count)]
    in_one_go = np.concatenate([part + number * part[-1] for number in range(count)])
    later = np.concatenate(pieces) - serve(PLAIN, in_one_go, configuration).latency
    assert np.all(later >= -1e-9)
    again = 0.1 * (count - 1) * configuration["batch_threads"]  # at most all that runs
    assert np.max(later) <= again + 1e-6


def test_what_is_unfinished_does_not_change_the_random_numbers_of_later_episodes():
    """An agent that made a queue meets the same machine as the others once it is gone."""
    busy, calm = (SharedServer(testbed("cpu2")) for _ in range(2))
    poor = {"inter_op": 1, "intra_op": 2, "batch_threads": 1}
    good = {"inter_op": 2, "intra_op": 1, "batch_threads": 2}
    rng = np.random.default_rng(5)
    parts = [Poisson(150.0).arrivals(100, rng), [60.0], [60.0], Poisson(50.0).arrivals(100, rng)]
    for part, chosen in zip(parts, (poor, good, good, good), strict=True):
        last = serve(busy, part, chosen, 1), serve(calm, part, good, 1)
        assert busy.carried >= calm.carried
    np.testing.assert_allclose(last[0].latency, last[1].latency)


# --- The neighbour --------------------------------------------------------------------------------


@given(
    st.builds(Neighbour, st.floats(0, 0.95), st.floats(0.1, 50), st.floats(0.1, 50)),
    st.floats(1.0, 500.0),
    st.integers(0, 2**32 - 1),
)
def test_a_neighbour_takes_no_more_than_its_share_and_clocks_run_both_ways(other, horizon, seed):
    clock, whole = other.progress(horizon, np.random.default_rng(seed))
    times = np.linspace(0, 1.5 * horizon, 200)
    done = np.interp(times, clock, whole)
    speeds = np.diff(done) / np.diff(times)
    assert np.all(speeds >= 1 - other.fraction - 1e-6)
    assert np.all(speeds <= 1 + 1e-6)
    np.testing.assert_allclose(np.interp(done, whole, clock), times, atol=1e-4)
    after = times > horizon
    np.testing.assert_allclose(np.diff(done[after]), np.diff(times[after]), atol=1e-4)


# --- A day ----------------------------------------------------------------------------------------


def test_a_day_is_the_same_each_time_and_its_arrivals_are_the_same_for_all(tmp_path):
    agents = (QUICK.agent, DEFAULT)
    first, other = (run_days(QUICK._replace(agent=a), "data") for a in agents)
    again = run_days(QUICK._replace(first_seed=1, seeds=1), "data")
    assert first["chosen"].shape == (2, QUICK.episodes)
    assert np.array_equal(first["hour"], other["hour"])
    assert np.all(np.diff(first["hour"]) > 0)
    assert not np.array_equal(*first["hour"]), "another seed, another day"
    assert first["hour"][:, -1] == pytest.approx(24, abs=6)  # so short a day begins with no event
    for name in ("chosen", "mean_s", "late", "hour"):
        assert first[name][1:].tobytes() == again[name].tobytes()
    (swept,) = Sweep([QUICK], build=tmp_path, workers=1).run().values()
    for name, values in first.items():
        assert (swept[name].dtype, swept[name].tobytes()) == (values.dtype, values.tobytes())
    assert len(np.unique(other["chosen"])) == 1
    both = first["chosen"][:, 0] == other["chosen"][:, 0]
    assert np.array_equal(first["mean_s"][both, 0], other["mean_s"][both, 0])
    assert np.all((first["late"] >= 0) & (first["late"] <= QUICK.requests))


def test_the_knowing_agent_has_the_truth_of_the_half_that_is_not_replayed():
    day = Day("mobilenet_v2-threads", 110.0, KNOWING, 1, 100, 0.05, length_s=20.0)
    rates, costs = level_costs(day.problem, "data")
    assert rates.tolist() == [60.0, 115.0, 165.0]
    server = RecordedServer(f"data/{day.testbed}", half=0)
    judged = [judge_half(server.profile, rate, 1).cost for rate in rates]
    np.testing.assert_array_equal(costs, judged)
    space = server.space
    agent = Knowing(rates, [space[int(best)] for best in costs.argmin(axis=1)])
    agent.tell(space[0], 99.0)
    assert agent.ask(1e6) == agent.best(165.0) == space[int(costs[2].argmin())]
    assert Knowing([10.0, 40.0], EPISODES).ask(24.0) == EPISODES[1], "the nearest by its ratio"
    assert set(np.unique(run_days(day, "data")["chosen"])) <= set(costs.argmin(axis=1))


def test_with_a_neighbour_the_truth_is_that_of_both_states_by_their_time(monkeypatch):
    monkeypatch.setattr("rrl.studies.days.LEVELS", np.ones(1))
    quiet = Day("cpu2", 30.0, KNOWING, 1, 100, 0.05)
    busy = quiet._replace(neighbour=(0.5, 10.0, 30.0))  # half of the machine, a quarter of the time
    alone, shared = (level_costs(day.problem, "data")[1] for day in (quiet, busy))
    assert (shared > 1.2 * alone).all()


# --- What the tables say --------------------------------------------------------------------------


def made(agent, mean_s, late=None):
    rows = np.asarray(mean_s, dtype=float)
    day = Day("cpu2", 10.0, agent, len(rows), 100, 0.05, length_s=70.0)
    counts = np.zeros(rows.shape, dtype=int) if late is None else np.asarray(late)
    return day, {"mean_s": rows, "late": counts}


def test_a_day_s_tables_compare_seed_by_seed():
    base = [[2.0] * 6, [4.0] * 6, [2.0] * 6]
    found = dict(
        [
            made(DEFAULT, base, np.full((3, 6), 10)),
            made(KNOWING, np.array(base) / 4),
            made("rrl-gp", [[4, 2, 1, 1, 1, 1], [5] * 6, [2, 2, 2, 2, 2, 6]], np.full((3, 6), 5)),
        ]
    )
    table = served_days(found, np.random.default_rng(0)).set_index("agent")
    assert table.loc[KNOWING, "ratio"] == 0.25
    assert table.loc["rrl-gp", "ratio"] == 1.25
    assert table.loc["rrl-gp", "worse"] == pytest.approx(2 / 3)
    assert table.loc["rrl-gp", "late_more"] == pytest.approx(-0.05)
