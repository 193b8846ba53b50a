"""Every verdict of every claim follows from the registration and the tables, and can be had."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.stats import binomtest

from rrl import ConfigSpace, Knob
from rrl.studies import claim_page, claim_tables, other_half, registration
from rrl.studies.claim_tables import Evidence
from rrl.studies.claims import (
    USE,
    VERDICTS,
    by_problem,
    columns_table,
    judge_all,
    judge_claim,
    part_number,
    tables_of,
)
from rrl.studies.days import DEFAULT
from rrl.studies.other_half import FIXED, ORACLE, READER
from rrl.studies.registration import FAMILY, ClaimPart, content_digest, read_registration
from rrl.studies.settings import Setting
from rrl.support.errors import DataError

ROOT = Path(__file__).parent.parent
DATA = ROOT / "data"
SEEDS = 12
PROBLEMS = ("a 1/s", "b 2/s")
FACTS = {
    "configurations": 96, "good": 2, "possible": 5, "best_s": 0.04, "default_s": 1.0,
    "simple_regret": 1.0,
    "step": 0.2, "region": 0.5, "chance": 30.0, "seen": 1.0, "load": "high",
}  # fmt: skip
REACHED = {"first": 2.0, "mean_cost": 1.0, "deployed": 1.0, "latency_s": 0.04, "late": 0.0}


@lru_cache(maxsize=1)
def whole():
    return read_registration(DATA)


@lru_cache(maxsize=1)
def few():
    """The registration with fewer agents and problems: the claims are the same."""
    columns = {"paper": ("rrl", "rrl-adaptive"), "recommended": ("rrl-gp",)}
    columns |= {"rivals": ("q-learning", "zooming"), "simple": ("zooming",)}
    some = [p for p in whole().problems if isinstance(p.what, Setting)]
    some = [p for p in some if "keyword-threads" in p.testbed or p.kind == "held_out"]
    return replace(whole(), columns=columns, problems=tuple(some))


@pytest.fixture
def registered():
    return few()


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def facts(workloads=("",), **changes):
    rows = [
        {"problem": f"{name} {workload}".strip(), "half": half, "workload": workload}
        | {"kind": "real", "testbed": name[0]}
        | FACTS
        | {key: value[i] if isinstance(value, tuple) else value for key, value in changes.items()}
        for i, name in enumerate(PROBLEMS)
        for workload in workloads
        for half in (0, 1)
    ]
    return pd.DataFrame(rows)


def runs(table, agents, column_of_rest=None, **columns):
    """Rows of equal runs, but for a scatter of 1 %; a column maps agents to a number or a pair."""
    rows, rest = [], {"episodes": 300, "error": 0.0, "requests": 10_000} | (column_of_rest or {})
    scatter = np.linspace(0.99, 1.01, SEEDS)
    for about in table.itertuples():
        i = [name.split()[0] for name in PROBLEMS].index(about.testbed)
        for agent in agents:
            head = {name: getattr(about, name) for name in ("problem", "kind", "half", "workload")}
            given = {}
            for name, values in columns.items():
                value = values.get(agent, values["others"])
                value = value[i % len(value)] if isinstance(value, tuple) else value
                given[name] = value * (scatter if name != "late" else np.ones(SEEDS))
            frame = head | rest | given | {"agent": agent, "seed": np.arange(SEEDS)}
            rows.append(pd.DataFrame(frame))
    return pd.concat(rows, ignore_index=True)


def tables(**given):
    empty = {name: pd.DataFrame() for name in Evidence._fields}
    empty["recorded"] = pd.DataFrame(columns=["problem", "kind", "half", "workload", "episodes"])
    return Evidence(**(empty | given))


def steady(registered, table=None, **columns):
    table = facts() if table is None else table
    usual = {"first": 1.0, "mean_cost": 1.0, "deployed": 1.0, "latency_s": 1.0, "late": 0.5}
    whole = {name: {"others": value} for name, value in usual.items()} | columns
    for name, value in REACHED.items():
        whole[name] = {ORACLE: value, DEFAULT: usual[name]} | whole[name]
    rows = runs(table, (*registered.steady_agents, DEFAULT, ORACLE, READER), **whole)
    return tables(facts=table, runs=rows, late=rows)


def changing(registered, workloads, ours, table=None, oracle=0.2):
    table = facts(workloads) if table is None else table
    latency = {DEFAULT: 1.0, "rrl-gp": ours, ORACLE: oracle, FIXED: 0.25, "others": 1.1}
    agents = (*registered.agents, DEFAULT, ORACLE, READER, FIXED)
    return tables(facts=table, served=runs(table, agents, latency_s=latency))


def similar(copy, learned, mean, again):
    errors = {"copy": copy, "learned": learned, "mean": mean, "again": again}
    table = facts()
    head = table[["problem", "kind", "half", "workload"]]
    rows = [head.assign(estimator=name, error=error) for name, error in errors.items()]
    return tables(similarity=pd.concat(rows, ignore_index=True), facts=table)


def recorded(episodes, binary):
    row = {"problem": "p", "kind": "real", "half": 0, "workload": "", "episodes": episodes}
    rows = [row | {"binary": binary}] if episodes is not None else []
    return tables(recorded=pd.DataFrame(rows, columns=[*row, "binary"]))


@lru_cache(maxsize=1)
def made_up():
    """For each claim and verdict, tables that lead to it."""
    registered = few()

    def first(deployed=None, **values):
        values = {name.replace("_", "-"): value for name, value in values.items()}
        columns = {"first": {"others": 100.0} | values}
        if deployed:
            columns["deployed"] = {"others": 1.0} | deployed
        return steady(registered, **columns)

    def saved(column, value, **given):
        return steady(registered, **{column: {"others": value} | given})

    def priced(**values):
        values = {name.replace("_", "-"): value for name, value in values.items()}
        return steady(registered, mean_cost={"others": 1.5} | values)

    slow, wide = {"q_learning_for_speed": 40.0}, "rrl-wide"
    few_late = saved("late", 0.001)
    shown, partly, missed, untestable = VERDICTS
    cases = {
        ("C1", shown): similar(8.0, 8.0, 20.0, 12.0),
        ("C1", partly): similar(25.0, 8.0, 60.0, 5.0),
        ("C1", missed): similar(60.0, 8.0, 20.0, 5.0),
        ("C1", untestable): similar(60.0, 8.0, 20.0, 30.0),
        ("C2", shown): first(**slow, rrl_wide=10.0, deployed={wide: 1.2}),
        ("C2", missed): first(**slow, rrl_wide=60.0, deployed={wide: 0.9}),
        ("C2", untestable): tables(),
        ("C3", shown): priced(rrl_adaptive=1.2),
        ("C3", missed): priced(rrl_adaptive=1.8),
        ("C4", shown): first(rrl_gp=5.0),
        ("C4", partly): first(rrl_gp=50.0),
        ("C4", missed): first(rrl_gp=120.0),
        ("C4", untestable): first(
            rrl_gp=3.0, q_learning_for_speed=9.0, deep_q_network_for_speed=12.0
        ),
        ("C5", shown): saved("latency_s", 0.05),
        ("C5", partly): saved("latency_s", 0.4),
        ("C5", missed): saved("latency_s", 1.1),
        ("C6", shown): few_late._replace(runs=few_late.runs.assign(late=0.6)),  # tuned for the mean
        ("C6", partly): saved("late", 0.3),
        ("C6", missed): saved("late", 0.6),
        ("C6", untestable): saved("late", 0.0, **{DEFAULT: 0.01}),
        ("C8", shown): recorded(10, True),
        ("C8", partly): recorded(10, False),
        ("C8", missed): recorded(0, False),
        ("C8", untestable): recorded(None, False),
    }
    loads = registered.claims["C7"].workloads[:1]
    near = facts(loads, simple_regret=0.1)
    return cases | {
        ("C7", shown): changing(registered, loads, 0.5),
        ("C7", partly): changing(registered, loads, (0.5, 1.3)),
        ("C7", missed): changing(registered, loads, 1.3),
        ("C7", untestable): changing(registered, loads, 0.5, near),
    }


SHOWN, PARTLY, NOT_SHOWN, NOT_TESTABLE = VERDICTS


@pytest.mark.parametrize("id", [f"C{n}" for n in range(1, 9)])
def test_every_verdict_follows_from_tables(registered, rng, id):
    for word in [word for claim, word in made_up() if claim == id]:
        judged = judge_claim(id, registered, made_up()[id, word], rng)
        assert judged.verdict == word, judged.of(judged.claim.about)
    row = claim_page.claim_row(judged, registered)
    assert (row["verdict"], row["registration"]) == (word, registered.digest)
    if judged.claim.about:
        agents = {*registered.columns["paper"], *registered.columns["recommended"]}
        words = columns_table([judged]).set_index("agent")["verdict"]
        assert agents <= set(words[words != ""].index), "every agent has a verdict"
        assert set(words.index) & set(registered.columns["rivals"]), "and so has the best rival"


def test_a_use_has_numbers_and_no_verdict(registered, rng):
    loads = registered.claims["C9"].workloads
    judged = judge_claim("C9", registered, changing(registered, loads, 0.5), rng)
    assert judged.verdict == USE
    assert [number.value for number in judged.of("rrl-gp")] == pytest.approx([2, 2])


def join(*parts):
    return Evidence(*(pd.concat(rows, ignore_index=True) for rows in zip(*parts, strict=True)))


def only_half(given, half):
    return Evidence(*(rows[rows["half"] == half] if len(rows) else rows for rows in given))


@pytest.mark.parametrize(("id", "half"), [("C1", 0), ("C7", 1)])
def test_a_verdict_needs_both_halves_and_the_weaker_one_counts(registered, rng, id, half):
    cases = made_up()
    other = NOT_SHOWN if half else PARTLY
    both = join(only_half(cases[id, SHOWN], half), only_half(cases[id, other], 1 - half))
    assert judge_claim(id, registered, both, rng).verdict == other
    alone = judge_claim(id, registered, only_half(cases[id, SHOWN], 0), rng)
    assert alone.verdict == PARTLY, "the other half is not computed yet"


def test_a_kind_that_can_test_only_a_part_of_a_claim_leaves_the_verdict_to_others(registered, rng):
    """Nobody is ever within 5 % on the held-out problems: speed says nothing there, loss does."""
    held = made_up()["C2", SHOWN]
    held = Evidence(*(t.assign(kind="held_out") if len(t) else t for t in held))
    never = held._replace(runs=held.runs.assign(first=np.inf))
    alone = judge_claim("C2", registered, never, rng)
    about = "held_out", alone.claim.about, 0
    assert [part.testable for part in alone.numbers[about]] == [False, True]
    assert (alone.kind, alone.verdict) == ("held_out", PARTLY)
    both = judge_claim("C2", registered, join(never, made_up()["C2", SHOWN]), rng)
    assert (both.kind, both.verdict) == ("real", SHOWN)


def test_what_rests_on_results_that_were_known_says_when_the_rule_was_made(registered, rng):
    given = made_up()["C5", PARTLY]
    read = [{"date": "d", "reason": "r", "moved": "m", "digest": "x", "read": ["a"]}]
    known, new = (replace(registered, changes=tuple(log)) for log in (read, ()))
    said = [claim_page.claim_row(judge_claim("C5", one, given, rng), one) for one in (known, new)]
    assert [row["rule"] for row in said] == ["after results", "before results"]


# --- What can be reached, and what a problem can test ---------------------------------------------


def number(registered, id, given):
    """The number of `rrl-gp` for the first part of a claim, by the first half of recordings."""
    claim = registered.claims[id]
    own, rng = tables_of(given, "real", claim, 0), np.random.default_rng(0)
    return part_number(claim.parts[0], registered.rules, own, "rrl-gp", rng)


def test_agents_that_never_arrive_are_not_compared_and_one_that_does_gets_a_bound(registered):
    never = steady(registered, first={"others": np.inf})
    assert not number(registered, "C4", never).problems
    one = steady(registered, first={"others": np.inf, "rrl-gp": 10.0})
    assert number(registered, "C4", one).value == pytest.approx(301 / 10, rel=0.01)


def test_a_factor_is_one_of_medians_so_one_lost_run_decides_nothing(registered):
    given = made_up()["C4", SHOWN]
    lost = given.runs.copy()
    lost.loc[(lost["agent"] == "rrl-gp") & (lost["seed"] == 0), "first"] = np.inf
    whole, less = (number(registered, "C4", one) for one in (given, given._replace(runs=lost)))
    assert less.value == pytest.approx(whole.value, rel=0.01)


def test_the_interval_allows_for_other_recordings(registered):
    """Twice as fast on one testbed, and as fast on the other: two recordings are not many."""
    given = steady(registered, first={"others": 40.0, "rrl-gp": (20.0, 40.0)})
    found = number(registered, "C4", given)
    assert (found.low, found.high) == pytest.approx((1, 2), rel=0.02)


def test_a_default_near_the_best_can_test_no_saving(registered):
    """cpu10: its default is within 15 % of the best, so C5 to C7 say nothing there."""
    given = steady(registered, facts(simple_regret=(0.14, 0.16)))
    assert number(registered, "C5", given).problems == ("b 2/s",)


def test_the_limits_of_late_requests_hold_for_all_loads_together(registered):
    """By the way of Bonferroni: two limits of each of two loads."""
    given = steady(registered, late={"others": 0.05, DEFAULT: 0.2})
    found = number(registered, "C6", given._replace(late=given.late.assign(requests=400)))
    default, own = (binomtest(n, 400).proportion_ci(1 - 0.05 / 4) for n in (80, 20))
    assert (found.value, found.low) == pytest.approx((75, 100 * (1 - own.high / default.low)))


@pytest.mark.parametrize("whose", [DEFAULT, "rrl-gp"])
def test_an_uncertain_truth_widens_the_interval_of_a_reduction(registered, whose):
    sure = steady(registered, latency_s={"others": 0.2})
    error = np.where(sure.runs["agent"] == whose, 0.3, 0.0)
    unsure = sure._replace(runs=sure.runs.assign(error=error))
    one, other = (number(registered, "C5", given) for given in (sure, unsure))
    assert other.high - other.low > 5 * (one.high - one.low)
    assert one.value == pytest.approx(other.value)


def test_one_good_load_among_many_is_not_all_of_a_family(registered, rng):
    """A difference in 9 of 12 runs is one in 14: no verdict, and less so among many loads."""
    given = changing(registered, registered.claims["C7"].workloads, 1.0)
    served = given.served
    ours = (served["agent"] == "rrl-gp").to_numpy()
    served.loc[ours, "latency_s"] = np.where(served.loc[ours, "seed"] < 9, 0.99, 1.02)
    served.loc[served["agent"] == DEFAULT, "latency_s"] = 1.0
    assert judge_claim("C7", registered, given, rng).verdict == NOT_SHOWN


def test_a_load_of_many_must_be_surer_than_a_load_alone(registered, rng):
    """Each has a chance of 3 % to come from nothing: Holm makes it 6 % for two."""
    from scipy.stats import norm

    given = changing(registered, registered.claims["C7"].workloads[:1], 0.9)
    ours = given.served["agent"] == "rrl-gp"
    given.served.loc[ours, "error"] = np.log(1 / 0.9) / norm.isf(0.03 / 2)
    one = Evidence(*(t[t["problem"].str.startswith("a")] if "problem" in t else t for t in given))
    found = [judge_claim("C7", registered, rows, rng) for rows in (one, given)]
    assert [len(judged.of("rrl-gp")[0].problems) for judged in found] == [1, 2]
    assert [judged.verdict for judged in found] == [SHOWN, NOT_SHOWN]


def test_what_the_recording_cannot_tell_is_not_sure(registered, rng):
    """Its error is common to all seeds, so more seeds do not help: a factor of 2 is not enough."""
    given = changing(registered, registered.claims["C7"].workloads[:1], 0.5)
    found = []
    for error in (0.05, 0.5):
        served = given.served.copy()
        served.loc[served["agent"] == "rrl-gp", "error"] = error
        found.append(judge_claim("C7", registered, given._replace(served=served), rng))
    assert [one.verdict for one in found] == [SHOWN, NOT_SHOWN]
    widths = [np.log(one.of("rrl-gp")[0].high / one.of("rrl-gp")[0].low) for one in found]
    assert widths[1] == pytest.approx(2 * 1.96 * 0.5, rel=0.1)  # as if all loads erred together
    assert widths[0] < widths[1] / 5


def test_the_best_rival_is_looked_up_afterwards(registered, rng):
    given = steady(registered, latency_s={"others": 0.9, "zooming": 0.3})
    judged = judge_claim("C5", registered, given, rng)
    rivals = {agent for _, agent, _ in judged.numbers} & set(registered.columns["rivals"])
    assert rivals == {"q-learning", "zooming"}, "the first one, where no problem has a number"


# --- Tables and pages -----------------------------------------------------------------------------


def everything(registered):
    cases = made_up()
    served = changing(registered, ("Phases", "Bursts", "DeviceDay", "Fleet"), 0.5)
    return join(cases["C5", PARTLY], cases["C1", SHOWN]._replace(facts=pd.DataFrame()),
                cases["C8", PARTLY], served)  # fmt: skip


def test_the_page_has_all_numbers_of_both_halves(registered, rng, tmp_path):
    given = everything(registered)
    judged = judge_all(registered, given, rng)
    assert judged["C8"].verdict == PARTLY, "a count has no halves"
    claims = claim_page.write_claims(judged, given, registered, tmp_path)
    (of_c5,) = (claim for claim in claims if claim["id"] == "C5")
    assert (of_c5["asked"], of_c5["oracle"]) == ("above 88.9 %", ["96 %"] * 2)
    rows = json.loads((tmp_path / "claims.json").read_text())
    assert [row["id"] for row in rows] == [f"C{n}" for n in range(1, 10)]
    text = (tmp_path / "claims.md").read_text()
    assert registered.digest in text
    assert all(number in text for claim in claims for number in claim["measured"])
    assert all(f"**{claim['verdict']}**" in text for claim in claims)
    assert "| high | 25 / 25 | 60 / 60 |" in text, "what is saved of the default's latency"
    table = columns_table(judged.values())
    assert set(table["verdict"]) <= {*VERDICTS, USE, ""}
    assert set(table["half"]) == {0, 1}
    dots = by_problem(judged["C5"])
    assert len(dots[(dots["agent"] == "rrl-gp") & (dots["half"] == 1)]) == len(PROBLEMS)


def test_a_load_on_which_another_agent_is_better_is_named(registered):
    given = steady(registered, deployed={"others": 1.0, "rrl-gp": (1.2, 1.04), ORACLE: 0.1})
    lost = claim_page.lost_loads(given, "rrl-gp", "deployed")
    assert set(lost["problem"]) == {"a 1/s"}
    assert lost["half"].tolist() == [0, 1]
    assert lost["ratio"].tolist() == pytest.approx([1.2, 1.2])


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
    assert least <= other_half.design_effect(profile, 1.0, 0, 1.0) <= most


def test_tables_come_from_a_sweep(registered, tmp_path):
    from rrl.studies.sweeps import Sweep

    chosen = [p for p in registered.problems if p.testbed == "keyword-threads/1"]
    chosen = [p for p in chosen if p.what.load == 900.0 or p.workload == "Bursts"]
    columns = {"paper": ("rrl",), "recommended": ("rrl-gp",), "rivals": ("q-learning",)}
    three = replace(registered, columns=columns, claims={})
    settings = claim_tables.settings(three, chosen, 2, 4)
    sweep = Sweep(settings, data=DATA, build=tmp_path, costs=True, workers=1)
    scenarios, results, truths = sweep.scenarios(), sweep.run(), sweep.truths()
    own = {s: race for s, race in results.items() if isinstance(s.load, float)}
    table, about = claim_tables.steady_tables(three, chosen, own, truths, scenarios, 100)
    assert len(table) == (3 + 3) * 2, "three agents, the default, an oracle and a reader"
    oracle = table[table["agent"] == ORACLE]
    assert oracle["deployed"].tolist() == [1, 1]
    (regret,) = about["simple_regret"]
    assert oracle["mean_cost"].tolist() == pytest.approx([1 + regret / 4] * 2), "default, then best"
    assert table["late"].between(0, 1).all()
    assert table["requests"].between(25, 5000).all(), "600 or more, less their design effect"
    served, more = claim_tables.served_tables(three, chosen, results, scenarios, DATA)
    latency = served.groupby("agent")["latency_s"].mean()
    assert latency[ORACLE] <= latency.min()
    assert latency[ORACLE] <= latency[FIXED] <= latency[DEFAULT]
    both = pd.concat([about, more])
    assert (about["good"] <= about["possible"]).all()
    assert set(both["problem"]) == {"keyword-threads 900/s", "keyword-threads Bursts"}
    assert set(both["half"]) == {1}
    assert set(both["seen"]) == {1.0}, "no load of it was held out"
    errors = claim_tables.similarity_table(chosen, scenarios, 8, draws=2)
    assert errors["estimator"].tolist() == ["copy", "learned", "mean", "again"]


# --- The registration ----------------------------------------------------------------------------


def loaded(text):
    return yaml.load(text, yaml.CSafeLoader)


def edited(tmp_path, change, sealed=True):
    content = loaded((DATA / "claims.yaml").read_text())
    change(content)
    if sealed:
        entry = {"date": "d", "reason": "r", "moved": "m", "digest": content_digest(content)}
        content["changes"][-1:] = [entry] if content.get("changes") else []
    (tmp_path / "claims.yaml").write_text(yaml.dump(content, Dumper=yaml.CSafeDumper))
    return tmp_path


def test_a_change_needs_an_entry_with_its_reason(tmp_path):
    def lower(content):
        content["claims"]["C5"]["parts"][0]["above"] = 70

    with pytest.raises(DataError, match="`changes` does not say why; undo it, or add an entry"):
        read_registration(edited(tmp_path, lower, sealed=False))
    assert read_registration(edited(tmp_path, lower)).claims["C5"].parts[0].above == 70


@pytest.mark.parametrize(
    ("before", "after", "refused"),
    [("> limit", ">= limit", True), ("# beyond", "# past", False), ('"Word."', '"Words."', False)],
)
def test_the_seal_covers_the_code_that_judges_but_not_its_words(
    tmp_path, monkeypatch, before, after, refused
):
    code = 'def beyond(low, limit):  # beyond\n    "Word."\n    return low > limit\n'
    monkeypatch.setattr(registration, "JUDGES", (tmp_path / "judge.py",))
    (tmp_path / "judge.py").write_text(code)
    folder = edited(tmp_path, lambda content: None)
    (tmp_path / "judge.py").write_text(code.replace(before, after))
    if refused:
        with pytest.raises(DataError, match="the code that judges, changed"):
            read_registration(folder)
    else:
        read_registration(folder)


def test_the_log_only_grows():
    """Whatever stood in it in any commit of this history stands there still, in the same order."""

    def git(*words):
        return subprocess.run(("git", *words), cwd=ROOT, capture_output=True, text=True)

    found = git("log", "--reverse", "--format=%H", "--", "data/claims.yaml")
    if found.returncode or not found.stdout:
        pytest.skip("no history of git here")
    now = loaded((DATA / "claims.yaml").read_text())["changes"]
    for commit in found.stdout.split():
        content = loaded(git("show", f"{commit}:data/claims.yaml").stdout)
        places = []
        for entry in content.get("changes", ()):
            same = [i for i, one in enumerate(now) if entry.items() <= one.items()]
            assert same, f"{commit[:9]}: gone or changed: {entry['reason'][:60]}"
            places.append(same[0])
        assert places == sorted(places), f"{commit[:9]}: in another order"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["rules"].update(luck=1), "unexpected keyword argument 'luck'"),
        (lambda c: c["claims"]["C4"]["parts"][0].update(metric="joy"), "unknown metric 'joy'"),
        (lambda c: c["columns"]["rivals"].append("nobody"), "unknown agent 'nobody'"),
        (lambda c: c["changing"]["real"][0].update(loads=[["Flood"]]), "unknown workload"),
        (lambda c: c.update(changes=[]), "`changes` does not say why"),
    ],
)
def test_a_wrong_registration_gets_one_clear_line(tmp_path, change, message):
    with pytest.raises(DataError, match=message) as caught:
        read_registration(edited(tmp_path, change))
    assert "\n" not in str(caught.value)


def test_a_part_has_one_threshold_and_that_of_a_family_is_1():
    part = ClaimPart("speed", "median", "q-learning", 1, above=8)
    assert [part.beyond(low, 9, 8) for low in (7, 8.5)] == [False, True], "all of the interval"
    with pytest.raises(ValueError, match="either `above` or `below`"):
        ClaimPart("speed", "median", "q-learning", 1, above=8, below=1)
    with pytest.raises(ValueError, match="tests ratios against 1; give"):
        ClaimPart("served", FAMILY, "default", 1, above=2)


@pytest.mark.parametrize("text", [None, "a: [1"])
def test_a_file_that_is_none_is_refused(tmp_path, text):
    if text:
        (tmp_path / "claims.yaml").write_text(text)
    with pytest.raises(DataError, match="restore it"):
        read_registration(tmp_path)


def test_each_recording_is_registered_with_either_half_replayed():
    registered = whole()
    recordings = [p.what for p in registered.problems if p.kind != "simulated"]
    first, second = ([p for p in recordings if p.testbed.endswith("/1") == one] for one in (0, 1))
    assert [p._replace(testbed=f"{p.testbed}/1") for p in first] == second


def test_agents_of_c6_minimise_late_requests(registered):
    assert registered.claims["C6"].objective == "late"
    problems = [p for p in registered.problems if p.testbed == "keyword-threads"]
    scenario = SimpleNamespace(optimum=0.01234)
    scenarios = {p.what.problem: scenario for p in problems}
    found = claim_tables.late_settings(registered, problems, scenarios, 3, 3000)
    assert {s.load for s in found} == {450.0, 900.0, 1275.0}
    assert {s.agent for s in found} == set(registered.agents)
    assert {(s.objective, s.episodes, s.seeds) for s in found} == {("slo:0.0247", 100, 3)}


def test_a_recorded_day_is_judged_by_the_half_that_is_not_replayed(registered):
    from rrl.studies.days import Day, run_days
    from rrl.studies.registration import Problem

    rows = {}
    for half in ("", "/1"):
        day = Day(f"keyword-threads{half}", 900.0, DEFAULT, 2, 2000, 0.05, length_s=60.0)
        found = {day: run_days(day, range(2), str(DATA))}
        days = [Problem("real", day.problem)]
        served, _ = claim_tables.served_tables(registered, days, found, {}, DATA)
        rows[half] = served.set_index(["agent", "seed"])["latency_s"]
        assert (rows[half][ORACLE] <= rows[half][DEFAULT]).all()
    assert not np.allclose(rows[""][DEFAULT], rows["/1"][DEFAULT])
