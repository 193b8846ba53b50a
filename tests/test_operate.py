"""A tuning run from its operator's side: resumed anywhere, it is the run never stopped."""

from __future__ import annotations

import numpy as np
import pytest

from rrl import (
    RRL,
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
from rrl.operating.figure import plot_journal
from rrl.operating.job import Job
from rrl.operating.journal import JOURNAL
from rrl.operating.operate import SETTLED, make_agent, operate
from rrl.operating.records import compared, learned, settled
from rrl.operating.report import add_commands, check_result
from rrl.operating.verdict import best_so_far, summarise
from rrl.support.errors import DataError, UnstableError, UsageError
from rrl.tuning.episode import Episode, measure_valid
from rrl.tuning.objective import SLOViolations
from rrl.tuning.slo import SLO, join, parse_slo

SERVER = testbed("cpu2")
DEFAULT = {"inter_op": 2, "intra_op": 2, "batch_threads": 0}


@pytest.fixture(autouse=True)
def heard(caplog):
    """What a run says is heard, whatever an earlier test has set."""
    caplog.set_level("INFO", "rrl")


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


def test_rrl_begins_with_what_serves_or_near_it():
    serves = {"inter_op": 4, "intra_op": 1, "batch_threads": 6}
    for default, first in ((serves, serves | {"batch_threads": 4}), (DEFAULT, DEFAULT)):
        assert make_agent(job(agent="rrl-gp", default=default)).ask(115.0) == first


@pytest.mark.parametrize(("values", "begins"), [((1, 2, 3), 3), ((0, 1, 2), 0)])
def test_automatic_threads_that_are_not_on_the_grid_are_a_thread_a_core(values, begins):
    space = ConfigSpace([Knob("inter_op", values)], cores=3)
    mine = job(agent="rrl-gp", space=space, default={"inter_op": 0})
    assert make_agent(mine).ask(115.0) == {"inter_op": begins}


class Killed(BaseException):
    """Stands for a kill: nobody may catch it."""


class Mortal:
    """A server during whose n-th measurement the tuner is killed."""

    def __init__(self, calls):
        self.space, self.calls = SERVER.space, calls

    def measure(self, configuration, arrivals, rng):
        self.calls -= 1
        if self.calls < 0:
            rng.random(7)  # it was in the middle of it
            raise Killed
        return SERVER.measure(configuration, arrivals, rng)


class InOrder:
    """A server that behaves as one of several servers in each measurement, then as the last."""

    def __init__(self, first, last):
        self.first, self.last, self.space = list(first), last, last.space

    def measure(self, *arguments, **options):
        server = self.first.pop() if self.first else self.last
        return server.measure(*arguments, **options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    operate(job(), SERVER, folder)
    return (folder / JOURNAL).read_bytes()


def test_a_run_that_was_killed_ends_as_the_one_that_was_not(whole, tmp_path):
    for calls in (0, 1, 9, 14, 1, 9):
        server = Mortal(calls)
        with pytest.raises(Killed):
            operate(job(), server, tmp_path)
    records = operate(job(), SERVER, tmp_path)
    assert (tmp_path / JOURNAL).read_bytes() == whole
    again = operate(job(), Mortal(0), tmp_path)  # a finished run measures and opens nothing
    assert summarise(job(), again) == summarise(job(), records)
    assert [record["episode"] for record in records[:25]] == [*range(25)]
    assert [record["round"] for record in records[25:]] == [*range(6)]


def test_the_tuning_is_that_of_tune(tmp_path):
    records = operate(job(), SERVER, tmp_path)
    agent = RRL(SERVER.space, np.random.default_rng([0, 0]))
    run = tune(
        SERVER, agent, Poisson(115.0), 25, np.random.default_rng([0, 1]), requests=50,
        objective=Percentile(99),
    )  # fmt: skip
    assert run.costs == [record["cost"] for record in records[:25]]
    assert run.recommended == [record["recommended"] for record in records[:25]]


def test_an_agent_that_chooses_otherwise_is_refused(tmp_path, whole, monkeypatch):
    (tmp_path / JOURNAL).write_bytes(whole)
    other = make_agent(job(seed=1))
    monkeypatch.setattr("rrl.operating.operate.make_agent", lambda job: other)
    wrong = r"line \d+: it is no .* \(.* is asked for, and .* was measured\); .* in another folder"
    with pytest.raises(DataError, match=wrong):
        operate(job(), Mortal(0), tmp_path)
    assert (tmp_path / JOURNAL).read_bytes() == whole


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"workload": Poisson(60.0)}, r"arrivals 'Poisson\(rate=115.0\)', not 'Poisson\(rate=60.0"),
        ({"workload": Trace([0, 1, 3])}, r"arrivals 'Poisson\(rate=115.0\)', not 'trace of 3"),
        ({"about": {"model": "version 2"}}, "model by default, not 'version 2'"),
        ({"seed": 1}, "with seed 0, not 1: give the same options"),
    ],
)
def test_another_job_is_refused(changes, why, tmp_path, whole):
    (tmp_path / JOURNAL).write_bytes(whole)
    with pytest.raises(UsageError, match=why):
        operate(job(**changes), SERVER, tmp_path)


def test_what_is_not_better_is_not_deployed(tmp_path):
    """Two rounds show nothing, so the default stays, with its flags."""
    records = operate(job(rounds=2), SERVER, tmp_path)
    result = summarise(job(rounds=2), records)
    assert result["recommended"] != DEFAULT
    assert (result["verdict"], result["deploy"]) == ("no difference shown", DEFAULT)


def test_the_result_says_what_the_records_say(tmp_path, whole):
    (tmp_path / JOURNAL).write_bytes(whole)
    records = operate(job(), SERVER, tmp_path)
    result = summarise(job(), records)
    ours, theirs = (
        np.array([record["cost"][name] for record in records[25:]])
        for name in ("recommended", "default")
    )
    typical = np.exp(np.median(np.log(ours / theirs)))
    assert result["ratio"] == {"median": pytest.approx(typical), "low": None, "high": None}
    assert result["verdict"] == "no difference shown"  # 6 rounds are too few for a verdict
    final = join([record["recommended"]["answered"] for record in records[25:]])
    assert result["slo"]["value_s"] == Percentile(99)(final)
    assert result["slo"]["late_while_tuning"] == np.mean([r["late"] for r in records[:25]])
    late = SLOViolations(0.06)(records[3]["answered"])
    assert records[3]["late"] == pytest.approx(late)


def table_job(cost, recommended_cost, **changes):
    table = {"threads": [1, 2], "cost": [cost, recommended_cost]}
    server = TableServer(table, ["threads"])
    changes = {"objective": MeanLatency(), "slo": parse_slo("mean<0.2s"), "rounds": 8} | changes
    mine = job(space=server.space, default={"threads": 1}, workload=Poisson(9.0), **changes)
    return mine, server


@pytest.mark.parametrize(
    ("costs", "verdict", "slo"),
    [((0.4, 0.1), "better", "met"), ((0.1, 0.4), "the default", "met"),
     ((0.5, 0.3), "better", "missed")],
)  # fmt: skip
def test_verdicts(costs, verdict, slo, tmp_path):
    mine, server = table_job(*costs)
    result = summarise(mine, operate(mine, server, tmp_path))
    assert (result["verdict"], result["slo"]["word"]) == (verdict, slo)


def test_a_default_that_stays_is_measured_once_if_no_slo_is_judged(tmp_path):
    mine, server = table_job(0.1, 0.4, slo=None)
    result = summarise(mine, operate(mine, server, tmp_path))
    assert (result["verdict"], result["compared"]) == ("the default", 1)
    assert operate(mine, Mortal(0), tmp_path)  # and no more if the run is continued


def test_a_recommendation_that_is_worse_is_called_so(tmp_path):
    """The load of the comparison differs from that of the tuning, which nobody foresaw."""
    mine, server = table_job(0.4, 0.1, slo=None)
    turned = TableServer({"threads": [1, 2], "cost": [0.1, 0.4]}, ["threads"])
    records = operate(mine, InOrder([server] * mine.episodes, turned), tmp_path)
    result = summarise(mine, records)
    assert result["verdict"] == "worse"
    with pytest.raises(UnstableError, match="worse than the default: keep the default"):
        check_result(result)


# --- the loop -------------------------------------------------------------------------------------


def test_the_switch_before_an_invalid_episode_counts_too():
    class Slow:
        valid = True

        def measure(self, configuration, arrivals, rng):
            self.valid, switch_s = not self.valid, 2.0 if self.valid else 0.0
            n, info = len(arrivals), {"switch_s": switch_s}
            return Episode(configuration, arrivals, np.ones(n), np.zeros(n), self.valid, info)

    episode, invalid = measure_valid(Slow(), SERVER.space[0], np.arange(3.0), None)
    assert (len(invalid), episode.info["switch_s"]) == (1, 2.0)


# --- an early end ---------------------------------------------------------------------------------

COSTS = {"threads": [1, 2, 4, 8], "cost": [0.9, 0.1, 0.8, 1.0]}
FEW = TableServer(COSTS, ["threads"])


def patient(**changes):
    settings = {
        "what": "table", "space": FEW.space, "default": {"threads": 1},
        "workload": Poisson(50.0), "objective": MeanLatency(), "episodes": 200, "requests": 20,
        "rounds": 2, "patience": 6,
    }  # fmt: skip
    return Job(**(settings | changes))


def test_it_ends_with_its_patience_and_says_so(tmp_path, caplog):
    records = operate(patient(), FEW, tmp_path)
    done = learned(records)
    assert SETTLED in caplog.messages
    assert 6 < len(done) < 60
    assert [r["configuration"] for r in done[-6:]] == [{"threads": 2}] * 6
    assert done[-7]["configuration"] != {"threads": 2}
    assert len(compared(records)) == 2


def test_it_goes_on_as_if_never_stopped(tmp_path):
    def episodes(folder, **changes):
        operate(patient(**changes), FEW, tmp_path / folder)
        lines = (tmp_path / folder / JOURNAL).read_bytes().splitlines()
        return [line for line in lines if line.startswith(b'{"episode"')]

    whole = episodes("whole")
    assert len(episodes("parts", episodes=4)) == 4
    assert episodes("parts") == whole
    assert episodes("parts") == whole
    more = episodes("parts", patience=8)
    assert more[: len(whole)] == whole
    assert len(more) > len(whole)


@pytest.mark.parametrize(
    "changes",
    [
        {"patience": 0},
        {"agent": "rrl"},
        {"workload": Trace(np.arange(100_000) / 50.0)},  # its rate may change
    ],
)
def test_otherwise_all_episodes_are_used(changes, tmp_path):
    records = operate(patient(episodes=40, **changes), FEW, tmp_path)
    assert len(learned(records)) == 40


def test_a_trial_that_the_guard_refused_or_ended_is_no_rest():
    space = ConfigSpace([Knob("threads", (1, 2))])
    best, other = {"threads": 1}, {"threads": 2}
    rest = {"configuration": best, "recommended": best, "guard": {"asked": best}}
    ended = rest | {"guard": {"asked": other}}
    mine = patient(space=space, default=best, patience=2)
    assert settled(mine, [ended, rest, rest])
    assert not settled(mine, [rest, ended, rest])
    assert not settled(mine, [rest])
    assert not settled(mine, [rest, rest | {"recommended": other}])


# --- words and numbers ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "statistic", "target_s"),
    [
        ("p99<50ms", Percentile(99), 0.05),
        ("p99.9 <= 1s", Percentile(99.9), 1.0),
        ("mean<800us", MeanLatency(), 0.0008),
        ("p50<.5s", Percentile(50), 0.5),
    ],
)
def test_slos_are_read(text, statistic, target_s):
    slo = parse_slo(text)
    assert (slo.statistic, slo.target_s) == (statistic, pytest.approx(target_s))
    assert parse_slo(str(slo)) == SLO(statistic, pytest.approx(target_s))


@pytest.mark.parametrize("text", ["", "p99<50", "p99>50ms", "p0<1s", "p100<1s", "p99<0ms", "q9<1s"])
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
    assert parse_slo("p99<50ms").late(parts[0]) == 0.05


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


@pytest.mark.parametrize("rounds", [1, 2, 5])
def test_a_mean_at_its_target_is_seldom_called_met_or_missed(rounds):
    rng, slo, wrong = np.random.default_rng(0), parse_slo("mean<100ms"), 0
    for _ in range(400):
        means = 0.1 * rng.normal(1, 0.25, rounds).clip(0.01)
        verdict = slo.judge(episodes(np.full((5, rounds), means).T))
        assert verdict["low_s"] <= verdict["value_s"]
        wrong += verdict["word"] != "undecided"
    assert wrong <= (0 if rounds == 1 else 0.05 * 400 + 3 * np.sqrt(0.05 * 400))


def test_an_slo_needs_all_rounds(tmp_path):
    """The answer would be wrong too often if it were taken as soon as it is given."""
    for slo, count in ((None, 8), (parse_slo("mean<0.2s"), 12)):
        mine, server = table_job(0.4, 0.1, slo=slo, rounds=12)
        records = operate(mine, server, tmp_path / str(count))
        assert summarise(mine, records)["compared"] == count


def test_flags_are_those_of_the_launcher_or_none(tmp_path):
    result = {"deploy": {"inter_op": 2, "batch_threads": 3}}
    add_commands(job(), result, tmp_path, ["serve"])
    assert result["flags"][0] == "--tensorflow_inter_op_parallelism=2"
    assert "num_batch_threads { value: 3 }" in result["batching"]
    assert result["start"].split() == ["serve", *result["flags"]]
    add_commands(job(), result := {"deploy": {"threads": 2}}, tmp_path, ["serve"])
    assert list(result) == ["deploy"]


def test_the_figure_shows_what_the_journal_holds(tmp_path, whole):
    (tmp_path / JOURNAL).write_bytes(whole)
    records = operate(job(), SERVER, tmp_path)
    top, bottom = plot_journal(job(), records).axes
    episodes, best, target = top.lines
    assert episodes.get_ydata() == pytest.approx([1e3 * r["cost"] for r in records[:25]])
    assert best.get_ydata() == pytest.approx(1e3 * best_so_far(records[:25]), nan_ok=True)
    assert target.get_ydata()[0] == pytest.approx(60.0)
    assert "ms" in top.get_ylabel()
    assert [bar.get_height() for bar in bottom.patches] == pytest.approx(
        [100 * r["late"] for r in records[:25]]
    )


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """The records of a run, in which some trials were stopped and some crashed."""
    found = operate(job(), SERVER, tmp_path_factory.mktemp("run"))
    for number, ended, cost in ((3, "crashed", 10.0), (7, "aborted", 0.4), (16, "crashed", 10.0)):
        found[number] |= {"guard": {"parts": [{"ended": ended}]}, "cost": cost}
    return found


def test_stopped_and_crashed_trials_have_marks_of_their_own(ended):
    figure = plot_journal(job(), ended)
    top = figure.axes[0]
    marks = {line.get_label(): line for line in top.lines}
    assert marks["a crashed trial"].get_xdata().tolist() == [4, 17]
    assert marks["a stopped trial"].get_xdata().tolist() == [8]
    assert len(marks["an episode"].get_xdata()) == 22
    shapes = {marks[f"a {name} trial"].get_marker() for name in ("crashed", "stopped")}
    assert len(shapes | {marks["an episode"].get_marker()}) == 3  # not by colour alone
    assert top.get_ylim()[1] < 1000  # what such a trial costs does not squeeze the others
    assert marks["SLO p99<60ms"].get_ydata() == pytest.approx([60.0, 60.0])
