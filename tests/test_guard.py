"""A guard keeps its promise for any agent, on servers that are made to be hostile."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import count

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_operate import Killed, Mortal, operate

from rrl import ConfigSpace, Knob, MeanLatency, Poisson
from rrl.operating.job import Job
from rrl.operating.journal import JOURNAL
from rrl.operating.operate import open_run
from rrl.rivals.agents import AGENTS
from rrl.support.errors import GeneratorError, ServerError, UsageError
from rrl.tuning.episode import Episode, Status, check_arrivals
from rrl.tuning.guard import LEAST, Guard, Part, guarded_step
from rrl.tuning.loop import draw_run
from rrl.tuning.mean_bound import lower_mean
from rrl.tuning.slo import parse_slo
from rrl.tuning.watch import Watch
from rrl.workloads.workload import estimate_rate

SPACE = ConfigSpace([Knob("threads", range(1, 7)), Knob("batch", (1, 2, 4, 8))])
DEFAULT = {"threads": 3, "batch": 1}
LATE_S = 0.1
TRIAL = {"threads": 1, "batch": 1}
QUICK = ("rrl-gp", "random", "coordinate-descent")


def guarded(server, agent, guard, episodes, rng, requests=50):
    """Learn under a guard at 40 requests a second."""
    load, by_episode, server_rng = draw_run(Poisson(40.0), episodes, requests, rng)
    for arrivals in by_episode:
        step = guarded_step(server, agent, load, arrivals, server_rng, MeanLatency(), guard)
        yield step
        load = step.next_load


class Acting:
    """A server that a function plays."""

    def __init__(self, act):
        self.space, self.act = SPACE, act

    def measure(self, configuration, arrivals, rng):
        return self.act(configuration, check_arrivals(arrivals), rng)


def taking(seconds, status=0, **more):
    """A function that answers all requests of an episode in the same time."""

    def act(configuration, arrivals, rng):
        n = len(arrivals)
        return Episode(configuration, arrivals, np.full(n, seconds), np.full(n, status), **more)

    return act


class Hostile(Acting):
    """The default is late now and then; others are late, fail, stall, crash or change their mind.

    What each of them does is drawn once, but "moody" ones draw it again for each episode.
    """

    KINDS = ("fine", "late", "failing", "stalling", "crashing", "moody", "as the default")

    def __init__(self, seed, fraction=0.05):
        super().__init__(self.play)
        self.kinds = np.random.default_rng(seed).choice(self.KINDS, len(SPACE))
        self.fraction = fraction

    def play(self, configuration, arrivals, rng):
        n, index = len(arrivals), SPACE.index(configuration)
        kind = "as the default" if configuration == DEFAULT else self.kinds[index]
        if kind == "moody":
            kind = rng.choice([name for name in self.KINDS if name != "moody"])
        if kind == "crashing":
            raise ServerError("it died", lost=int(rng.integers(0, 3)))
        latency, status = rng.uniform(0.01, 0.05, n), np.zeros(n, dtype=int)
        if kind == "as the default":  # some episodes are far worse than others
            latency[rng.random(n) < rng.choice([0, 4 * self.fraction], p=[0.75, 0.25])] = 1.0
        elif kind == "late":
            latency[rng.random(n) < 0.8] = rng.uniform(0.2, 90)
        elif kind == "failing":
            status[rng.random(n) < 0.6] = Status.UNAVAILABLE
        elif kind == "stalling":
            latency[int(rng.integers(n)) :] = 60.0
        return Episode(configuration, arrivals, latency, status)


def learn(seed, agent, budget, episodes=60, fraction=0.05):
    """Run an agent under a guard; return the guard, and the largest excess over the promise."""
    server, rng = Hostile(seed, fraction), np.random.default_rng([seed, 1])
    guard = Guard(DEFAULT, budget, LATE_S)
    tuner = AGENTS[agent](SPACE, np.random.default_rng([seed, 0]))
    excess = -np.inf
    for _ in guarded(server, tuner, guard, episodes, rng):
        trials = [part for part in guard.parts if part.configuration != DEFAULT]
        requests, bad = sum(p.requests for p in trials), sum(p.bad for p in trials)
        excess = max(excess, bad - budget - fraction * requests)
    return guard, excess


@pytest.mark.parametrize("agent", QUICK)
@pytest.mark.parametrize("budget", [0, 300])
def test_the_promise_holds_at_every_moment(agent, budget):
    """The probability of an error is 5 %; the bound of the mean has room, so none is expected."""
    excesses = [learn(seed, agent, budget)[1] for seed in range(2 if agent == "rrl-gp" else 4)]
    assert max(excesses) <= 0


def test_more_is_allowed_where_the_default_itself_is_bad():
    """With half of its requests late, the default leaves room for trials beyond the budget."""
    guard, excess = learn(3, "rrl-gp", 20, episodes=200, fraction=0.2)
    trials = guard.summary()["trial_bad"]
    assert excess <= 0
    assert trials > 20


class Scripted:
    """An agent that asks for what it was given, and always recommends the same."""

    def __init__(self, asks, best=DEFAULT):
        self.asks, self.choice, self.told = list(asks), best, []

    def ask(self, load):
        return self.asks.pop(0) if len(self.asks) > 1 else self.asks[0]

    def tell(self, configuration, cost):
        self.told.append((configuration, cost))

    def best(self, load):
        return self.choice


def refuse(*_):
    raise ServerError("connection refused")


UNKNOWN = {"failure": "NOT_FOUND: model is not available"}
FAILING = [
    (refuse, "connection refused"),
    (taking(0.0, Status.NOT_FOUND, info=UNKNOWN), r"50 requests .* NOT_FOUND: model is not"),
]


@pytest.mark.parametrize(("act", "said"), FAILING)
def test_a_default_that_fails_is_the_servers_fault(act, said):
    guard = Guard(DEFAULT, 100, LATE_S)
    run = guarded(Acting(act), Scripted([DEFAULT]), guard, 5, np.random.default_rng(1))
    with pytest.raises(ServerError, match=said):
        next(run)


def late_in_trials(configuration, *rest):
    usual = configuration == DEFAULT
    return taking(0.01 if usual else 60.0, valid=usual)(configuration, *rest)


def silent_in_trials(configuration, *rest):
    if configuration != DEFAULT:
        raise GeneratorError("the load generator itself was late, as no client sent a request")
    return taking(0.01)(configuration, *rest)


@pytest.mark.parametrize("act", [late_in_trials, silent_in_trials])
def test_a_late_generator_shuns_nobody_and_ends_the_run(act):
    guard = Guard(DEFAULT, 10_000, LATE_S)
    agent = Scripted([DEFAULT, TRIAL])
    with pytest.raises(ServerError, match="the load generator itself was late"):
        list(guarded(Acting(act), agent, guard, 5, np.random.default_rng(1)))
    assert not [part for part in guard.parts if part.charge is not None]


def test_an_agent_is_not_told_what_an_invalid_episode_cost():
    """It uses up the budget, so it is not measured again."""
    agent, guard = Scripted([DEFAULT, TRIAL]), Guard(DEFAULT, LEAST, LATE_S)
    run = guarded(Acting(late_in_trials), agent, guard, 2, np.random.default_rng(1))
    assert [step.part.why for step in run] == ["", "budget"]
    assert [configuration for configuration, _ in agent.told] == [DEFAULT]


@pytest.mark.parametrize("end", ["crashed", "aborted"])
def test_the_default_serves_what_a_bad_trial_left_and_the_trial_never_returns(end):
    bad, began = {"threads": 2, "batch": 1}, []

    def act(configuration, arrivals, rng):
        began.append(arrivals[0])
        if configuration == bad and end == "crashed":
            raise ServerError("it died", lost=3)
        return taking(60.0 if configuration == bad else 0.01)(configuration, arrivals, rng)

    guard = Guard(DEFAULT, 10_000, LATE_S)
    agent = Scripted([DEFAULT, bad], best=bad)
    done = list(guarded(Acting(act), agent, guard, 3, np.random.default_rng(1)))
    trial, rest = guard.parts[1:3]
    assert (trial.configuration, rest.configuration) == (bad, DEFAULT)
    assert (trial.ended, rest.ended) == (end, "")
    assert trial.bad + rest.requests >= 50
    assert began[2] == 0  # the rest comes at once
    assert [step.recommended for step in done] == [bad, DEFAULT, DEFAULT]
    assert done[2].configuration == DEFAULT
    assert agent.told[1:-1] == [(bad, guard.charge(bad))] * 2  # when it ran, and when asked for


def test_an_agent_is_told_nothing_of_a_default_that_it_cannot_choose():
    """Until its first trial it knows nothing, and the default is recommended."""
    outside, agent = {"threads": 9, "batch": 1}, AGENTS["random"](SPACE, np.random.default_rng(1))
    guard = Guard(outside, 10_000, LATE_S)
    run = guarded(Acting(taking(0.01)), agent, guard, 3, np.random.default_rng(1))
    first, second, _ = run
    assert first.configuration == first.recommended == outside
    assert second.configuration == second.recommended == second.asked


def test_an_agent_is_shown_the_load_of_the_requests_that_came():
    """Clients send twice as fast as was planned."""
    server = Acting(lambda configuration, arrivals, _: taking(0.01)(configuration, arrivals / 2, _))
    guard, rng = Guard(DEFAULT, 9, LATE_S), np.random.default_rng(1)
    first, second = guarded(server, Scripted([DEFAULT]), guard, 2, rng)
    assert second.load == first.next_load == estimate_rate(first.episode.arrivals)


# --- a run that is stopped and continued ----------------------------------------------------------


def guarded_job(**changes):
    options = {"what": "hostile", "space": SPACE, "default": DEFAULT, "workload": Poisson(40.0)}
    options |= {"objective": MeanLatency(), "agent": "rrl-gp", "episodes": 30, "requests": 50}
    return Job(**(options | {"rounds": 3, "budget": 200} | changes))


class Clients:
    """Requests that nobody can draw again: their rate is another one at each time."""

    rate = 40.0

    def __repr__(self):
        return "Clients()"

    def arrivals(self, n, rng):
        self.rate += 5.0
        return np.arange(n) / self.rate


class Used(Hostile):
    """Clients send at another rate in each episode, and others, too; an episode may be invalid."""

    def play(self, configuration, arrivals, rng):
        episode = super().play(configuration, arrivals, rng)
        came = np.arange(len(arrivals)) / rng.uniform(30, 60)
        info = {"others": (rng.uniform(0.0, 0.11, 3), rng.choice([0, 14], 3, p=[0.95, 0.05]))}
        return replace(episode, arrivals=came, valid=rng.random() < 0.8, info=info)


@pytest.mark.parametrize(
    ("workload", "server", "first"), [(partial(Poisson, 40.0), Hostile, 0), (Clients, Used, 9)]
)
def test_a_run_that_is_killed_again_and_again_is_replayed_to_the_last_byte(
    workload, server, first, tmp_path
):
    """The first time, in its first measurement or after a few."""
    once, often = tmp_path / "once", tmp_path / "often"
    alone = operate(guarded_job(workload=workload(), seed=2), server(0), once)
    job, kills, run = guarded_job(workload=workload(), seed=2), 0, None
    whole = (once / JOURNAL).read_bytes()
    while run is None:
        try:
            run = operate(job, Mortal(server(0), 7 if kills else first), often)
        except Killed:
            kills += 1
            assert whole.startswith((often / JOURNAL).read_bytes())
    assert kills >= 30 // 7
    assert (often / JOURNAL).read_bytes() == whole
    again = operate(job, Mortal(server(0), 0), often)  # nothing is left to measure
    assert again.result() == run.result() == alone.result()
    assert again.guard.parts == run.guard.parts == alone.guard.parts
    assert {part.ended for part in run.guard.parts} == {"", "aborted", "crashed"}
    assert (len(again.steps), len(again.rounds)) == (30, len(run.rounds))
    if server is Used:  # a trial that is stopped has too few requests to show another load
        stopped = [step for step in alone.steps if step.part.ended == "aborted"]
        assert len({round(step.load) for step in alone.steps}) > 9
        assert [one.next_load for one in stopped] == pytest.approx([one.load for one in stopped])


def test_more_episodes_and_rounds_may_be_asked_for_later(tmp_path):
    operate(guarded_job(agent="rrl", seed=1), Hostile(0), tmp_path)
    more = guarded_job(agent="rrl", seed=1, episodes=40, rounds=5, budget=300)
    records = operate(more, Hostile(0), tmp_path).journal.records
    assert [r["episode"] for r in records if "episode" in r] == [*range(40)]
    assert [r["round"] for r in records if "round" in r] == [0, 1, 2, 0, 1, 2, 3, 4]
    assert (records[0]["budget"], records[-1]["budget"]) == (200, 300)
    for few, message in (("episodes", "has 40 episodes: give --ep"), ("rounds", "has 5 rounds: g")):
        with pytest.raises(UsageError, match=message):
            operate(replace(more, **{few: 4}), Hostile(0), tmp_path)


def test_without_a_budget_the_default_is_compared_with_itself(tmp_path):
    job = guarded_job(agent="rrl", seed=1)
    with open_run(job, tmp_path) as run:
        run.begin(Hostile(0))
        run.learn()
    assert run.steps[-1].recommended != DEFAULT
    compared = operate(replace(job, budget=0), Hostile(0), tmp_path)
    result = compared.result()
    assert result["recommended"] == DEFAULT
    assert result["harm"]["trial_bad"] == run.guard.summary()["trial_bad"]


# --- the comparison -------------------------------------------------------------------------------


TWO = ConfigSpace([Knob("threads", (3, 4)), Knob("batch", (1,))])


@pytest.mark.parametrize(("budget", "late"), [(5, (0.1, 0.1)), (59, (0.1, 0.1)), (9, (0.0, 0.05))])
def test_the_budget_holds_in_the_comparison_too(budget, late, tmp_path):
    """Trials are better on average, but fractions of them are late while it learns and compares.

    The default is never late, so all bad requests are those of trials.
    """
    made = count()

    def act(configuration, arrivals, rng):
        n, trial = len(arrivals), configuration != DEFAULT
        fraction = late[next(made) >= job.episodes] if trial else 0.0
        latency = np.where(rng.random(n) < fraction, 0.2, 0.001 if trial else 0.08)
        return Episode(configuration, arrivals, latency, np.zeros(n, int))

    job = guarded_job(space=TWO, slo=parse_slo("p99<100ms"), rounds=15, budget=budget)
    run = operate(job, Acting(act), tmp_path)
    result = run.result()
    trials = [part for part in run.guard.parts if part.configuration != DEFAULT]
    assert sum(part.bad for part in trials) == result["harm"]["trial_bad"] <= budget
    assert result["rounds"] < 15 or result["verdict"] == "the default"
    assert result["deploy"] == DEFAULT
    again = operate(job, Mortal(Hostile(0), 0), tmp_path)  # a finished run measures nothing
    assert again.result() == result


@settings(max_examples=30)
@given(st.integers(0, 1000), st.integers(LEAST, 40))
def test_invalid_episodes_use_up_the_allowance(seed, budget):
    """The generator is too late twice, and some requests are bad each time."""
    rng, calls = np.random.default_rng(seed), count(1)

    def act(configuration, arrivals, _):
        latency = np.where(rng.random(50) < 0.3, 60.0, 0.01)
        return Episode(configuration, arrivals, latency, np.zeros(50), valid=next(calls) == 3)

    guard, arrivals = Guard(DEFAULT, budget, LATE_S), np.cumsum(rng.exponential(0.2, 50))
    part, episode, _ = guard.measure(Acting(act), TRIAL, arrivals, rng, MeanLatency())
    assert sum(one.bad for one in guard.parts) == budget - guard.allowance <= budget
    assert len(guard.parts) == 3 if episode.valid else part.why == "budget"
    assert [one.whole for one in guard.parts[:-1]] == [False] * (len(guard.parts) - 1)


def test_nothing_stops_the_default_though_it_is_watched():
    """Nor does an invalid episode, however many of its requests are late."""
    calls = count()

    def act(*episode):
        return taking(60.0, valid=next(calls) > 0)(*episode)

    guard, arrivals = Guard(DEFAULT, 0, LATE_S), np.arange(50) / 10
    part, episode, _ = guard.measure(Acting(act), DEFAULT, arrivals, None, MeanLatency())
    assert (part.ended, part.bad, len(episode)) == ("", 50, 50)
    assert [guard.watch(one).idle for one in (DEFAULT, TRIAL)] == [True, False]


def die(*_):
    raise ServerError("it died", lost=2)


REFUSED = {"others": (np.zeros(3), np.full(3, Status.UNAVAILABLE.value))}


@pytest.mark.parametrize(
    ("crash", "bad"), [(die, 2), (taking(0.0, Status.UNAVAILABLE, info=REFUSED), 2 + 3)]
)
def test_a_crash_leaves_no_bad_request_uncounted(crash, bad):
    """Two late requests of an invalid episode, then those of a crash and of other clients."""
    acts = [taking(60.0, valid=False), crash]
    server = Acting(lambda *what: acts.pop(0)(*what))
    guard = Guard(DEFAULT, 100, LATE_S)
    guard.measure(server, TRIAL, np.arange(2.0), np.random.default_rng(0), MeanLatency())
    assert [(part.ended, part.bad) for part in guard.parts] == [("", 2), ("crashed", bad)]


# --- the parts ------------------------------------------------------------------------------------


@given(st.lists(st.tuples(*[st.floats(0, 2)] * 2, st.booleans()), min_size=1), st.floats(0, 2))
def test_what_becomes_of_an_open_request_does_not_matter_before_its_answer(requests, now_s):
    due, latency, failed = np.array(sorted(requests)).T
    done, watch = due + latency, Watch(late_s=1.0, allowance=1000, usual=0.02)
    known = (failed > 0) & (done <= now_s)
    assert watch.reason(now_s, due, done, failed > 0) == watch.reason(now_s, due, done, known)


def test_a_few_late_requests_among_many_good_ones_stop_nothing():
    due, done = np.zeros(100), np.where(np.arange(100) < 3, np.inf, 0.1)
    assert Watch(1.0, 1000, 0.05).reason(2.0, due, done, due > 0) == ""


@pytest.mark.parametrize(
    ("part", "kept"),
    [
        (Part(TRIAL, 100, 2), True),
        (Part(TRIAL, 100, 3), False),
        (Part(TRIAL, 100, 0, whole=False), False),
        (Part(TRIAL, 9, 0, "aborted", "budget"), False),
        (Part(TRIAL, 100, 0, "aborted", "worse", charge=1.0), False),
        (Part({"threads": 2, "batch": 1}, 100, 0), False),
    ],
)
def test_only_what_did_well_in_a_whole_episode_is_sound(part, kept):
    """The rest of an episode says nothing about the default, either."""
    rest = Part(DEFAULT, 50, 50, whole=False)
    guard = Guard(DEFAULT, 1000, LATE_S, [Part(DEFAULT, 100, 2), rest, part])
    assert guard.sound(TRIAL) == (TRIAL if kept else DEFAULT)


@settings(max_examples=60)
@given(st.lists(st.floats(0, 1), max_size=30), st.floats(0, 1), st.floats(0.001, 0.5))
def test_the_bound_of_a_mean_never_falls_and_is_below_equal_values(values, value, delta):
    bounds = [lower_mean(values[:n], delta) for n in range(len(values) + 1)]
    assert bounds == sorted(bounds)
    assert 0 <= bounds[-1] < 1
    assert lower_mean([value] * len(values), delta) <= value


@pytest.mark.parametrize("draw", [
    lambda rng, n: rng.random(n) < 0.3,
    lambda rng, n: 0.6 * (rng.random(n) < 0.5),
    lambda rng, n: rng.beta(0.2, 1.8, n),
])  # fmt: skip
def test_the_bound_of_a_mean_holds_at_all_times_at_once(draw):
    rng, runs, delta = np.random.default_rng(0), 80, 0.1
    mean = float(np.mean(draw(np.random.default_rng(1), 200_000)))
    broken = 0
    for _ in range(runs):
        values = draw(rng, 40).astype(float)
        broken += any(lower_mean(values[:n], delta) > mean + 0.003 for n in (1, 3, 10, 40))
    assert broken <= delta * runs
