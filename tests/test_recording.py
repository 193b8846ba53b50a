"""The recorder: its order, what counts, its finals, and what an interruption leaves."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from itertools import groupby
from operator import itemgetter

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock, Timeout

from rrl.recording.plan import HALVES, REPEATS, ROUNDS, Plan, ordered
from rrl.recording.profile import DESCRIPTION, EPISODES, REJECTED
from rrl.recording.record import SWEEPS, Recorder, check_gpu
from rrl.support.errors import DataError, UnstableError, UsageError
from rrl.support.folders import user_folder
from rrl.support.machine import BUSY, LOCK
from rrl.tuning.episode import Episode, Status

PLAN = Plan(
    "keyword",
    {
        "inter_op": (1, 2),
        "intra_op": (1,),
        "batch_threads": (0, 1, 2),
        "max_batch_size": (1, 4),
        "batch_timeout_micros": (0, 1000),
    },
    rates_per_s=(20.0, 50.0),
    requests=5,
    passes=4,
    distinct=True,
    finalists=4,
)
SPREAD = {0: 1.0, 1: 1.01, 2: 1.3}  # cost of batch threads; 0 and 1 are close


class Scripted:
    """A server whose latency follows from the configuration; scatter comes from the arrivals."""

    def __init__(self, life=10**9, scatter=0.05, late=(), failing=None, others=()):
        self.start_s, self.life, self.scatter = 0.5, life, scatter
        self.failing = failing  # a configuration of which every second request fails
        self.late = set(late)  # numbers of the measurements in which the generator is too late
        self.others = list(others)  # the work of other processes; then there is none
        self.measured, self.running = 0, None

    def configure(self, configuration):
        self.running = dict(configuration)

    def measure(self, configuration, arrivals, rng):
        if not self.life:
            raise KeyboardInterrupt
        assert self.running == dict(configuration)
        self.life -= 1
        self.measured += 1
        base = 0.01 * SPREAD.get(configuration.get("batch_threads"), 0.9)
        base *= configuration.get("inter_op", 1)
        own = 1 + self.scatter * np.sin(1e5 * arrivals[-1] * (1 + base))
        valid = self.measured not in self.late
        status = np.zeros(len(arrivals), dtype=int)
        if dict(configuration) == self.failing:
            status[::2] = Status.UNAVAILABLE.value
        info = {"other_work": self.others.pop(0) if self.others else 0.0}
        latency = np.full(len(arrivals), base * own)
        return Episode(configuration, arrivals, latency, status, valid, info)


def recorded(folder, server=None, plan=PLAN):
    """Record all that is missing, and return the folder."""
    list(Recorder(plan, folder, server or Scripted()).run())
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A recording that nobody interrupts, with its finals."""
    return recorded(tmp_path_factory.mktemp("whole"))


def lines(folder, name=EPISODES):
    return pd.read_csv(folder / name, dtype=str, keep_default_na=False)


def of_pass(rows, *, finals=False):
    """The rows of the passes over the grid, or those of the finals."""
    return rows[(rows["pass"].astype(int) >= PLAN.passes) == finals]


# The plan


def test_a_pass_visits_everything_once_in_an_order_of_its_own():
    whole = dict.fromkeys(range(len(PLAN.space)), PLAN.pairs)
    visits = []
    for pass_ in (0, 1):
        keys = ordered(PLAN, whole, pass_)
        assert sorted(keys) == [(pass_, i, *pair) for i in whole for pair in PLAN.pairs]
        visits.append([index for index, _ in groupby(keys, key=itemgetter(1))])
        assert sorted(visits[pass_]) == list(whole), "each configuration starts once"
    assert visits[0] != visits[1]


@pytest.mark.long  # importing TensorFlow takes most of it
def test_a_plan_for_a_gpu_is_refused_without_one():
    with pytest.raises(UsageError, match="needs a GPU"):
        check_gpu()


# Passes


@pytest.mark.parametrize(("life", "cut_off"), [(1, 7), (17, 0), (150, 7)])
def test_an_interrupted_recording_goes_on_to_the_same_rows(whole, tmp_path, life, cut_off):
    """In its first row, in the first pass, or in the finals; the end of a row may be missing."""
    with pytest.raises(KeyboardInterrupt):
        recorded(tmp_path, Scripted(life))
    assert len(lines(tmp_path)) == life
    written = (tmp_path / EPISODES).read_bytes()
    left = written[: len(written) - cut_off]
    (tmp_path / EPISODES).write_bytes(left)
    recorded(tmp_path)
    assert (tmp_path / EPISODES).read_bytes().startswith(left[: left.rfind(b"\n") + 1])
    found, wanted = (lines(folder).drop(columns="started") for folder in (tmp_path, whole))
    assert found.equals(wanted)


@pytest.mark.parametrize(
    ("line", "old", "new", "message"),
    [
        (3, b"", b"9", r"line 3: no episode of the plan \(.*no value 9.: .*; restore the file, or"),
        (3, b",20,", b",20.5,", "line 3: no episode .*'rate_per_s' has no value '20.5'"),
        (3, b" ", b"", "line 3: 4 latencies, the plan has 5"),
        (1, b"slip_share,start_s", b"start_s,slip_share", "its columns are not those of the plan"),
    ],
)
@pytest.mark.parametrize("cut_off", [b"", b"1,2"])
def test_a_line_that_is_damaged_is_named(line, old, new, message, cut_off, tmp_path):
    """No row is added to columns in another order either."""
    with pytest.raises(KeyboardInterrupt):
        recorded(tmp_path, Scripted(3))
    lines = [*(tmp_path / EPISODES).read_bytes().splitlines(keepends=True), cut_off]
    lines[line - 1] = lines[line - 1].replace(old, new, 1)
    (tmp_path / EPISODES).write_bytes(b"".join(lines))
    with pytest.raises(DataError, match=message):
        recorded(tmp_path)


@pytest.mark.parametrize("description", [[], {"plan": PLAN.to_json(), "machine": 3}])
def test_a_description_that_is_none_is_refused(description, tmp_path):
    (tmp_path / DESCRIPTION).write_text(json.dumps(description))
    with pytest.raises(DataError, match="it is no description of a profile; choose another folder"):
        recorded(tmp_path)


def test_a_recording_of_which_a_file_is_gone(whole, tmp_path):
    """Without its episodes, it begins anew; without its description, nobody knows what they are."""
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    before = (tmp_path / EPISODES).read_bytes()
    (tmp_path / DESCRIPTION).unlink()
    with pytest.raises(DataError, match=r"profile.json: not found; restore it"):
        recorded(tmp_path)
    assert (tmp_path / EPISODES).read_bytes() == before
    shutil.copy(whole / DESCRIPTION, tmp_path)
    (tmp_path / EPISODES).unlink()
    with pytest.raises(KeyboardInterrupt):
        recorded(tmp_path, Scripted(3))
    assert len(lines(recorded(tmp_path))) == len(lines(whole))


def test_nobody_else_measures_on_the_machine_during_an_episode(tmp_path):
    class Looking(Scripted):
        def measure(self, *given):
            with pytest.raises(Timeout):
                FileLock(user_folder() / LOCK, timeout=0).acquire()
            return super().measure(*given)

    next(Recorder(PLAN, tmp_path, Looking()).run())


def test_a_second_recording_in_one_folder_says_so_and_touches_nothing(tmp_path):
    first = Recorder(PLAN, tmp_path, Scripted()).run()
    next(first)
    before = (tmp_path / EPISODES).read_bytes()
    with pytest.raises(UsageError, match="another run uses it; wait for that one, stop it"):
        recorded(tmp_path)
    assert (tmp_path / EPISODES).read_bytes() == before
    list(first)
    recorded(tmp_path)  # it lets go
    assert not lines(tmp_path).duplicated([*PLAN.knobs, "rate_per_s", "pass", "repeat"]).any()


# What counts


def test_what_does_not_count_is_kept_apart_and_measured_again_at_the_end_of_its_pass(tmp_path):
    """Beside other work, the last sweep counts."""
    busy, each = BUSY + 0.01, len(PLAN.space) * len(PLAN.pairs)
    others = (BUSY, busy, *[0.0] * (each - 2), *[busy] * (SWEEPS - 2), 0.0, busy)
    recorded(tmp_path, Scripted(late=(3,), others=others))
    rejected, rows = lines(tmp_path, REJECTED), lines(tmp_path)
    assert rejected["why"].tolist() == ["busy", "slip", *["busy"] * (SWEEPS - 2)]
    assert set(rejected["pass"]) == {"0"}
    first = rows[rows["pass"] == "0"]["other_work"].astype(float).tolist()
    assert first == [BUSY, *[0.0] * (each - 2), busy]
    assert len(of_pass(rows)) == PLAN.episodes
    assert set(rows["valid"]) == {"1"}


def test_what_cannot_be_measured_now_is_left_for_later_and_then_given_up(tmp_path):
    one = replace(PLAN, knobs=PLAN.knobs | {"batch_threads": (0,), "inter_op": (1,)})
    missing, known = len(one.pairs) * one.passes, tmp_path / DESCRIPTION
    with pytest.raises(
        UnstableError, match=f"{missing} episodes .* late .*; the same command tries"
    ):
        recorded(tmp_path, Scripted(late=range(1, 10**4)), plan=one)
    assert not (tmp_path / EPISODES).exists()
    assert len(lines(tmp_path, REJECTED)) == SWEEPS * missing
    assert not json.loads(known.read_text())["complete"]
    recorded(tmp_path, plan=one)
    assert json.loads(known.read_text())["complete"]
    written = known.stat().st_mtime_ns
    recorded(tmp_path, plan=one)
    assert known.stat().st_mtime_ns == written, "what is complete keeps its date"


# The finals


def test_finalists_are_the_best_of_either_half_and_share_their_arrivals(tmp_path):
    plan = replace(PLAN, finalists=2)
    folder = recorded(tmp_path, Scripted(scatter=0.4), plan=plan)
    rows = lines(folder).astype({"pass": int, "mean_s": float})
    grid, finals, disagree = of_pass(rows), of_pass(rows, finals=True), False
    for rate, own in grid.groupby("rate_per_s"):
        best = set()
        for half in HALVES:
            means = own[own["pass"] % 2 == half].groupby(list(PLAN.knobs))["mean_s"].mean()
            best |= set(means.nsmallest(plan.finalists).index)
        counts = finals[finals["rate_per_s"] == rate].groupby(list(PLAN.knobs)).size()
        assert set(counts.index) == best
        disagree |= len(best) > plan.finalists
        assert set(counts) == {len(HALVES) * ROUNDS * REPEATS}
    assert disagree, "one half would be enough here"
    seeds = [set(part) for _, part in finals.groupby(finals["pass"] % 2)["arrival_seed"]]
    assert len(seeds) == 2
    assert not seeds[0] & seeds[1]
    assert not set(grid["arrival_seed"]) & (seeds[0] | seeds[1])
    met = finals.groupby(["pass", "repeat", "rate_per_s"])["arrival_seed"]
    assert (met.nunique() == 1).all()
