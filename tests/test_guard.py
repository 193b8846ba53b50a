"""A guard keeps its promise for any agent, on servers that are made to be hostile."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrl import ConfigSpace, Knob, MeanLatency, Poisson
from rrl.operating.job import Job
from rrl.operating.journal import JOURNAL
from rrl.operating.operate import operate
from rrl.operating.verdict import late_while_tuning, summarise
from rrl.rivals.agents import AGENTS, maker
from rrl.support.errors import ServerError, UsageError
from rrl.support.mean_bound import lower_mean
from rrl.tuning.episode import Episode, Status, check_arrivals, measure_valid, watched
from rrl.tuning.guard import Guard
from rrl.tuning.guarded import guarded_steps
from rrl.tuning.loop import draw_run, steps
from rrl.tuning.slo import parse_slo
from rrl.tuning.watch import Watch

SPACE = ConfigSpace([Knob("threads", range(1, 7)), Knob("batch", (1, 2, 4, 8))])
DEFAULT = {"threads": 3, "batch": 1}
LATE_S = 0.1
QUICK = ("rrl-gp", "random", "coordinate-descent")


def guarded(server, agent, guard, episodes, rng, requests=50):
    """Learn under a guard at 40 requests a second."""
    drawn = draw_run(Poisson(40.0), episodes, requests, rng)
    return guarded_steps(server, agent, *drawn, MeanLatency(), guard)


class Hostile:
    """The default is late now and then; others are late, fail, stall, crash or change their mind.

    What each of them does is drawn once, but "moody" ones draw it again for each episode.
    """

    KINDS = ("fine", "late", "failing", "stalling", "crashing", "moody", "as the default")

    def __init__(self, seed, fraction=0.05):
        self.space, self.fraction = SPACE, fraction
        self.kinds = np.random.default_rng(seed).choice(self.KINDS, len(SPACE))
        self.served = []

    def measure(self, configuration, arrivals, rng, *, watch=None):
        arrivals, n = check_arrivals(arrivals), len(arrivals)
        index = SPACE.index(configuration)
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
        self.served.append((dict(configuration), n))
        return watched(Episode(configuration, arrivals, latency, status), watch)


def learn(seed, agent, budget, episodes=60, fraction=0.05, factor=1.0, delta=0.05):
    """Run an agent under a guard; return the guard, and the largest excess over the promise."""
    server, rng = Hostile(seed, fraction), np.random.default_rng([seed, 1])
    guard = Guard(SPACE, DEFAULT, budget, LATE_S, factor, delta)
    tuner = AGENTS[agent](SPACE, np.random.default_rng([seed, 0]))
    excess = -np.inf
    for _ in guarded(server, tuner, guard, episodes, rng):
        trials = [part for part in guard.parts if part.configuration != DEFAULT]
        requests, bad = sum(p.requests for p in trials), sum(p.bad for p in trials)
        excess = max(excess, bad - budget - factor * fraction * requests)
    return guard, excess


@pytest.mark.parametrize("agent", QUICK)
@pytest.mark.parametrize("budget", [0, 300])
def test_the_promise_holds_at_every_moment(agent, budget):
    """The probability of an error is 5 %; the bound of the mean has room, so none is expected."""
    excesses = [learn(seed, agent, budget)[1] for seed in range(2 if agent == "rrl-gp" else 4)]
    assert max(excesses) <= 0


def test_without_a_guard_the_promise_is_broken():
    """Otherwise the test above could not fail."""
    server, rng = Hostile(0), np.random.default_rng(1)
    agent = maker("random", budget=300)(SPACE, np.random.default_rng(0))
    server.kinds[np.isin(server.kinds, ["crashing", "moody"])] = "late"  # no guard catches a crash
    bad = requests = 0
    for step in steps(server, agent, Poisson(40.0), 60, rng, requests=50):
        if step.configuration != DEFAULT:
            requests += len(step.episode)
            bad += step.episode.bad(LATE_S)
    assert bad > 300 + 0.05 * requests


def test_more_is_allowed_where_the_default_itself_is_bad():
    """With half of its requests late, the default leaves room for trials beyond the budget."""
    guard, excess = learn(3, "rrl-gp", 20, episodes=200, fraction=0.2)
    trials = guard.summary()["trial_bad"]
    assert excess <= 0
    assert trials > 20


@pytest.mark.parametrize("agent", ["rrl-gp", "random"])
def test_what_crashed_or_was_worse_never_serves_again(agent):
    server, rng = Hostile(5), np.random.default_rng(6)
    guard = Guard(SPACE, DEFAULT, 10_000, LATE_S)
    tuner = AGENTS[agent](SPACE, np.random.default_rng(7))
    shunned: set[int] = set()
    for step in guarded(server, tuner, guard, 80, rng):
        served = {SPACE.index(part.configuration) for part in step.parts}
        assert not served & shunned
        shunned = set(guard.shunned)
    assert len(shunned) > 1
    if agent == "random":  # it tries everything
        assert {part.ended for part in guard.parts} == {"", "aborted", "crashed"}


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


class Acting(Hostile):
    """A hostile server whose episodes a function changes, or replaces by an error."""

    def __init__(self, act, seed=0):
        super().__init__(seed)
        self.act = act

    def measure(self, configuration, arrivals, rng, *, watch=None):
        return self.act(super().measure(configuration, arrivals, rng, watch=watch))


def refuse(episode):
    raise ServerError("connection refused")


def answer_nothing(episode):
    info = {"failure": "NOT_FOUND: model is not available"}
    status = np.full(len(episode), Status.NOT_FOUND)
    return replace(episode, status=status, latency=np.zeros(len(episode)), info=info)


@pytest.mark.parametrize(
    ("act", "said"),
    [(refuse, "connection refused"), (answer_nothing, r"50 requests .* NOT_FOUND: model is not")],
)
def test_a_default_that_fails_is_the_servers_fault(act, said):
    guard = Guard(SPACE, DEFAULT, 100, LATE_S)
    run = guarded(Acting(act), Scripted([DEFAULT]), guard, 5, np.random.default_rng(1))
    with pytest.raises(ServerError, match=said):
        next(run)


def test_a_late_generator_shuns_nobody_and_ends_the_run():
    server = Acting(lambda one: replace(one, valid=one.configuration == DEFAULT))
    server.kinds[:] = "late"
    guard = Guard(SPACE, DEFAULT, 10_000, LATE_S)
    agent = Scripted([DEFAULT, {"threads": 1, "batch": 1}])
    with pytest.raises(ServerError, match="the load generator itself was late"):
        list(guarded(server, agent, guard, 5, np.random.default_rng(1)))
    assert not guard.shunned


@pytest.mark.parametrize("end", ["crashed", "aborted"])
def test_the_default_serves_what_a_bad_trial_left_and_the_trial_never_returns(end):
    bad = {"threads": 2, "batch": 1}

    class Failing(Hostile):
        def measure(self, configuration, arrivals, rng, *, watch=None):
            if configuration == bad and end == "crashed":
                raise ServerError("it died", lost=3)
            n = len(arrivals)
            latency = np.full(n, 60.0 if configuration == bad else 0.01)
            return watched(Episode(configuration, arrivals, latency, np.zeros(n)), watch)

    guard = Guard(SPACE, DEFAULT, 10_000, LATE_S)
    agent = Scripted([DEFAULT, bad], best=bad)
    done = list(guarded(Failing(0), agent, guard, 3, np.random.default_rng(1)))
    assert [part.configuration for part in done[1].parts] == [bad, DEFAULT]
    assert [part.ended for part in done[1].parts] == [end, ""]
    assert done[1].parts[0].bad + done[1].parts[1].requests >= 50
    assert [step.recommended for step in done] == [bad, DEFAULT, DEFAULT]
    assert done[2].configuration == DEFAULT
    assert agent.told[-2] == (bad, guard.shunned[SPACE.index(bad)])


# --- a guarded run that is stopped and continued --------------------------------------------------


class Mortal:
    """A hostile server during whose n-th measurement the tuner is killed."""

    def __init__(self, calls):
        self.server, self.space, self.calls = Hostile(4), SPACE, calls

    def measure(self, configuration, arrivals, rng, *, watch=None):
        self.calls -= 1
        if self.calls < 0:
            raise KeyboardInterrupt
        return self.server.measure(configuration, arrivals, rng, watch=watch)


def guarded_job(**changes):
    options = {"what": "hostile", "space": SPACE, "default": DEFAULT, "workload": Poisson(40.0)}
    options |= {"objective": MeanLatency(), "agent": "rrl-gp", "episodes": 30, "requests": 50}
    return Job(**(options | {"rounds": 3, "budget": 200} | changes))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("guarded")
    operate(guarded_job(), Mortal(10**6), folder)
    return (folder / JOURNAL).read_bytes()


def test_a_guarded_run_that_is_killed_again_and_again_is_replayed_to_the_last_byte(whole, tmp_path):
    kills, records = 0, None
    while records is None:
        try:
            records = operate(guarded_job(), Mortal(7), tmp_path)
        except KeyboardInterrupt:
            kills += 1
            assert whole.startswith((tmp_path / JOURNAL).read_bytes())
    assert kills >= 30 // 7
    assert (tmp_path / JOURNAL).read_bytes() == whole
    parts = [part for r in records if "guard" in r for part in r["guard"]["parts"]]
    assert any(part["charge"] is not None for part in parts)


def test_more_episodes_and_rounds_may_be_asked_for_later(tmp_path, whole):
    (tmp_path / JOURNAL).write_bytes(whole)
    more = guarded_job(episodes=40, rounds=5, budget=300)
    records = operate(more, Mortal(10**6), tmp_path)
    assert [r["episode"] for r in records if "episode" in r] == [*range(40)]
    assert [r["round"] for r in records if "round" in r] == [0, 1, 2, 0, 1, 2, 3, 4]
    assert (records[0]["budget"], records[-1]["budget"]) == (200, 300)
    for few, message in (("episodes", "has 40 episodes: give --ep"), ("rounds", "has 5 rounds: g")):
        with pytest.raises(UsageError, match=message):
            operate(replace(more, **{few: 4}), Mortal(0), tmp_path)


class Clients:
    """Requests that nobody can draw again: their rate is another one at each time."""

    rate = 40.0

    def __repr__(self):
        return "Clients()"

    def arrivals(self, n, rng):
        self.rate += 5.0
        return np.arange(n) / self.rate


def test_a_run_on_the_requests_of_clients_goes_on_with_those_that_came(tmp_path):
    job = guarded_job(workload=Clients())
    for lives in (9, 20):
        with pytest.raises(KeyboardInterrupt):
            operate(job, Mortal(lives), tmp_path)
    before = (tmp_path / JOURNAL).read_bytes()
    records = operate(job, Mortal(10**6), tmp_path)
    assert (tmp_path / JOURNAL).read_bytes().startswith(before)
    loads = [round(r["load_per_s"]) for r in records if "episode" in r]
    assert len(loads) == 30
    assert len(set(loads)) >= 3


# --- the comparison -------------------------------------------------------------------------------


class Tempting(Hostile):
    """One configuration is better on average, but a fraction of its requests is late.

    Later, another fraction is.
    """

    def __init__(self, lives, late, later, calls):
        super().__init__(0)
        self.lives, self.late, self.later, self.calls = lives, late, later, calls

    def measure(self, configuration, arrivals, rng, *, watch=None):
        self.lives -= 1
        if self.lives < 0:
            raise KeyboardInterrupt
        n, trial = len(arrivals), configuration != DEFAULT
        fraction = self.late if len(self.served) < self.calls else self.later
        late = rng.random(n) < (fraction if trial else 0.0)
        latency = np.where(late, 0.2, 0.001 if trial else 0.08)
        self.served.append((dict(configuration), n))
        return watched(Episode(configuration, arrivals, latency, np.zeros(n, int)), watch)


def tempting_job(**changes):
    space = ConfigSpace([Knob("threads", (3, 4)), Knob("batch", (1,))])
    return guarded_job(**({"space": space, "slo": parse_slo("p99<100ms"), "rounds": 15} | changes))


def tune_tempting(job, folder, lives=10**6, late=0.1, later=0.1):
    server = Tempting(lives, late, later, job.episodes)
    try:
        return server, operate(job, server, folder)
    except KeyboardInterrupt:
        return server, None


@pytest.mark.parametrize(("budget", "late"), [(5, (0.1, 0.1)), (59, (0.1, 0.1)), (9, (0.0, 0.05))])
def test_the_budget_holds_in_the_comparison_too(budget, late, tmp_path):
    """The default is never late, so all bad requests are those of trials."""
    job = tempting_job(budget=budget)
    _, records = tune_tempting(job, tmp_path, late=late[0], later=late[1])
    result = summarise(job, records)
    trials = [
        part for r in records for part in r["guard"]["parts"] if part["configuration"] != DEFAULT
    ]
    assert sum(part["bad"] for part in trials) == result["harm"]["trials"][1] <= budget
    assert 1 <= result["compared"] < 15 or result["verdict"] == "the default"
    assert result["deploy"] == DEFAULT
    again = tune_tempting(job, tmp_path, lives=0)[1]  # a finished run measures nothing
    assert summarise(job, again) == result


def test_late_while_tuning_counts_what_was_sent():
    """A trial that did not start sent nothing: the default served in its place."""
    job = tempting_job()
    served = {"configuration": DEFAULT, "requests": 50, "bad": 1, "ended": "", "why": ""}
    crash = {"configuration": {}, "requests": 0, "bad": 0, "ended": "crashed", "why": "no"}
    guards = ({"parts": parts, "late_s": 0.1} for parts in ([crash, served], [served]))
    records = [
        {"configuration": {}, "late": late, "failed": failed, "guard": guard}
        for late, failed, guard in zip((1.0, 0.02), (50, 0), guards, strict=True)
    ]
    assert late_while_tuning(job, records) == 0.02
    assert (
        late_while_tuning(job, [{"configuration": {}, "late": fraction} for fraction in (0.0, 0.5)])
        == 0.25
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 40))
def test_invalid_episodes_use_up_the_allowance(seed, allowance):
    """The generator is too late again and again, and every request is bad."""

    class Slow(Hostile):
        def measure(self, configuration, arrivals, rng, *, watch=None):
            n = len(arrivals)
            episode = Episode(configuration, arrivals, np.full(n, 60.0), np.zeros(n, int))
            seen = watched(episode, watch)
            served.append(seen.bad(LATE_S))
            return replace(seen, valid=len(served) == 3)

    served = []
    watch = Watch(LATE_S, allowance, usual=0.9)
    arrivals = np.cumsum(np.random.default_rng(seed).exponential(0.2, 50))
    _, dropped = measure_valid(Slow(0), DEFAULT, arrivals, np.random.default_rng(0), watch)
    assert len(dropped) == 2
    assert sum(served) <= allowance + 2  # at least one request is sent in each


# --- the parts ------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
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


def test_a_sure_bound_says_something():
    assert lower_mean([0.5] * 60, 0.05) > 0.4


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.001, 0.1), st.floats(0, 2), st.booleans()), min_size=1,
             max_size=60),
    st.integers(1, 30),
)  # fmt: skip
def test_no_stopped_episode_has_more_bad_requests_than_allowed(requests, allowance):
    gaps, latency, failed = map(np.array, zip(*requests, strict=True))
    episode = Episode({}, np.cumsum(gaps), latency, np.where(failed, 14, 0))
    seen = watched(episode, Watch(LATE_S, allowance, usual=0.02))
    assert seen.bad(LATE_S) <= allowance
    assert len(seen) == len(episode) or seen.info["aborted"] in ("worse", "budget")


def test_an_episode_that_is_as_good_as_usual_is_stopped_in_one_of_a_thousand_runs():
    rng, watch = np.random.default_rng(0), Watch(LATE_S, 10**6, usual=0.1)
    bad = rng.random((1000, 100)) < 0.1
    worst = np.array([
        max(watch.evidence(int(b), n - int(b)) for n, b in enumerate(np.cumsum(row), 1))
        for row in bad
    ])  # fmt: skip
    assert np.mean(worst >= np.log(1000)) < 0.004
