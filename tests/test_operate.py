"""A tuning run from its operator's side: resumed anywhere, it is the run never stopped."""

from __future__ import annotations

import json
from argparse import Namespace
from itertools import product

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from rrl import (
    RECOMMENDED,
    ConfigSpace,
    Knob,
    MeanLatency,
    Percentile,
    Poisson,
    TableServer,
    Trace,
    testbed,
    tune,
)
from rrl.operating.job import Job
from rrl.operating.journal import open_journal
from rrl.operating.operate import SETTLED, make_agent, open_run, settled
from rrl.operating.report import verdict_lines
from rrl.operating.sequential import budget, first_decisions, symmetric_interval
from rrl.operating.verdict import judge_costs
from rrl.support.errors import UsageError
from rrl.tuning.episode import Episode
from rrl.tuning.slo import SLO, parse_slo

SERVER = testbed("cpu2")
DEFAULT = {"inter_op": 2, "intra_op": 2, "batch_threads": 0}


def job(**changes):
    settings = {
        "what": "cpu2",
        "space": SERVER.space,
        "default": DEFAULT,
        "workload": Poisson(115.0),
        "objective": Percentile(99),
        "slo": parse_slo("p99<60ms"),
        "agent": "rrl",
        "episodes": 25,
        "requests": 50,
        "rounds": 6,
    }
    return Job(**(settings | changes))


def test_every_agent_begins_with_what_serves_or_near_it():
    """Automatic threads that are not on the grid are a thread a core."""
    serves = {"inter_op": 4, "intra_op": 1, "batch_threads": 6}
    one, other = (ConfigSpace([Knob("inter_op", v)], cores=3) for v in ((1, 2, 3), (0, 1, 2)))
    for space, default, first in (
        (SERVER.space, serves, serves | {"batch_threads": 4}),
        (SERVER.space, DEFAULT, DEFAULT),
        (one, {"inter_op": 0}, {"inter_op": 3}),
        (other, {"inter_op": 0}, {"inter_op": 0}),
    ):
        for agent in (RECOMMENDED, "rrl", "q-learning"):
            assert make_agent(job(agent=agent, space=space, default=default)).ask(115.0) == first


def operate(job, server, folder):
    """Learn and compare; continue from the journal in a folder."""
    with open_run(job, folder) as run:
        run.begin(server)
        run.learn()
        run.compare()
        return run


class Killed(BaseException):
    """Stands for a kill: nobody may catch it."""


class Mortal:
    """A server during whose n-th measurement the tuner is killed."""

    def __init__(self, server, calls):
        self.server, self.calls = server, calls

    def measure(self, configuration, arrivals, rng):
        self.calls -= 1
        if self.calls < 0:
            rng.random(7)  # it was in the middle of it
            raise Killed
        return self.server.measure(configuration, arrivals, rng)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"workload": Poisson(60.0)}, r"arrivals 'Poisson\(rate=115.0\)', not 'Poisson\(rate=60.0"),
        ({"workload": Trace([0, 1, 3])}, r"arrivals 'Poisson\(rate=115.0\)', not 'trace of 3"),
        ({"about": {"model": "version 2"}}, "model by default, not 'version 2'"),
        ({"about": {"journal": 2}}, r"with journal \d+, not 2: .* of the same version of rrl, or"),
        ({"seed": 1}, "with seed 0, not 1: continue it with the same options"),
        ({"requests": 51}, "with requests 50, not 51"),
        ({"objective": MeanLatency()}, "with objective 'p99', not 'mean'"),
        ({"slo": None}, "with slo 'p99<60ms', not by default"),
        ({"fixed": {"cpus": 1}}, r"with fixed \{\}, not \{'cpus': 1\}"),
        ({"default": DEFAULT | {"inter_op": 1}}, "with default "),
    ],
)
def test_another_job_is_refused(changes, why, tmp_path):
    with open_journal(tmp_path, job().settings()) as journal:
        journal.append({"episode": 0})
    with pytest.raises(UsageError, match=why):
        operate(job(**changes), SERVER, tmp_path)


def table_job(cost, recommended_cost, **changes):
    table = {"threads": [1, 2], "cost": [cost, recommended_cost]}
    server = TableServer(table, ["threads"])
    changes = {"objective": MeanLatency(), "slo": parse_slo("p50<0.2s"), "rounds": 8} | changes
    mine = job(space=server.space, default={"threads": 1}, workload=Poisson(9.0), **changes)
    return mine, server


@pytest.mark.parametrize(
    ("costs", "verdict", "slo"),
    [((0.4, 0.1), "better", "met"), ((0.1, 0.4), "the default", "met"),
     ((0.5, 0.3), "better", "missed")],
)  # fmt: skip
def test_verdicts(costs, verdict, slo, tmp_path):
    mine, server = table_job(*costs)
    result = operate(mine, server, tmp_path).result()
    assert (result["verdict"], result["slo"][result["slo"]["by"]]["word"]) == (verdict, slo)
    default, ratio = costs[0], min(costs) / costs[0]
    said = (
        f"  mean {1e3 * min(costs):.1f} ms against {1e3 * default:.1f} ms by default (medians of 8 "
        f"rounds); ratio within a round: median {ratio:.2f} (95 % interval {ratio:.2f} to "
        f"{ratio:.2f}); {verdict}"
    )
    assert said in verdict_lines(mine, result)


@pytest.mark.parametrize(
    ("costs", "slo", "rounds"),
    [
        ((0.1, 0.4), None, 1),  # the default stays, and no SLO is judged
        ((0.4, 0.1), None, 8),
        ((0.4, 0.1), parse_slo("p50<0.2s"), 12),  # an early answer would be wrong too often
    ],
)
def test_rounds_end_when_they_have_answered(costs, slo, rounds, tmp_path):
    mine, server = table_job(*costs, slo=slo, rounds=12)
    for asked in (server, Mortal(SERVER, 0)):  # nor are there more if it is continued
        assert len(operate(mine, asked, tmp_path).rounds) == rounds


# --- the loop -------------------------------------------------------------------------------------


COSTS = {"threads": [1, 2, 4, 8], "cost": [0.9, 0.1, 0.8, 1.0]}
FEW = TableServer(COSTS, ["threads"])


def patient(**changes):
    settings = {
        "what": "table", "space": FEW.space, "default": {"threads": 1},
        "workload": Poisson(50.0), "objective": MeanLatency(), "episodes": 200, "requests": 20,
        "rounds": 2, "patience": 6,
    }  # fmt: skip
    return Job(**(settings | changes))


def test_a_guard_that_refuses_nothing_changes_nothing_in_the_loop(tmp_path):
    """The loop of `rrl tune` is that of `rrl.tune`, episode by episode."""
    mine = patient(patience=0, episodes=30, slo=parse_slo("p50<9s"))  # no cost is that high
    steps = operate(mine, FEW, tmp_path).steps
    drawn = mine.workload, mine.episodes, mine.rng(1)
    run = tune(FEW, make_agent(mine), *drawn, requests=mine.requests, objective=mine.objective)
    assert [step.configuration for step in steps] == run.configurations
    assert [step.cost for step in steps] == run.costs
    assert [step.load for step in steps] == [step.load for step in run]
    assert [step.recommended for step in steps] == run.recommended
    assert len(set(run.costs)) > 1


# --- an early end ---------------------------------------------------------------------------------


def test_it_ends_with_its_patience_and_goes_on_with_more(tmp_path, caplog):
    run = operate(patient(), FEW, tmp_path)
    assert SETTLED in caplog.messages
    assert 6 < len(run.steps) < 60
    assert [step.configuration for step in run.steps[-6:]] == [{"threads": 2}] * 6
    assert run.steps[-7].configuration != {"threads": 2}
    assert len(run.rounds) == 2
    again = operate(patient(), Mortal(FEW, 0), tmp_path)  # nothing is left to measure
    assert again.result() == run.result()
    more = operate(patient(patience=8), FEW, tmp_path).steps
    assert [step.cost for step in more[: len(run.steps)]] == [step.cost for step in run.steps]
    assert len(more) > len(run.steps)


@pytest.mark.parametrize(
    "changes",
    [
        {"patience": 0},
        {"agent": "rrl"},
        {"workload": Trace(np.arange(100_000) / 50.0)},  # its rate may change
    ],
)
def test_otherwise_all_episodes_are_used(changes, tmp_path):
    assert len(operate(patient(episodes=40, **changes), FEW, tmp_path).steps) == 40


def test_a_trial_that_the_guard_refused_or_ended_is_no_rest():
    space = ConfigSpace([Knob("threads", (1, 2))])
    best, other = {"threads": 1}, {"threads": 2}
    rest = Namespace(configuration=best, recommended=best, asked=best)
    ended = Namespace(configuration=best, recommended=best, asked=other)
    moved = Namespace(configuration=best, recommended=other, asked=best)
    mine = patient(space=space, default=best, patience=2)
    assert settled(mine, [ended, rest, rest])
    assert not settled(mine, [rest, ended, rest])
    assert not settled(mine, [rest])
    assert not settled(mine, [rest, moved])


# --- words and numbers ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "statistic", "target_s"),
    [
        ("p99<50ms", Percentile(99), 0.05),
        ("p99.9 <= 1s", Percentile(99.9), 1.0),
        ("p75<800us", Percentile(75), 0.0008),
        ("p50<.5s", Percentile(50), 0.5),
    ],
)
def test_slos_are_read(text, statistic, target_s):
    slo = parse_slo(text)
    assert (slo.statistic, slo.target_s) == (statistic, pytest.approx(target_s))
    assert parse_slo(str(slo)) == SLO(statistic, pytest.approx(target_s))


ENDLESS = f"p99<1{'0' * 400}s"  # no number for a computer
WRONG = ("", "p99<50", "mean<50ms", "p99>50ms", "p0<1s", "p100<1s", "p99<0ms", "q9<1s", ENDLESS)


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_slo_is_refused(text):
    with pytest.raises(UsageError, match="write it as p99<50ms"):
        parse_slo(text)


def episodes(rows):
    """An episode for each row of latencies (s)."""
    return [Episode({}, range(len(row)), row, np.zeros(len(row))) for row in rows]


def test_failed_requests_break_the_slo():
    parts = [Episode({}, range(100), np.full(100, 0.01), [14] * 5 + [0] * 95)] * 4
    verdict = parse_slo("p99<50ms").judge(parts)
    assert (verdict["word"], verdict["value_s"]) == ("missed", 10.0)


def test_requests_that_are_late_together_count_as_few():
    """Independent requests of the same distribution decide what clusters of them do not."""
    rng, slo = np.random.default_rng(0), parse_slo("p99<50ms")
    mixed = np.where(rng.random(4000) < 0.002, 0.1, 0.01).reshape(40, 100)
    together = np.where(np.arange(40) == 7, 0.1, 0.01)[:, None].repeat(100, axis=1)  # 2.5 %, in one
    spread = np.where(np.arange(4000) % 40 == 7, 0.1, 0.01).reshape(40, 100)  # the same 2.5 %
    words = [slo.judge(episodes(rows))["word"] for rows in (mixed, together, spread)]
    assert words == ["met", "undecided", "missed"]
    few = slo.judge(episodes(mixed[:1, :50]))  # too few for a tail
    assert (few["word"], few["high_s"]) == ("undecided", None)


@pytest.mark.parametrize(("q", "rounds"), [(50, 1), (99, 2)])
def test_a_percentile_at_its_target_is_seldom_called_met_or_missed(q, rounds):
    """All requests of an episode wait in one queue, so they are late together."""
    rng, slo, wrong = np.random.default_rng(0), parse_slo(f"p{q}<100ms"), 0
    latency = rng.exponential(3.0, (400, rounds, 1)) + rng.exponential(1.0, (400, rounds, 100))
    for rows in latency * 0.1 / np.percentile(latency, q):
        verdict = slo.judge(episodes(rows))
        assert verdict["low_s"] <= verdict["value_s"]
        wrong += verdict["word"] != "undecided"
    assert wrong <= 0.05 * 400 + 3 * np.sqrt(0.05 * 400)


# --- verdicts that hold their level: exact for few rounds, and valid with a look after each -------


numbers = st.integers(-1000, 1000).map(lambda n: n / 64)  # scaling by a power of 2 is exact
samples = st.lists(numbers, min_size=1, max_size=20).map(np.array)
# Most of these values are above 0, so that there is often a decision.
clear = st.lists(numbers, min_size=8, max_size=20).map(lambda values: np.array(values) + 10)


def decision(values):
    return int(first_decisions(np.reshape(values, (1, -1)))[0])


# --- the level ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sizes", [np.ones(11), np.arange(1.0, 12.0), 10.0 ** -np.arange(11), [3, 0, 1, 0] * 2 + [5] * 3]
)
def test_of_all_signs_no_more_than_the_budget_decide_by_any_round(sizes):
    """An exact count: given the sizes, the signs are fair coins."""
    signs = np.array([*product((-1.0, 1.0), repeat=11)])
    first = abs(first_decisions(signs * sizes))
    for n in range(1, 12):
        assert np.mean((first > 0) & (first <= n)) <= budget(n)
    if 11.0 in sizes:  # then there are many places, and the budget is used but for a few walks
        assert np.mean(first > 0) > 0.8 * budget(11)


# --- the decision ---------------------------------------------------------------------------------


@settings(max_examples=15)
@given(clear, st.integers(-8, 8))
def test_exchanging_the_two_turns_the_decision_around_in_any_unit(values, power):
    factor = -(2.0**power)
    assert decision(values * factor) == -decision(values)
    centre, low, high = symmetric_interval(values)
    assert symmetric_interval(values * factor) == pytest.approx(
        (centre * factor, high * factor, low * factor), abs=1e-6 * 2.0**power
    )


@settings(max_examples=20)
@given(st.lists(st.integers(-30, 300), min_size=9, max_size=20).map(np.array), st.data())
def test_a_sign_that_turns_towards_the_decision_does_not_delay_it(values, data):
    first = decision(values)
    assume(first)
    turned = values.copy()
    i = data.draw(st.integers(0, len(values) - 1))
    turned[i] = np.sign(first) * abs(values[i])
    assert 0 < decision(turned) * np.sign(first) <= abs(first)


@settings(max_examples=25)
@given(clear, samples)
def test_later_values_do_not_change_a_decision(values, later):
    first = decision(values)
    both = decision(np.concatenate([values, later]))
    assert both == first if first else abs(both) > len(values) or both == 0


# --- the interval ---------------------------------------------------------------------------------


@settings(max_examples=20)
@given(samples | clear)
@example(np.array([1.4, 0.9, 0.5, 2.1, 1.3, 0.5, 2.7, -0.5, 1.0]))  # only 0 itself is that low
def test_the_interval_contains_its_centre_and_agrees_with_the_decision(values):
    """So the interval misses the centre as seldom as there is a false verdict."""
    centre, low, high = symmetric_interval(values)
    assert low <= centre <= high
    if not np.isfinite(low):
        return
    assert (low, high) == pytest.approx((max(low, values.min()), min(high, values.max())))
    assert (low > 0 or high < 0) == (decision(values) != 0)
    for end in (low, high):
        assert decision(values - end) == 0  # an end is not excluded itself
    assert decision(values - (low - 0.1)) > 0 > decision(values - (high + 0.1))


def test_values_that_contradict_one_another_show_nothing():
    centre, low, high = symmetric_interval([1.0] * 12 + [-1.0] * 60)
    assert (centre, low, high) == (-1.0, -np.inf, np.inf)


# --- in the result of `rrl tune` ------------------------------------------------------------------


def costs(ours, theirs):
    """The costs of rounds; None is the cost of a recommendation that was stopped."""
    pairs = zip(ours, theirs, strict=True)
    return [{"default": b} if a is None else {"default": b, "recommended": a} for a, b in pairs]


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict"),
    [
        ([0.0] * 8, [0.01] * 8, "better"),
        ([0.01] * 8, [0.0] * 8, "worse"),
        ([0.0] * 15, [0.0] * 15, "no difference shown"),
        ([0.0, 0.2] * 4, [0.2, 0.0] * 4, "no difference shown"),
        ([0.0, 0.1] * 4, [0.0, 0.2] * 4, "no difference shown"),  # four rounds say nothing
        ([0.0, 0.0, 0.0, None], [0.0] * 4, "no difference shown"),  # and warn of nothing
    ],
)
def test_costs_of_zero_have_a_verdict_but_no_ratio(ours, theirs, verdict):
    result = judge_costs(costs(ours, theirs))
    assert (result["verdict"], result["ratio"]) == (verdict, None)
    json.dumps(result, allow_nan=False)


@pytest.mark.parametrize(
    ("ratios", "verdict", "median"),
    [
        ([0.5, None] * 9, "no difference shown", 0.5),  # whole ones alone would be "better"
        ([None] * 3 + [0.5] * 8, "no difference shown", 0.5),
        ([0.5] * 8 + [None], "better", 0.5),  # a decision is final
        ([0.8, 1.25] * 4 + [None], "no difference shown", 1.0),  # one round decides nothing
        ([None] * 7, "no difference shown", None),
        ([0.5], "no difference shown", 0.5),  # too few
        ([0.5] * 7, "no difference shown", 0.5),
        ([1.01, 1.03, 1.02, 1.05, 1.04, 1.07, 1.06, None], "no difference shown", 1.04),
        ([1.01, 1.03, 1.02, 1.05, 1.04, 1.07, 1.06, 1.04, None], "worse", 1.04),
    ],
)
def test_a_round_without_a_cost_counts_as_lost(ratios, verdict, median):
    """And so few rounds, whole or not, have no interval."""
    result = judge_costs(costs(ratios, [1.0] * len(ratios)))
    json.dumps(result, allow_nan=False)
    assert result["verdict"] == verdict
    assert (result["ratio"] or {}).get("median") == pytest.approx(median)
    assert (result["ratio"] or {"low": None})["low"] is None, "the whole ones are a selection"
