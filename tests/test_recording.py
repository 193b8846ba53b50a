"""The recorder: its order, its rule, its finals, and what an interruption leaves."""

from __future__ import annotations

import json
import os
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rrl.recording import record, steadiness
from rrl.recording.calibration import for_machine
from rrl.recording.finals import (
    MOST_ROUNDS,
    PRECISION,
    REPEATS,
    Finals,
    known,
    prepare_machine,
)
from rrl.recording.plan import Plan, ordered, process
from rrl.recording.plans import JOINT_PART, PLANS
from rrl.recording.profile import DESCRIPTION, EPISODES, REJECTED, read_profile
from rrl.recording.record import MAX_TRIES, Recorder
from rrl.recording.rows import append, read_appended
from rrl.recording.steadiness import Rule
from rrl.recording.truth import judge
from rrl.serving.settings import ADAPTIVE
from rrl.support.errors import DataError, UnstableError, UsageError
from rrl.tuning.episode import Episode, Status

RULE = Rule(reference_s=1.0)
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
    distinct=True,
    again=2,
    adaptive=(1, 4),
    finalists=3,
    rule=replace(RULE, steal=1.0),  # an episode takes microseconds: a stolen tick is most of it
)
SPREAD = {0: 1.0, 1: 1.01, 2: 1.3}  # cost of batch threads; 0 and 1 are close


class Scripted:
    """A server whose latency follows from the configuration; scatter comes from the arrivals."""

    def __init__(self, life=10**9, scatter=0.05, late=(), failing=None):
        self.start_s, self.life, self.scatter = 0.5, life, scatter
        self.failing = failing  # a configuration of which every second request fails
        self.late = set(late)  # numbers of the measurements in which the generator is too late
        self.measured, self.running, self.standing = [], None, False

    def configure(self, configuration, rng):
        self.running, self.standing = dict(configuration), False

    def pause(self):
        self.standing = True

    def resume(self):
        self.standing = False

    def measure(self, configuration, arrivals, rng):
        if not self.life:
            raise KeyboardInterrupt
        assert self.running == dict(configuration)
        assert not self.standing
        self.life -= 1
        self.measured.append((dict(configuration), len(arrivals)))
        base = 0.01 * SPREAD.get(configuration["batch_threads"], 0.9) * configuration["inter_op"]
        own = 1 + self.scatter * np.sin(1e5 * arrivals[-1] * (1 + base))
        valid = len(self.measured) not in self.late
        status = np.zeros(len(arrivals), dtype=int)
        if dict(configuration) == self.failing:
            status[::2] = Status.UNAVAILABLE.value
        return Episode(configuration, arrivals, np.full(len(arrivals), base * own), status, valid)


class Speeds:
    """A probe with a script of seconds; then always the last."""

    def __init__(self, *seconds, server=None):
        self.seconds, self.server, self.asked = list(seconds), server, 0

    def __call__(self):
        assert self.server is None or self.server.standing
        self.asked += 1
        return self.seconds.pop(0) if len(self.seconds) > 1 else self.seconds[0]


def recorded(folder, server=None, probe=None, plan=PLAN, finals=False):
    with closing(Recorder(plan, folder, probe or Speeds(1.0))) as recorder:
        server = server or Scripted()
        list(recorder.run(server, np.random.default_rng(0)))
        if finals:
            list(recorder.run(server, np.random.default_rng(0), Finals(recorder).order()))
        return recorder


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A recording that nobody interrupts, with its finals."""
    return recorded(tmp_path_factory.mktemp("whole"), finals=True)


def lines(folder, name=EPISODES):
    return pd.read_csv(folder / name, dtype=str, keep_default_na=False)


def of_pass(rows, *, finals=False):
    """The rows of the passes over the grid, or those of the finals."""
    return rows[(rows["pass"].astype(int) >= PLAN.grid_passes) == finals]


# The plan


def test_a_pass_visits_everything_once_and_keeps_a_process_together():
    whole = dict.fromkeys(range(len(PLAN.configurations)), PLAN.pairs)
    before, visits = (ordered(PLAN, whole, pass_) for pass_ in (0, 1))
    assert sorted(index for _, index, _ in visits) == list(whole)
    keys = [process(PLAN.configurations[i]) for _, i, _ in visits]
    changes = sum(a != b for a, b in pairwise(keys))
    assert changes == len(set(keys)) - 1
    assert [i for _, i, _ in visits] != [i for _, i, _ in before]


def test_a_plan_reads_back_as_it_was_written_and_guards_its_folder(whole):
    Recorder(PLAN, whole.folder, Speeds(1.0)).close()
    for other in (replace(PLAN, worth=3.0), replace(PLAN, rule=Rule(2.0))):
        with pytest.raises(DataError, match="another plan"):
            Recorder(other, whole.folder, Speeds(1.0))


def test_the_papers_grid_is_refused_on_too_few_cores(monkeypatch):
    cpu = PLANS["paper-cpu10"]
    assert len(cpu.space) == 11**3
    assert cpu.passes * cpu.seconds(cpu.configurations, cpu.repeats) > 10 * 3600
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    with pytest.raises(UsageError, match="needs 10 cores, this machine has 2"):
        prepare_machine(cpu)


@pytest.mark.long  # importing TensorFlow takes most of it
def test_the_papers_grid_of_a_gpu_is_refused_without_one():
    with pytest.raises(UsageError, match="needs a GPU"):
        prepare_machine(PLANS["paper-gpu"])


def test_a_plan_keeps_to_its_cores():
    before = os.sched_getaffinity(0)
    try:
        prepare_machine(replace(PLAN, cpus=1))
        assert len(os.sched_getaffinity(0)) == 1
    finally:
        os.sched_setaffinity(0, before)


DATA = Path(__file__).parent.parent / "data"
PROBED = [file.parent for file in sorted((DATA / "recording").glob("*/profile.json"))]
PROBED.append(DATA / JOINT_PART)


@pytest.mark.parametrize("folder", PROBED, ids=lambda folder: folder.name)
def test_a_recording_with_a_probe_is_sound_also_before_it_is_complete(folder):
    """Another processor has a folder of its own, with a suffix, for the same plan."""
    profile = read_profile(folder)
    plan = for_machine(PLANS[folder.name.removesuffix("-xeon")], folder, never)
    assert plan.is_stored(profile.description["plan"])
    assert profile.description["complete"] == (folder.parent == DATA)
    rows = pd.concat([profile.table, profile.adaptive])
    assert len(set(rows["commit"])) == 1
    assert rows["commit"].str.fullmatch(r"recorder-\d").all()
    for name in ("speed_before", "speed_after"):
        assert rows[name].between(plan.rule.slowest, plan.rule.fastest).all()
    assert (rows["steal"] <= plan.rule.steal).all()
    seeds = rows.groupby(["rate_per_s", "pass", "repeat"])["arrival_seed"].nunique()
    assert (seeds == 1).all()  # all configurations of a pass met the same arrivals


# Passes


def test_further_passes_are_over_what_is_worth_it(whole):
    rows = of_pass(lines(whole.folder))
    first = rows["pass"].astype(int) < PLAN.passes
    assert first.sum() == PLAN.episodes
    means = rows[first].astype({"mean_s": float}).groupby(["rate_per_s", *PLAN.knobs])["mean_s"]
    times = rows[~first].groupby(["rate_per_s", *PLAN.knobs]).size()
    for rate, costs in means.mean().groupby("rate_per_s"):
        best = costs.drop(str(ADAPTIVE), level="batch_threads").min()
        worth = costs.index[costs < PLAN.worth * best]
        assert set(times.loc[[rate]].index) == set(worth)
        assert 0 < len(worth) < len(costs)
    assert (times == PLAN.again).all()


def test_the_adaptive_scheduler_adapts_before_it_is_measured(tmp_path):
    server = Scripted()
    probe = Speeds(1.0, server=server)  # which checks that the server stands still meanwhile
    recorder = recorded(tmp_path, server, probe)
    visits = len(PLAN.configurations) * PLAN.passes
    assert probe.asked >= len(recorder) + visits  # one after each episode, one before each visit
    profile = read_profile(tmp_path)
    assert len(profile.table) + len(profile.adaptive) == len(recorder)
    assert profile.space == PLAN.space
    threads = [configuration["batch_threads"] for configuration, _ in server.measured]
    assert threads.count(ADAPTIVE) == 2 * len(profile.adaptive) > 0


@pytest.mark.parametrize(
    "life", [17, *(pytest.param(life, marks=pytest.mark.long) for life in (60, 150))]
)
def test_an_interrupted_recording_goes_on_to_the_same_rows(whole, tmp_path, life):
    """In the first pass over the grid, in the next one and in the finals."""
    with pytest.raises(KeyboardInterrupt):
        recorded(tmp_path, Scripted(life), finals=True)
    recorded(tmp_path, finals=life > 17)
    chance = ["started", "steal"]
    found, wanted = (lines(folder).drop(columns=chance) for folder in (tmp_path, whole.folder))
    assert found.equals(wanted[: len(found)])
    assert len(found) == len(wanted) if life > 17 else len(found) > PLAN.episodes


def test_rows_are_appended_and_one_that_was_cut_off_is_measured_again(tmp_path):
    recorded(tmp_path)
    whole = (tmp_path / EPISODES).read_bytes()
    (tmp_path / EPISODES).write_bytes(whole[:-7])
    recorded(tmp_path)
    again = (tmp_path / EPISODES).read_bytes()
    kept = whole[: whole[:-1].rfind(b"\n") + 1]
    assert again.startswith(kept)
    assert len(again.splitlines()) == len(whole.splitlines())


def test_a_second_recording_in_one_folder_says_so_and_touches_nothing(tmp_path):
    with closing(Recorder(PLAN, tmp_path, Speeds(1.0))) as first:
        measured = first.run(Scripted(), np.random.default_rng(0))
        next(measured)
        before = (tmp_path / EPISODES).read_bytes()
        with pytest.raises(UsageError, match="another run uses it; wait for that one, stop it"):
            recorded(tmp_path)
        assert (tmp_path / EPISODES).read_bytes() == before
        list(measured)
    recorded(tmp_path)  # it lets go
    assert not lines(tmp_path).duplicated([*PLAN.knobs, "rate_per_s", "pass"]).any()


# The rule


@pytest.mark.parametrize(
    ("before", "after", "steal", "valid", "why"),
    [
        (1.0, 1.1, 0.0, True, ""),
        (1.0, 1.2, 0.0, True, "probe"),
        (0.8, 1.0, 0.0, True, "probe"),  # faster than the limit is another machine, too
        (1.0, 1.0, 0.2, True, "steal"),
        (1.0, 1.0, 0.0, False, "slip"),
    ],
)
def test_an_episode_counts_by_probe_steal_and_slip_alone(before, after, steal, valid, why):
    assert RULE.objection(before, after, steal, valid) == why


def test_what_does_not_count_is_kept_apart_and_measured_again(tmp_path):
    server = Scripted(late=(3,))
    probe = Speeds(1.0, 1.0, 1.5, 1.0, server=server)  # the second episode's end, then the third's
    recorded(tmp_path, server, probe)
    rejected, rows = lines(tmp_path, REJECTED), lines(tmp_path)
    assert rejected["why"].tolist() == ["probe", "slip"]
    assert float(rejected["speed_after"][0]) == pytest.approx(1 / 1.5, abs=1e-4)
    assert (rows["pass"].astype(int) < PLAN.passes).sum() == PLAN.episodes
    assert set(rows["valid"]) == {"1"}


def test_what_cannot_be_measured_now_is_left_for_later_and_then_given_up(tmp_path):
    one = replace(PLAN, knobs=PLAN.knobs | {"batch_threads": (0,), "inter_op": (1,)}, adaptive=())
    recorder = recorded(tmp_path, Scripted(late=range(1, 10**4)), plan=one)
    missing, known = len(one.pairs) * one.passes, tmp_path / DESCRIPTION
    assert len(recorder) == 0
    assert len(lines(tmp_path, REJECTED)) == MAX_TRIES * record.SWEEPS * missing
    with pytest.raises(UnstableError, match=f"{missing} episodes .* not complete; the same com"):
        recorder.finish()
    assert not json.loads(known.read_text())["complete"]
    recorded(tmp_path, Scripted(), plan=one).finish()
    assert json.loads(known.read_text())["complete"]


def test_a_row_is_on_disk_when_it_is_appended(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file)))
    for number in range(3):
        append(tmp_path / EPISODES, {"pass": str(number)})
        now = (tmp_path / EPISODES).stat()
        assert (synced[-1].st_ino, synced[-1].st_size) == (now.st_ino, now.st_size)


def test_rows_of_any_length_are_read_again(tmp_path):
    """Python's csv module reads no field of more than 128 KiB."""
    row = {"latencies_us": " ".join(["25000"] * 25_000), "statuses": ""}
    append(tmp_path / EPISODES, row)
    assert read_appended(tmp_path / EPISODES, list(row)) == [row]
    with (tmp_path / EPISODES).open("a") as file:
        file.write("1,2,3,4\n")
    with pytest.raises(DataError, match=r"line 3, saw 4; restore the file, or"):
        read_appended(tmp_path / EPISODES, list(row))


def test_recording_waits_for_the_machine_and_stops_if_it_stays_slow(tmp_path, monkeypatch):
    monkeypatch.setattr(steadiness, "PAUSE_S", 0.0)
    recorded(tmp_path / "waits", probe=Speeds(2.0, 2.0, 2.0, 1.0))
    assert not (tmp_path / "waits" / REJECTED).exists()
    monkeypatch.setattr(steadiness, "PATIENCE_S", 0.01)
    with pytest.raises(UnstableError, match=r"0\.50 of the plan"):
        recorded(tmp_path / "slow", probe=Speeds(2.0))
    assert not (tmp_path / "slow" / EPISODES).exists()


def never():
    raise AssertionError("nothing is measured here")


def test_a_plan_without_a_rule_gets_one_for_this_machine_and_keeps_it(tmp_path, monkeypatch):
    monkeypatch.setattr(steadiness, "LOOKS", 2)  # by the real probe
    bare = replace(PLAN, rule=None)
    plan = for_machine(bare, tmp_path, never)
    assert plan.rule.accepts(plan.rule.reference_s)
    Recorder(plan, tmp_path, Speeds(plan.rule.reference_s)).close()
    assert for_machine(bare, tmp_path, never).rule == plan.rule
    assert for_machine(PLAN, tmp_path, never) == PLAN


def test_fractions_become_loads_when_a_recording_begins_and_stay(tmp_path):
    relative = replace(PLAN, rates_per_s=(), shares=(0.4, 0.9))
    assert relative.episodes == PLAN.episodes
    plan = for_machine(relative, tmp_path, lambda: 123.4)
    assert list(plan.rates_per_s) == [49.4, 111.0]
    Recorder(plan, tmp_path, Speeds(1.0)).close()
    assert for_machine(relative, tmp_path, never) == plan
    with closing(Recorder(plan, tmp_path, Speeds(1.0))) as recorder:
        assert recorder.plan.to_json()["shares"] == [0.4, 0.9]


# The finals


def test_finalists_are_the_best_of_either_half_and_guests_the_usual_settings(tmp_path):
    recorder = recorded(tmp_path, Scripted(scatter=0.4))
    finals = Finals(recorder)
    for rate in range(2):
        best = []
        for half in (0, 1):
            means = recorder.grid_means(rate, [half, half + 2])[: len(PLAN.space)]
            best.append(set(np.argsort(means)[:3].tolist()))
        assert set(finals.finalists[rate]) == best[0] | best[1]
        guests = [PLAN.configurations[i] for i in finals.guests[rate]]
        assert any(c["batch_threads"] == ADAPTIVE for c in guests)


def test_each_half_goes_on_until_every_ratio_is_known(whole):
    finals = Finals(whole)
    for rate in range(2):
        for half in (0, 1):
            columns, means = finals.rounds(rate, half)
            assert finals.entrants(rate, PLAN.grid_passes + half) == columns  # what came first
            _, verdicts = judge(means, contenders=len(finals.finalists[rate]))
            assert all(known(verdict) for verdict in verdicts)
            assert len(means) < MOST_ROUNDS * REPEATS
            widths = [v.high / v.low for v in verdicts if v.word != "best"]
            assert max(widths) <= (1 + PRECISION) ** 2
            assert len(columns) == means.shape[1]


def test_the_halves_of_the_finals_share_no_episode_and_meet_other_arrivals(whole):
    rows = lines(whole.folder)
    finals, grid = of_pass(rows, finals=True), of_pass(rows)
    seeds = [
        set(part) for _, part in finals.groupby(finals["pass"].astype(int) % 2)["arrival_seed"]
    ]
    assert len(seeds) == 2
    assert not seeds[0] & seeds[1]
    assert not set(grid["arrival_seed"]) & (seeds[0] | seeds[1])
    rounds = finals.groupby(["pass", "repeat", "rate_per_s"])["arrival_seed"]
    assert (rounds.nunique() == 1).all()  # within a round all meet the same
