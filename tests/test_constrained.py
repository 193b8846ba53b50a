"""Objectives under an SLO: their order of preference, and bound CPUs."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from probe import build_probe

from rrl import (
    ConfigSpace,
    Constrained,
    Knob,
    SimulatedServer,
    parse_objective,
    parse_slo,
    testbed,
)
from rrl.cli import main
from rrl.serving.launcher import LOCAL
from rrl.serving.settings import usable_cpus
from rrl.tuning.constrained import most_cpus
from rrl.tuning.defaults import serving_default
from rrl.tuning.episode import Episode, Status
from rrl.workloads.workload import Poisson

SLO_TEXTS = ("p99<80ms", "p50<2s", "mean<0.05s", "p99.9<30s")
MOST = 10
latencies = st.lists(st.floats(0, 60), min_size=1, max_size=40)


@st.composite
def episodes(draw):
    latency = draw(latencies)
    failed = draw(st.lists(st.booleans(), min_size=len(latency), max_size=len(latency)))
    few = draw(st.booleans())
    status = np.where(failed, Status.UNAVAILABLE, 0) if few else np.zeros(len(latency))
    configuration = {"cpus": draw(st.integers(1, MOST))}
    return Episode(configuration, np.arange(len(latency)), latency, status)


@given(one=episodes(), other=episodes(), text=st.sampled_from(SLO_TEXTS))
def test_first_the_slo_then_the_cpus(one, other, text):
    """An independent reading of the SLO decides which of two episodes must cost less."""
    slo = parse_slo(text)
    objective = Constrained(slo, MOST)
    keeps = [_keeps(slo, episode) for episode in (one, other)]
    costs = [objective(episode) for episode in (one, other)]
    for kept, cost in zip(keeps, costs, strict=True):
        assert kept == (cost <= 1)
        assert 0 < cost < math.inf
    if keeps == [True, False]:
        assert costs[0] < costs[1]
    if keeps == [True, True] and one.configuration["cpus"] < other.configuration["cpus"]:
        assert costs[0] < costs[1]


def _keeps(slo, episode):
    """Whether the statistic is within the target if failed requests take for ever."""
    latency = np.where(episode.ok, episode.latency, np.maximum(episode.latency, 10.0))
    latency = np.where(~episode.ok, np.maximum(latency, 2 * slo.target_s), latency)
    if str(slo).startswith("mean"):
        return latency.mean() <= slo.target_s
    allowed = len(latency) - math.ceil(len(latency) * slo.statistic.q / 100 - 1e-9)
    return np.count_nonzero(latency > slo.target_s) <= allowed


@pytest.mark.parametrize("name", ["cpus with p99<80ms", "cpus with mean<20ms"])
def test_names_are_read_and_written(name):
    objective = parse_objective(name, most_cpus=4)
    assert str(objective) == name
    assert parse_objective(f" {name.replace('<', ' < ')}", 4) == objective


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cpus with p99<80ms", "needs a knob such as --knob cpus=1,2"),
        ("cpus with p99", "write it as p99<50ms"),
        ("disk with p99<80ms", "unknown objective"),
    ],
)
def test_bad_names(name, message):
    with pytest.raises(ValueError, match=message):
        parse_objective(name)


def test_a_number_of_cpus_that_is_none_is_named():
    fast = Episode({"cpus": 12}, [0.0], [0.01], [0])
    with pytest.raises(ValueError, match="cpus from 1 to 10, got 12"):
        Constrained(parse_slo("p99<80ms"), 10)(fast)


# --- a simulated server that is bound to some of its cores ----------------------------------------

TEN, BOUND = testbed("cpu10"), testbed("cpu10-cores")


@given(cpus=st.integers(1, 10), index=st.integers(0, 149), seed=st.integers(0, 5))
def test_a_bound_server_is_one_on_a_smaller_machine(cpus, index, seed):
    threads = {k: v for k, v in BOUND.space[index].items() if k != "cpus"}
    machine = replace(TEN.machine, cores=cpus, handlers=4 * cpus)
    small = SimulatedServer(TEN.space, TEN.model, machine, TEN.fixed)
    arrivals = Poisson(9.0).arrivals(60, np.random.default_rng(seed))
    one, other = (
        server.measure(configuration, arrivals, np.random.default_rng(seed))
        for server, configuration in ((BOUND, threads | {"cpus": cpus}), (small, threads))
    )
    assert one.latency.tolist() == other.latency.tolist()
    assert one.status.tolist() == other.status.tolist()


def test_automatic_threads_follow_the_bound_cores():
    knobs = [Knob("cpus", (2, 10)), Knob("inter_op", (0, 2, 10)), Knob("intra_op", (0, 2, 10))]
    server = SimulatedServer(ConfigSpace(knobs), TEN.model, TEN.machine)
    arrivals = Poisson(2.0).arrivals(60, np.random.default_rng(0))
    for cpus in (2, 10):
        automatic, given_ = (
            server.measure(
                {"cpus": cpus, "inter_op": n, "intra_op": n}, arrivals, np.random.default_rng(0)
            )
            for n in (0, cpus)
        )
        assert automatic.latency.tolist() == given_.latency.tolist()


def test_the_default_has_all_cpus():
    assert serving_default(BOUND.space)["cpus"] == 10
    assert serving_default(ConfigSpace([Knob("cpus", (4, 1)), Knob("inter_op", (0, 1))])) == {
        "cpus": 4,
        "inter_op": 0,
    }
    assert most_cpus(BOUND.space) == 10


def tuned(folder, capsys, *options):
    """The report and the result of a real server that is tuned in a few episodes."""
    model, out = build_probe(folder / "models" / "probe"), folder / "out"
    arguments = [
        "tune", str(model), "--executable", LOCAL, "--rate", "40", "--requests", "12",
        "--episodes", "4", "--rounds", "8", "--agent", "random", "--budget", "9999",
        "--out", str(out), "--quiet", *options,
    ]  # fmt: skip
    assert main(arguments) == 0
    return capsys.readouterr().out, json.loads((out / "result.json").read_text())


@pytest.mark.long
@pytest.mark.skipif(len(usable_cpus()) < 2, reason="needs two CPUs to choose from")
def test_a_real_server_is_tuned_for_the_fewest_cpus(tmp_path, capsys):
    """Any configuration keeps so wide an SLO, so one CPU must be what is recommended."""
    most = len(usable_cpus())
    options = ["--knob", f"cpus=1,{most}", "--objective", "cpus with p99<20s"]
    report, result = tuned(tmp_path, capsys, *options)
    assert result["recommended"] == result["deploy"] == {"cpus": 1}
    assert result["default"] == {"cpus": most}
    assert result["slo"]["default"]["slo"] == "p99<20000ms"
    assert "taskset --cpu-list" in result["start"]
    assert "1 CPU, p99 at" in report
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for used in result["memory_bytes"].values():  # TensorFlow alone needs more than 64 MiB
        assert 64 * 2**20 < used < pages
    assert "memory of the server: " in report
