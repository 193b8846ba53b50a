"""Every verdict of every claim follows from the registration and the tables, and can be had."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.stats import norm

from rrl import ConfigSpace, Knob
from rrl.studies import claim_days, claim_page, claim_runs, claim_table, judging_error
from rrl.studies.claim_numbers import part_number
from rrl.studies.claim_runs import Evidence
from rrl.studies.claim_samples import samples
from rrl.studies.claims import (
    columns_table,
    improvement,
    judge_all,
    judge_claim,
    problems_table,
    speed_table,
    tables_of,
)
from rrl.studies.day_tables import DEFAULT
from rrl.studies.days import KNOWING
from rrl.studies.registration import VERDICTS, content_digest, read_registration
from rrl.support.errors import DataError
from rrl.support.limits import fraction_limits

DATA = Path(__file__).parent.parent / "data"
SEEDS = 12
PROBLEMS = ("a 1/s", "b 2/s")
FACTS = {
    "testbed": "a", "configurations": 96, "good": 2, "possible": 5, "judged": True, "ceiling": 1.0,
    "best_s": 0.5, "default_s": 1.0, "simple_regret": 1.0,
    "default_late": 0.5, "default_error": 0.0, "default_requests": 10_000,
    "step": 0.2, "region": 0.5, "chance": 30.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def registered():
    return read_registration(DATA)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def facts(kind="real", workloads=("",), **changes):
    rows = [
        {"problem": f"{name} {workload}".strip(), "kind": kind, "workload": workload}
        | FACTS
        | {key: value[i] if isinstance(value, tuple) else value for key, value in changes.items()}
        for i, name in enumerate(PROBLEMS)
        for workload in workloads
    ]
    return pd.DataFrame(rows)


def runs(table, agents, column_of_rest=None, **columns):
    """Rows of equal runs, but for a scatter of 1 %; a column maps agents to a number or a pair."""
    rows, rest = [], {"episodes": 300, "error": 0.0, "requests": 10_000} | (column_of_rest or {})
    scatter = np.linspace(0.99, 1.01, SEEDS)
    for i, about in enumerate(table.itertuples()):
        for agent in agents:
            head = {"problem": about.problem, "kind": about.kind, "workload": about.workload}
            given = {}
            for name, values in columns.items():
                value = values.get(agent, values["others"])
                value = value[i % len(value)] if isinstance(value, tuple) else value
                given[name] = value * (scatter if name != "late" else np.ones(SEEDS))
            frame = head | rest | given | {"agent": agent, "seed": np.arange(SEEDS)}
            rows.append(pd.DataFrame(frame))
    return pd.concat(rows, ignore_index=True)


def evidence(**tables):
    empty = {name: pd.DataFrame() for name in Evidence._fields}
    empty["recorded"] = pd.DataFrame(columns=["profile", "episodes", "binary"])
    return Evidence(**(empty | tables))


def steady(registered, kind="real", table=None, **columns):
    table = facts(kind) if table is None else table
    whole = {name: {"others": 1.0} for name in ("first", "deployed", "mean_cost", "latency_s")}
    whole["late"] = {"others": 0.5}
    agents = registered.agents + registered.only_compared
    rows = runs(table, agents, **(whole | columns))
    return evidence(facts=table, runs=rows, late=rows)


def changing(registered, workloads, ours, table=None, kind="real"):
    table = facts(kind, workloads) if table is None else table
    columns = {"latency_s": {DEFAULT: 1.0, "rrl-gp": ours, "others": 1.1}}
    return evidence(facts=table, served=runs(table, (*registered.agents, DEFAULT), **columns))


def similar(copy, learned, mean, repeat=5.0, kind="real"):
    rows = [
        {"problem": p, "kind": kind, "estimator": name, "error": error, "repeat": repeat}
        for p in PROBLEMS
        for name, error in (("copy", copy), ("learned", learned), ("mean", mean))
    ]
    return evidence(similarity=pd.DataFrame(rows))


def recorded(episodes, binary):
    row = {"profile": "p", "episodes": episodes, "binary": binary}
    return evidence(recorded=pd.DataFrame([row] if episodes is not None else [], columns=list(row)))


@lru_cache(maxsize=4)
def made_up(kind="real"):
    """For each claim and verdict, tables that lead to it."""
    registered = read_registration(DATA)

    def first(kind=kind, table=None, deployed=None, **values):
        values = {name.replace("_", "-"): value for name, value in values.items()}
        columns = {"first": {"others": 100.0} | values}
        if deployed:
            columns["deployed"] = {"others": 1.0} | deployed
        return steady(registered, kind, table, **columns)

    def saved(column, value, **changes):
        return steady(registered, kind, facts(kind, **changes), **{column: {"others": value}})

    slow, wide = {"q_learning_for_speed": 40.0}, "rrl-wide"
    cases = {
        ("C1", "reproduced"): similar(8.0, 8.0, 20.0, kind=kind),
        ("C1", "partly"): similar(25.0, 8.0, 60.0, kind=kind),
        ("C1", "not"): similar(60.0, 8.0, 20.0, kind=kind),
        ("C1", "cannot be tested"): evidence(),
        ("C2", "reproduced"): first(**slow, rrl_wide=10.0, deployed={wide: 1.2}),
        ("C2", "partly"): first(**slow, rrl_wide=60.0, deployed={wide: 1.2}),
        ("C2", "not"): first(**slow, rrl_wide=60.0, deployed={wide: 0.9}),
        ("C2", "cannot be tested"): evidence(),
        ("C3", "reproduced"): first(rrl_adaptive=50.0, deployed={wide: 1.2}),
        ("C3", "partly"): first(rrl_adaptive=150.0, deployed={wide: 1.2}),
        ("C3", "not"): first(rrl_adaptive=150.0, deployed={"rrl-adaptive": 1.2}),
        ("C3", "cannot be tested"): evidence(),
        ("C4", "reproduced"): first(rrl_gp=5.0),
        ("C4", "partly"): first(rrl_gp=50.0),
        ("C4", "not"): first(rrl_gp=120.0),
        ("C4", "cannot be tested"): first(
            rrl_gp=1.0, q_learning_for_speed=9.0, deep_q_network_for_speed=12.0
        ),
        ("C5", "reproduced"): saved("latency_s", 0.05),
        ("C5", "partly"): saved("latency_s", 0.5),
        ("C5", "not"): saved("latency_s", 1.1),
        ("C5", "cannot be tested"): saved("latency_s", 0.05, simple_regret=0.1),
        ("C6", "reproduced"): saved("late", 0.001),
        ("C6", "partly"): saved("late", 0.3),
        ("C6", "not"): saved("late", 0.6),
        ("C6", "cannot be tested"): saved("late", 0.0, default_late=0.01),
        ("C8", "reproduced"): recorded(10, True),
        ("C8", "partly"): recorded(10, False),
        ("C8", "not"): recorded(0, False),
        ("C8", "cannot be tested"): recorded(None, False),
    }
    for id in ("C7", "C9"):
        loads = registered.claims[id].workloads[:1]
        cases |= {
            (id, "reproduced"): changing(registered, loads, 0.5, kind=kind),
            (id, "partly"): changing(registered, loads, (0.5, 1.3), kind=kind),
            (id, "not"): changing(registered, loads, 1.3, kind=kind),
            (id, "cannot be tested"): changing(
                registered, loads, 0.5, facts(kind, loads, simple_regret=0.1)
            ),
        }
    return cases


CASES = [(f"C{n}", word) for n in range(1, 10) for word in VERDICTS]


@pytest.mark.parametrize(("id", "word"), CASES)
def test_every_verdict_follows_from_tables(registered, rng, id, word):
    tables = made_up()[id, word]
    judged = judge_claim(id, registered, tables, rng)
    assert judged.verdict == word, judged.numbers[judged.kind, judged.claim.about]
    row = claim_table.row_of(judged, registered, problems_table(registered, tables))
    assert row.verdict == word
    assert row.registration == registered.digest
    assert (row.value is None) == (word == "cannot be tested")
    if judged.claim.about:
        columns = {*registered.paper_agents, *registered.recommended}
        assert columns <= set(row.columns), "every agent has a verdict"
        assert set(row.columns) & set(registered.rivals), "and so has the best rival"
        assert all(row.columns[name].simulated_verdict for name in columns)


@pytest.mark.parametrize(("id", "word"), [case for case in CASES if case[0] != "C8"])
def test_simulated_problems_have_verdicts_of_their_own_and_decide_nothing(
    registered, rng, id, word
):
    judged = judge_claim(id, registered, made_up("simulated")[id, word], rng)
    assert judged.word("simulated", judged.claim.about) == word
    assert judged.verdict == "cannot be tested"


def join(*parts):
    return Evidence(*(pd.concat(tables, ignore_index=True) for tables in zip(*parts, strict=True)))


def test_problems_that_were_held_out_decide_as_soon_as_they_exist(registered, rng):
    seen, held = made_up(), made_up("held_out")
    both = join(seen["C5", "reproduced"], held["C5", "not"])
    judged = judge_claim("C5", registered, both, rng)
    assert (judged.kind, judged.verdict) == ("held_out", "not")
    assert judged.word("real", "rrl-gp") == "reproduced"
    untestable = join(seen["C5", "reproduced"], held["C5", "cannot be tested"])
    assert judge_claim("C5", registered, untestable, rng).kind == "real"


def test_a_kind_that_can_test_only_a_part_of_a_claim_leaves_the_verdict_to_others(registered, rng):
    """Nobody is ever within 5 % on the held-out problems: speed says nothing there, loss does."""
    held = made_up("held_out")["C2", "reproduced"]
    never = held._replace(runs=held.runs.assign(first=np.inf))
    alone = judge_claim("C2", registered, never, rng)
    assert [part.tested for part in alone.numbers["held_out", alone.claim.about]] == [False, True]
    assert (alone.kind, alone.verdict) == ("held_out", "partly")
    both = judge_claim("C2", registered, join(never, made_up()["C2", "reproduced"]), rng)
    assert (both.kind, both.verdict) == ("real", "reproduced")


def test_a_threshold_decides_and_stands_in_the_registration_only(registered, rng):
    tables = made_up()["C5", "partly"]
    claim = registered.claims["C5"]
    lower = replace(claim, parts=(replace(claim.parts[0], above=40),))
    changed = replace(registered, claims={"C5": lower})
    assert judge_claim("C5", changed, tables, rng).verdict == "reproduced"


# --- What a problem can test ---------------------------------------------------------------------


def test_a_rival_that_is_quick_itself_cannot_be_beaten_eightfold(registered, rng):
    table = facts()
    columns = {"first": {"q-learning-for-speed": (9.0, 100.0), "rrl-gp": 4.0, "others": 100.0}}
    tables = steady(registered, "real", table, **columns)
    part = registered.claims["C4"].parts[0]
    assert samples(part, registered.rules, tables, "rrl-gp").problems == ("b 2/s",)
    ceilings = problems_table(registered, tables).set_index("problem")[
        "ceiling_q-learning-for-speed"
    ]
    assert ceilings.tolist() == pytest.approx([4.5, 50.0])
    shown = speed_table(registered, tables, "rrl-gp", rng)
    assert set(shown["problem"]) == set(PROBLEMS), "the figure has all, with their ceilings"
    limits = problems_table(registered, tables)
    row = claim_table.row_of(judge_claim("C4", registered, tables, rng), registered, limits)
    notes = " ".join(row.notes)
    assert "q-learning-for-speed itself allows 4.5 to 50 times, at least 8 on 1 of" in notes
    assert "2 to 2 of 96 to 96 configurations are within 5 % there" in row.notes


def test_agents_that_never_arrive_are_not_compared(registered, rng):
    never = steady(registered, first={"others": np.inf})
    part = registered.claims["C4"].parts[0]
    assert not part_number(part, registered.rules, never, "rrl-gp", rng).tested
    one = steady(registered, first={"others": np.inf, "rrl-gp": 10.0})
    assert part_number(part, registered.rules, one, "rrl-gp", rng).value == pytest.approx(
        30, rel=0.01
    )


def test_a_load_that_cannot_judge_says_nothing_of_speed(registered, rng):
    tables = steady(registered, "real", facts(judged=(True, False)), first={"others": 40.0})
    found = part_number(registered.claims["C2"].parts[0], registered.rules, tables, "rrl-gp", rng)
    assert found.problems == ("a 1/s",)


def test_a_default_near_the_best_can_test_no_saving(registered):
    """cpu10: its default is within 15 % of the best, so C5 to C7 say nothing there."""
    tables = steady(registered, "real", facts(simple_regret=(0.14, 0.16)))
    limits = problems_table(registered, tables)
    assert limits["saves"].tolist() == [False, True]
    judged = judge_claim("C5", registered, tables, np.random.default_rng(0))
    assert judged.number.problems == ("b 2/s",)
    notes = claim_table.row_of(judged, registered, limits).notes
    assert "left out, real, as the default is within 15 % of the best: 1 loads of a" in notes


def test_the_limits_allow_for_none_late_and_for_the_selection(registered, rng):
    """None late of 400 is no proof of none: the reduction may be less than 100 %."""
    table = facts(default_late=0.1, default_requests=400)
    tables = steady(registered, "real", table, late={"others": 0.0})
    tables.runs["requests"] = 400
    found = part_number(registered.claims["C6"].parts[0], registered.rules, tables, "rrl-gp", rng)
    assert found.value == 100
    assert 75 < found.low < 95


def test_the_limits_of_late_requests_hold_for_all_loads_together(registered, rng):
    """By the way of Bonferroni: two limits of each of two loads."""
    table = facts(default_late=0.2, default_requests=400)
    tables = steady(registered, "real", table, late={"others": 0.05})
    tables.runs["requests"] = 400
    found = part_number(registered.claims["C6"].parts[0], registered.rules, tables, "rrl-gp", rng)
    (least, _), (_, most) = (fraction_limits(count, 400, 1 - 0.05 / 4) for count in (80, 20))
    assert (found.value, found.low) == pytest.approx((75, 100 * (1 - most / least)))


@pytest.mark.parametrize("whose", ["default", "own"])
def test_an_uncertain_truth_widens_the_interval_of_a_reduction(registered, rng, whose):
    part = registered.claims["C5"].parts[0]
    sure = steady(registered, latency_s={"others": 0.2})
    unsure = sure._replace(facts=sure.facts.assign(default_error=0.3))
    if whose == "own":
        unsure = sure._replace(runs=sure.runs.assign(error=0.3))
    found = [
        part_number(part, registered.rules, tables, "rrl-gp", rng) for tables in (sure, unsure)
    ]
    assert found[1].high - found[1].low > 5 * (found[0].high - found[0].low)
    assert found[0].value == pytest.approx(found[1].value)


def test_one_good_load_among_many_is_not_all_of_a_family(registered, rng):
    """A difference in 9 of 12 runs is one in 14: no verdict, and less so among many loads."""
    loads = registered.claims["C9"].workloads
    tables = changing(registered, loads, 1.0)
    served = tables.served
    ours = (served["agent"] == "rrl-gp").to_numpy()
    served.loc[ours, "latency_s"] = np.where(served.loc[ours, "seed"] < 9, 0.99, 1.02)
    served.loc[served["agent"] == DEFAULT, "latency_s"] = 1.0
    assert judge_claim("C9", registered, tables, rng).verdict == "not"


def test_a_load_of_many_must_be_surer_than_a_load_alone(registered, rng):
    """Each has a chance of 3 % to come from nothing: Holm makes it 6 % for two."""
    loads = registered.claims["C7"].workloads[:1]
    tables = changing(registered, loads, 0.9)
    again = tables.served.assign(error=np.log(1 / 0.9) / norm.isf(0.03 / 2))
    two = tables._replace(other_half=again)
    one = Evidence(*(t[t["problem"].str.startswith("a")] if "problem" in t else t for t in two))
    found = [judge_claim("C7", registered, tables, rng) for tables in (one, two)]
    assert [len(judged.number.problems) for judged in found] == [1, 2]
    assert [judged.verdict for judged in found] == ["reproduced", "not"]


def test_what_the_recording_cannot_tell_is_not_sure(registered, rng):
    """Its error is common to all seeds, so more seeds do not help: a factor of 2 is not enough."""
    loads = registered.claims["C7"].workloads[:1]
    tables = changing(registered, loads, 0.5)
    found = []
    for error in (0.05, 0.5):
        again = tables.served.assign(error=error)
        judged = judge_claim("C7", registered, tables._replace(other_half=again), rng)
        alone = judge_claim("C7", registered, tables._replace(served=again), rng)
        assert alone.verdict == judged.verdict
        found.append(alone)
    assert [one.verdict for one in found] == ["reproduced", "not"]
    widths = [np.log(one.number.high / one.number.low) for one in found]
    assert widths[1] == pytest.approx(2 * 1.96 * 0.5, rel=0.1)  # as if all loads erred together
    assert widths[0] < widths[1] / 5


def test_both_halves_must_be_sure(registered, rng):
    """The half with the smaller factor is sure; the other one is larger, and scatters."""
    loads = registered.claims["C7"].workloads[:1]
    tables = changing(registered, loads, 0.9)
    ours = (tables.served["agent"] == "rrl-gp").to_numpy()
    wild = tables.served.copy()
    wild.loc[ours, "latency_s"] = np.where(wild.loc[ours, "seed"] % 2, 0.1, 1.3)
    for one, other in ((tables.served, wild), (wild, tables.served)):
        both = tables._replace(served=one, other_half=other)
        assert judge_claim("C7", registered, both, rng).verdict == "not"
    assert judge_claim("C7", registered, tables, rng).verdict == "reproduced"


@pytest.mark.parametrize(
    ("other_half", "word", "value"),
    [(1.3, "not", 1 / 1.3), ((0.5, 1.3), "partly", 1.24), (0.2, "reproduced", 2.0)],
)
def test_the_smaller_factor_of_replay_and_other_half_counts(
    registered, rng, other_half, word, value
):
    """The replay says twice as good, on every load: what the agent was told may be luck."""
    loads = registered.claims["C7"].workloads[:1]
    tables = changing(registered, loads, 0.5)
    by_other = changing(registered, loads, other_half).served
    judged = judge_claim("C7", registered, tables._replace(other_half=by_other), rng)
    assert judged.verdict == word
    assert judged.number.value == pytest.approx(value, rel=0.15)
    source = judge_claim("C7", registered, tables._replace(served=by_other), rng)
    row = claim_table.row_of(
        judged, registered, problems_table(registered, tables), {"the other half": source}
    )
    (said,) = [note for note in row.notes if note.startswith("by the other half alone, rrl:")]
    assert f"of {len(judged.number.each)} loads" in said


def test_the_best_rival_is_looked_up_afterwards(registered, rng):
    tables = steady(registered, latency_s={"others": 0.9, "zooming": 0.3})
    judged = judge_claim("C5", registered, tables, rng)
    assert judged.agents[-1] == "zooming"
    row = claim_table.row_of(judged, registered, problems_table(registered, tables))
    assert row.columns["zooming"].measured.startswith("70")


def test_the_recording_sets_what_accurate_can_mean(registered, rng):
    found = judge_claim("C1", registered, similar(12.0, 8.0, 20.0, repeat=13.0), rng)
    assert (found.verdict, found.number.threshold) == ("reproduced", 13.0)


# --- Tables --------------------------------------------------------------------------------------


def test_all_numbers_are_written(registered, rng, tmp_path):
    cases = made_up()
    tables = join(*(cases[f"C{n}", "reproduced"] for n in (1, 5, 7, 8, 9)))
    judged = judge_all(registered, tables, rng)
    limits = problems_table(registered, tables)
    claims = [claim_table.row_of(one, registered, limits) for one in judged.values()]
    claim_page.write_claims(claims, tmp_path)
    rows = json.loads((tmp_path / "claims.json").read_text())
    assert [row["id"] for row in rows] == [f"C{n}" for n in range(1, 10)]
    text = (tmp_path / "claims.md").read_text()
    assert registered.digest in text
    assert "NaN" not in (tmp_path / "claims.json").read_text()
    assert all(claim.measured in text for claim in claims)
    table = columns_table(judged.values())
    assert set(table["verdict"]) <= set(VERDICTS)
    agents = set(table.loc[(table["claim"] == "C5") & (table["kind"] == "real"), "agent"])
    assert {"rrl-gp", "rrl", "rrl-adaptive"} < agents


def test_improvement_is_over_all_problems(registered, rng):
    tables = steady(registered, first={"others": 50.0, "rrl-gp": 5.0})
    table = improvement(registered, tables, "real", "rrl-gp", rng).set_index("agent")
    assert table["first"].tolist() == [1.0] * (len(registered.agents) - 1)
    assert table.loc["q-learning", "deployed"] == pytest.approx(0.5)


@pytest.mark.parametrize(("together", "least", "most"), [(False, 1.0, 1.3), (True, 90.0, 110.0)])
def test_late_requests_that_come_together_count_less(rng, together, least, most):
    """One request in five is late: alone, or with all others of its episode of a hundred."""
    late = rng.uniform(size=(400, 1 if together else 100)) < 0.2
    latency = np.broadcast_to(np.where(late, 2.0, 0.5), (400, 100))
    rows = {"x": [1, 2] * 200, "rate_per_s": 1.0, "pass": [0, 0, 2, 2] * 100, "valid": 1}
    profile = SimpleNamespace(
        table=pd.DataFrame(rows), space=ConfigSpace([Knob("x", (1, 2))]),
        latencies=lambda row: latency[row], statuses=lambda row: np.zeros(100),
        description={"plan": {"requests": 100}},
    )  # fmt: skip
    assert least <= judging_error.design_effect(profile, 1.0, 0, 1.0) <= most


def test_tables_come_from_a_sweep(registered, tmp_path):
    from rrl.studies.sweeps import Sweep

    chosen = [p for p in registered.problems if p.testbed == "keyword-threads"]
    chosen = [p for p in chosen if p.load == 900.0 or p.workload == "Bursts"]
    few = replace(registered, rivals=("q-learning",), paper_agents=("rrl",), claims={})
    settings = claim_runs.settings(few, chosen, 2, 4)
    sweep = Sweep(settings, data=DATA, build=tmp_path, costs=True)
    scenarios = sweep.scenarios(False)
    found = claim_runs.gather(few, chosen, sweep.run(False), sweep.truths(False), scenarios, 100)
    table, about, served = found
    assert len(table) == 3 * 2
    assert len(served) == 4 * 2
    assert set(about["problem"]) == {"keyword-threads 900/s", "keyword-threads Bursts"}
    assert (about["good"] <= about["possible"]).all()
    assert table["late"].between(0, 1).all()
    assert table["requests"].between(25, 5000).all(), "600 or more, less their design effect"
    whole = evidence(facts=about, runs=table, served=served)
    kept = tables_of(whole, "real", registered.claims["C7"])
    assert set(kept.facts["workload"]) == {"Bursts"}
    errors = claim_runs.similarity_table(chosen, scenarios, 8, np.random.default_rng(0))
    assert errors["estimator"].tolist() == ["copy", "learned", "mean"]


# --- The registration ----------------------------------------------------------------------------


def edited(tmp_path, change, sealed=True):
    content = yaml.safe_load((DATA / "claims.yaml").read_text())
    change(content)
    if sealed:
        content["changes"][-1:] = (
            [{"date": "d", "reason": "r", "digest": content_digest(content)}]
            if content.get("changes")
            else []
        )
    (tmp_path / "claims.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return tmp_path


def test_a_change_needs_an_entry_with_its_reason(tmp_path):
    def lower(content):
        content["claims"]["C5"]["parts"][0]["above"] = 70

    with pytest.raises(DataError, match="`changes` does not say why; undo it, or add an entry"):
        read_registration(edited(tmp_path, lower, sealed=False))
    assert read_registration(edited(tmp_path, lower)).claims["C5"].parts[0].above == 70


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("rules"), "no key 'rules'; add it"),
        (lambda c: c["rules"].update(luck=1), r"rules: unknown key 'luck'; the keys are seeds"),
        (lambda c: c["claims"]["C4"].pop("needs"), "claims.C4: no key 'needs'"),
        (lambda c: c["claims"]["C4"]["needs"].pop("partly"), "needs: no key 'partly'"),
        (lambda c: c["claims"]["C4"]["parts"][0].update(metric="joy"), "unknown metric 'joy'"),
        (lambda c: c["claims"]["C4"]["parts"][0].update(below=1), "either `above` or `below`"),
        (lambda c: c["claims"]["C7"]["parts"][0].update(above=2), "tests ratios against 1; give"),
        (lambda c: c["claims"]["C9"]["parts"][0].update(direction=0.9), "tests ratios against 1"),
        (lambda c: c["columns"]["rivals"].append("nobody"), "unknown agent 'nobody'"),
        (lambda c: c["steady"]["real"].append([]), r"steady.real\[5\]: write it as `key: value`"),
        (lambda c: c["changing"]["real"][0].update(loads=[["Flood"]]), "unknown workload"),
        (lambda c: c.update(changes=[]), "`changes` is empty"),
    ],
)
def test_a_wrong_registration_gets_one_clear_line(tmp_path, change, message):
    with pytest.raises(DataError, match=message) as caught:
        read_registration(edited(tmp_path, change))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_none_is_refused(tmp_path):
    with pytest.raises(DataError, match="not found; restore it"):
        read_registration(tmp_path)
    (tmp_path / "claims.yaml").write_text("a: [1")
    with pytest.raises(DataError, match="not YAML"):
        read_registration(tmp_path)
    (tmp_path / "claims.yaml").write_text("- a")
    with pytest.raises(DataError, match="write it as `key: value` lines"):
        read_registration(tmp_path)


def test_the_held_out_loads_are_not_among_the_problems_before_they_are_recorded(registered):
    held_out = [p for p in registered.problems if p.kind == "held_out"]
    steady = {p.load for p in held_out if not p.workload}
    assert steady == {100.0, 225.0, 50.2, 113.0}
    assert {p.testbed for p in held_out if p.workload} == {"mobilenet_v2-joint-279"}
    assert {p.kind for p in registered.present("/no/profiles")} == {"simulated"}
    assert {p.kind for p in registered.present_days("/no/profiles")} == {"simulated"}


def test_agents_of_c6_minimise_late_requests(registered):
    assert registered.claims["C6"].objective == "late"
    problems = [p for p in registered.problems if p.testbed == "keyword-threads"]
    scenario = SimpleNamespace(optimum=0.01234)
    scenarios = {(p.testbed, p.load): scenario for p in problems}
    found = claim_runs.late_settings(registered, problems, scenarios, 3, 3000)
    assert {s.load for s in found} == {450.0, 900.0, 1275.0}
    assert {s.agent for s in found} == set(registered.agents)
    assert {(s.objective, s.episodes, s.seeds) for s in found} == {("slo:0.0247", 100, 3)}


def test_only_the_claim_about_late_requests_reads_their_runs(registered):
    usual, late = pd.DataFrame({"kind": ["real"]}), pd.DataFrame({"kind": ["real", "real"]})
    tables = evidence(runs=usual, late=late)
    sizes = {id: len(tables_of(tables, "real", registered.claims[id]).runs) for id in ("C5", "C6")}
    assert sizes == {"C5": 1, "C6": 2}


def test_a_day_of_devices_is_a_problem_of_c7_and_c9(registered, rng):
    one = registered.days[0]
    base = np.full((SEEDS, 4), 0.2)
    served = {DEFAULT: base, KNOWING: base / 4, "rrl-gp": base / 2}
    found = {
        one.day._replace(agent=name, seeds=SEEDS): {"mean_s": mean} for name, mean in served.items()
    }
    facts, rows = claim_days.gather_days([one], found)
    (about,) = facts.to_dict("records")
    assert (about["kind"], about["workload"]) == ("held_out", "DeviceDay")
    assert about["simple_regret"] == pytest.approx(3)
    assert set(rows["agent"]) == {DEFAULT, "rrl-gp"}  # nobody knows the best beforehand
    for id in ("C7", "C9"):
        claim = registered.claims[id]
        tables = tables_of(evidence(facts=facts, served=rows), "held_out", claim)
        number = part_number(claim.parts[0], registered.rules, tables, "rrl-gp", rng)
        assert (number.value, number.met) == (pytest.approx(2), True)
