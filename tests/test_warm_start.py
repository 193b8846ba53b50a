"""A warm start: what is taken over, that it fades and is safe; on the command line, too."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_agent import contract
from test_operate import FEW, operate, patient

from rrl.cli import main
from rrl.core.gaussian_process import GaussianProcess, Hyperparameters
from rrl.core.knob import Knob
from rrl.core.space import ConfigSpace
from rrl.operating.journal import JOURNAL
from rrl.studies.problems import open_scenario
from rrl.studies.warm_start import FIRST_SEED, SEEDS, earlier, misleading, study
from rrl.tuning.recommended import recommended
from rrl.tuning.warm_start import Earlier, SlopeProcess, transfer

ROOT = Path(__file__).parent.parent
REPLAY = ["replay", str(ROOT / "data" / "keyword-threads"), "--rate", "900", "--rounds", "2"]
REPLAY += ["--slo", "p99<1s", "--objective", "mean", "--budget", "20", "--quiet"]


def measured(space, cost):
    """All configurations of a space with their log costs."""
    known = list(space)
    return Earlier(known, np.log([cost(c) for c in known]), np.full(len(known), 4))


def bowl(configuration, best=2):
    return float(np.exp(0.03 * sum((value - best) ** 2 for value in configuration.values())))


def warm(space, rng):
    known = measured(space, lambda c: 1 + sum(map(len, map(str, c.values()))))
    return recommended(space, rng, warm=transfer(space, known) if len(space) > 1 else None)


TestWarm = contract(warm, episodes=12)


SPACE = ConfigSpace([Knob("a", range(1, 8)), Knob("b", range(1, 8))])


def served(warm, cost, episodes, seed=0):
    """The costs of a run with 5 % of noise, from the worst corner."""
    rng = np.random.default_rng(seed)
    agent = recommended(SPACE, rng, start={"a": 7, "b": 7}, warm=warm)
    costs = []
    for _ in range(episodes):
        choice = agent.ask(20.0)
        costs.append(cost(choice))
        agent.tell(choice, costs[-1] * np.exp(0.05 * rng.standard_normal()))
    return costs, agent.best(20.0)


def test_what_was_good_elsewhere_is_found_sooner():
    warm = transfer(SPACE, measured(SPACE, lambda c: 30 * bowl(c) ** 0.5))
    cold, _ = served(None, bowl, 25)
    with_it, best = served(warm, bowl, 25)
    assert with_it[2] < 1.1  # one step has shown that it holds here, too
    assert sum(with_it[1:]) - 24 < 0.6 * (sum(cold[1:]) - 24)  # above the best, from the 2nd on
    assert bowl(best) < 1.1


@pytest.mark.parametrize("mislead", [lambda c: 1 / bowl(c), lambda c: bowl(c, best=7)])
def test_own_measurements_win_over_what_misleads(mislead):
    cold, _ = served(None, bowl, 40)
    misled, best = served(transfer(SPACE, measured(SPACE, mislead)), bowl, 40)
    assert bowl(best) < 1.1
    assert sum(misled) < 1.1 * sum(cold)


@pytest.mark.parametrize("seed", range(2))
def test_costs_without_order_say_nothing(seed):
    """The agent is then the one without a warm start."""
    costs = np.random.default_rng(seed).permutation([bowl(c) for c in SPACE])
    noise = dict(zip(map(str, SPACE), costs, strict=True))
    shuffled = transfer(SPACE, measured(SPACE, lambda c: noise[str(c)]))
    ordered = transfer(SPACE, measured(SPACE, bowl))
    assert np.std(shuffled.trend) < 0.1 * np.std(ordered.trend)
    if shuffled.flat:
        assert "nothing is taken over" in str(shuffled)
        assert served(shuffled, bowl, 12) == served(None, bowl, 12)


@given(st.floats(-2, 2), st.floats(-3, 3))
def test_the_slope_is_learned(slope, level):
    """On a straight line, the process continues the line, whatever its slope."""
    trend = np.linspace(-2, 2, 9)
    x = np.column_stack([np.zeros(9), trend])
    process = SlopeProcess(
        x, level + slope * trend, np.full(9, 1e-4), Hyperparameters(np.array([2.0]), 0.1)
    )
    mean, sd = process.posterior(np.array([[0.0, 3.0]]))
    assert mean[0] == pytest.approx(level + slope * 3, abs=0.15)
    assert 0 < sd[0] < 0.3


def test_adversaries_know_nothing_of_the_half_that_judges(monkeypatch):
    from rrl.recording import profile as profiles
    from rrl.studies.warm_start import PROBLEMS

    read, name = profiles.read_profile, "keyword-threads"
    before = misleading(name, "shuffled").log_costs

    def other(folder):
        profile = read(folder)
        table = profile.table.copy()
        judging = (table["pass"] % 2 == 1).to_numpy()
        table.loc[judging, "mean_s"] = table.loc[judging, "mean_s"].to_numpy()[::-1]
        return profiles.Profile(profile.description, table)

    scenario = open_scenario(name, PROBLEMS[name])
    monkeypatch.setattr("rrl.studies.warm_start._scenario", lambda *_: scenario)
    monkeypatch.setattr(profiles, "read_profile", other)
    assert not np.array_equal(earlier(name).log_costs, earlier(name, half=0).log_costs)
    np.testing.assert_array_equal(misleading(name, "shuffled").log_costs, before)


def test_without_a_trend_it_is_the_process_without_a_warm_start():
    rng = np.random.default_rng(0)
    x, y, assumed = rng.random((8, 2)), rng.random(8), Hyperparameters(np.array([1.0, 2.0]), 0.7)
    flat = SlopeProcess(np.column_stack([x, np.zeros(8)]), y, np.full(8, 0.01), assumed)
    plain = GaussianProcess(x, y, np.full(8, 0.01), assumed)
    points = rng.random((5, 2))
    one = flat.posterior(np.column_stack([points, np.zeros(5)]))
    np.testing.assert_allclose(one, plain.posterior(points))
    assert flat.log_likelihood == pytest.approx(plain.log_likelihood)


def test_only_what_both_have_is_used():
    then = ConfigSpace([Knob("threads", range(1, 8)), Knob("batch", (1, 8))])
    known = measured(then, lambda c: np.exp(0.1 * c["threads"] * c["batch"] ** 0.5))
    now = ConfigSpace([Knob("threads", range(2, 9)), Knob("timeout", (0, 1))])
    warm = transfer(now, known)
    assert (warm.shared, warm.new, warm.lost) == (["threads"], ["timeout"], ["batch"])
    assert warm.used == 6  # 1 thread is not a value any more, and 8 were not measured
    trend = warm.trend.reshape(7, 2)
    assert (trend[:, 0] == trend[:, 1]).all()  # nothing is known about the timeout
    assert (np.diff(trend[:6, 0]) > 0).all()
    fixed = transfer(now, known, {"batch": 8})
    assert fixed.lost == []
    assert np.ptp(fixed.trend) > np.ptp(warm.trend)  # threads matter more where batches are large


# --- the command line -----------------------------------------------------------------------------


def run(folder, *more):
    code = main([*REPLAY, "--out", str(folder), *more])
    assert code == 0
    return (folder / JOURNAL).read_bytes()


def recorded(journal):
    return [line for line in journal.splitlines() if line.startswith(b'{"episode"')]


def choices(journal):
    return [json.loads(line)["configuration"] for line in recorded(journal)]


PROFILE = ["--warm-start", str(ROOT / "data" / "mobilenet_v2-threads")]


@pytest.fixture(scope="module")
def warm_run(tmp_path_factory):
    """The folder of a run of eight episodes that began with a profile, and its journal."""
    folder = tmp_path_factory.mktemp("warm")
    return folder, run(folder, "--episodes", "8", *PROFILE)


def test_a_profile_and_a_journal_are_both_a_start(warm_run, tmp_path, capsys):
    folder, warm = warm_run
    known = json.loads((folder / "result.json").read_text())["warm_start"]
    assert known.startswith("mobilenet_v2-threads (crc32 ")
    cold = run(tmp_path / "cold", "--episodes", "8")
    again = run(tmp_path / "again", "--episodes", "8", "--warm-start", str(folder / JOURNAL))
    assert b"warm_start" not in cold
    assert choices(cold) not in (choices(warm), choices(again))
    capsys.readouterr()


def test_it_goes_on_as_if_never_stopped_and_with_the_same_source_only(warm_run, tmp_path, capsys):
    run(tmp_path, "--episodes", "2", *PROFILE)
    assert recorded(run(tmp_path, "--episodes", "8", *PROFILE)) == recorded(warm_run[1])
    other = ["--warm-start", str(ROOT / "data" / "mobilenet_v2-busy")]
    for more in (other, []):
        assert main([*REPLAY, "--out", str(tmp_path), "--episodes", "9", *more]) == 2
        assert "is of a run with warm_start 'mobilenet_v2-threads" in capsys.readouterr().err


@pytest.fixture(scope="module")
def journal(tmp_path_factory):
    """The journal of a run whose knob the other runs do not have."""
    folder = tmp_path_factory.mktemp("strange")
    operate(patient(episodes=8), FEW, folder)
    return (folder / JOURNAL).read_bytes().splitlines(keepends=True)


def refused(source, out, code, message, capsys, *more):
    capsys.readouterr()
    arguments = [*REPLAY, "--episodes", "2", "--out", str(out), "--warm-start", str(source), *more]
    assert main(arguments) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        (lambda own: [own[0], own[1].replace(b":", b"", 1), *own[2:]], 3, "line 2: damaged"),
        (
            lambda own: [*own[:2], own[2].replace(b'"status":', b'"x":')],
            3,
            "line 3: damaged, or no",
        ),
        (lambda own: [own[0].replace(b'"journal":', b'"journal":1'), *own[1:]], 3, "other version"),
        (lambda own: [], 3, "fewer than two configurations were measured"),
        (lambda own: own[:2], 3, "fewer than two configurations were measured"),
        (lambda own: own, 2, "shares no two configurations"),
    ],
)
def test_a_journal_that_cannot_be_used_is_refused(change, code, message, journal, tmp_path, capsys):
    (source := tmp_path / "source").mkdir()
    (source / JOURNAL).write_bytes(b"".join(change(journal)))
    refused(source, tmp_path / "out", code, message, capsys)
    assert not (tmp_path / "out").exists()


def test_other_sources_that_cannot_be_used_are_refused(journal, tmp_path, capsys):
    refused("nowhere", tmp_path, 2, "neither a profile nor the journal of a tuning", capsys)
    profile, agent = ROOT / "data" / "keyword-threads", ["--agent", "random"]
    refused(profile, tmp_path, 2, "no effect on the agent random", capsys, *agent)
    (tmp_path / JOURNAL).write_bytes(b"".join(journal))
    refused(tmp_path, tmp_path, 2, "that is this run's own folder", capsys)


# --- the study ------------------------------------------------------------------------------------


def test_the_stored_runs_are_those_of_this_code():
    """A seed of each source is raced again; where nothing is taken over, the run is the same."""
    stored = pd.read_csv(ROOT / "data" / "results" / "tables" / "warm-start" / "runs.csv")
    assert stored.groupby(["problem", "source"])["seed"].nunique().eq(SEEDS).all()
    again = study([FIRST_SEED], problems=["keyword-threads"])
    assert list(again["source"]) == [
        "none", "mobilenet_v2-threads", "mobilenet_v2-busy", "inception_v3-threads",
        "mobilenet_v2-batching", "inverted", "shuffled", "mirrored",
    ]  # fmt: skip
    there = stored[stored["problem"].eq(again["problem"][0]) & stored["seed"].eq(FIRST_SEED)]
    pd.testing.assert_frame_equal(again, there.reset_index(drop=True), rtol=1e-5)
    own = again.set_index("source")[["reached", "deployed", "mean_cost"]]
    same = own.eq(own.loc["none"]).all(axis=1)
    assert same[~again.set_index("source")["taken"]].all()
    assert not same.all()
