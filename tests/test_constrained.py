"""Objectives under an SLO: their order of preference, and bound CPUs."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace

import numpy as np
import psutil
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rrl import ConfigSpace, Constrained, Knob, parse_slo, testbed
from rrl.cli import main
from rrl.serving.launcher import LOCAL
from rrl.serving.settings import usable_cpus
from rrl.tuning.episode import Episode, Status
from rrl.workloads.workload import Poisson

SLO_TEXTS = ("p99<80ms", "p50<2s", "p99.9<30s")
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
    allowed = len(latency) - math.ceil(len(latency) * slo.statistic.q / 100 - 1e-9)
    return np.count_nonzero(latency > slo.target_s) <= allowed


def test_a_failed_request_counts_twice_the_target_or_the_longer_time_that_it_took():
    objective = Constrained(parse_slo("p99<8s"), MOST)
    failed = [Episode({"cpus": 1}, [0.0], [s], [Status.UNAVAILABLE]) for s in (0.0, 20.0)]
    assert [objective(episode) for episode in failed] == [2.0, 2.5]


@pytest.mark.parametrize("cpus", [0, 0.5, 12, "2", None])
def test_a_number_of_cpus_that_is_none_is_named(cpus):
    fast, slo = Episode({"cpus": cpus}, [0.0], [0.01], [0]), parse_slo("p99<80ms")
    with pytest.raises(ValueError, match=f"cpus from 1 to 10, got {cpus!r}"):
        Constrained(slo, MOST)(fast)


# --- a simulated server that is bound to some of its cores ----------------------------------------

TEN = testbed("cpu10")
BOUND = replace(TEN, space=ConfigSpace([Knob("cpus", range(1, 11)), *TEN.space.knobs]))


@given(cpus=st.integers(1, 10), index=st.integers(0, 1330), seed=st.integers(0, 5))
@example(cpus=2, index=0, seed=0)
def test_a_bound_server_is_one_on_a_smaller_machine(cpus, index, seed):
    """Automatic threads, which the knobs' zeros mean, follow the bound cores, too."""
    threads = TEN.space[index]
    small = replace(TEN, machine=replace(TEN.machine, cores=cpus, handlers=4 * cpus))
    arrivals = Poisson(9.0).arrivals(60, np.random.default_rng(seed))
    one, other = (
        server.measure(configuration, arrivals, np.random.default_rng(seed))
        for server, configuration in ((BOUND, threads | {"cpus": cpus}), (small, threads))
    )
    assert one.latency.tolist() == other.latency.tolist()
    assert one.status.tolist() == other.status.tolist()


@pytest.mark.parametrize(
    ("bed", "objective", "amount"),
    [
        ("cpu10-cores", "cpus with p99<900ms", r"\d+ CPUs? \(p99 at \d+ % of the target\)"),
        ("cpu10-cores", "cpus with p99<20ms", r"p99 at \d{3,} % of the target"),
        ("cpu2", "slo:0.02", r"[\d.]+ % over 20 ms"),
        ("cpu2", "p95", r"p95 [\d.]+ ms"),
    ],
)
def test_a_run_says_what_it_minimises(bed, objective, amount, tmp_path, capsys, caplog):
    words = ["--rate", "8", "--requests", "30", "--episodes", "4", "--rounds", "2", "--seed", "1"]
    main(["replay", bed, *words, "--objective", objective, "--out", str(tmp_path)])
    best = re.findall(r"best so far [^:]*: (.*) \| ", caplog.text)
    (compared,) = re.findall("^  (.*) against .* by default", capsys.readouterr().out, re.MULTILINE)
    assert len(best) == 4
    assert all(re.fullmatch(amount, said) for said in [*best, compared])


@pytest.mark.long
@pytest.mark.skipif(len(usable_cpus()) < 2, reason="needs two CPUs to choose from")
def test_a_real_server_is_tuned_for_the_fewest_cpus(model, tmp_path, capsys):
    """Any configuration keeps so wide an SLO, so one CPU must be what is recommended."""
    most = len(usable_cpus())
    arguments = [
        "tune", str(model), "--executable", LOCAL, "--rate", "40", "--requests", "12",
        "--episodes", "4", "--rounds", "8", "--agent", "random", "--budget", "9999",
        "--knob", f"cpus=1,{most}", "--objective", "cpus with p99<20s",
        "--out", str(tmp_path), "--quiet",
    ]  # fmt: skip
    assert main(arguments) == 0
    report, result = capsys.readouterr().out, json.loads((tmp_path / "result.json").read_text())
    assert result["recommended"] == result["deploy"] == {"cpus": 1}
    assert result["default"] == {"cpus": most}
    assert result["slo"]["default"]["slo"] == "p99<20000ms"
    assert "taskset --cpu-list" in result["start"]
    assert "1 CPU (p99 at" in report
    for used in result["memory_bytes"].values():  # TensorFlow alone needs more than 64 MiB
        assert 64 * 2**20 < used < psutil.virtual_memory().total
    assert "memory of the server: " in report
