"""Stored results: read, checked, renewed, and never taken for what they are not."""

from __future__ import annotations

import json
import shutil
import zipfile
from contextlib import nullcontext, suppress
from pathlib import Path

import joblib
import numpy as np
import psutil
import pytest

from rrl.rivals import agents
from rrl.studies import behaviour, results, sweep_store, sweeps
from rrl.studies.days import Day
from rrl.studies.problems import with_truth
from rrl.studies.race import race
from rrl.studies.settings import Setting, cross
from rrl.studies.sweep_store import Store, read_arrays, result_name, write_arrays
from rrl.studies.sweeps import Sweep
from rrl.support.errors import DataError, UnstableError, UsageError
from rrl.support.provenance import Version, known

AGENTS = {"rrl": 7, "random": 3, "heuristic": 2}
SETTINGS = cross([("keyword-threads", 900.0), ("keyword-threads", 450.0)], AGENTS, 12)


def test_no_behaviour_has_changed_under_its_version():
    changed = behaviour.changed()
    assert not changed, f"{', '.join(changed)} changed; if you meant this, run `make versions`"
    assert set(known()) == set(behaviour.behaviours())


def test_all_stored_results_are_of_the_present_versions():
    sweep = Sweep(())
    late = results.outdated(sweep)
    assert not late, f"{len(late)} of other versions, such as {next(iter(late))}: `make results`"


@pytest.fixture(autouse=True)
def _this_machine(monkeypatch):
    monkeypatch.delenv("RRL_RESULTS", raising=False)
    monkeypatch.setenv("RRL_WORKERS", "1")  # a process more would import all again


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A folder of data with the stored results of all settings."""
    place = tmp_path_factory.mktemp("stored")
    shutil.copytree("data/keyword-threads", place / "data" / "keyword-threads")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RRL_RESULTS", "store")
        sweep = Sweep(SETTINGS, data=place / "data", build=place / "build", workers=1)
        sweep.run()
        sweep.scenarios()
    return place


@pytest.fixture
def place(stored, tmp_path, monkeypatch):
    """The same for one test to change, with nothing under build."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(stored / "data", tmp_path / "data")
    return tmp_path


def opened(place, settings=SETTINGS, **options):
    return Sweep(settings, data=place / "data", build=place / "build", workers=1, **options)


def computed(place):
    """How many pieces were computed."""
    return len(list((place / "build").rglob("*.npz")))


def rewrite(path: Path, change) -> None:
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    change(arrays)
    np.savez(path, **arrays)


def test_what_is_stored_is_what_would_be_computed_and_only_what_is_not_is(place):
    fewer = [setting._replace(seeds=2) for setting in SETTINGS]
    stored = opened(place, fewer).run()[fewer[0]]
    assert computed(place) == 0
    more = SETTINGS[0]._replace(seeds=9)
    anew = opened(place, [more]).run()[more]
    assert computed(place) == 2
    assert np.array_equal(stored.chosen, anew.chosen[:2])
    assert np.array_equal(stored.recommended, anew.recommended[:2])
    assert stored.chosen.dtype == anew.chosen.dtype
    assert opened(place, [SETTINGS[1]], costs=True).run()[SETTINGS[1]].costs.all()
    assert computed(place) == 3


def test_settings_whose_names_are_equal_are_told_apart(place, monkeypatch):
    """A name has six digits of a number."""
    loads = [("Bursts", (450.0, rate), (9.0, 1.0)) for rate in (900.0, 900.0000001)]
    one, other = (Setting("keyword-threads", load, "heuristic", 1, 12) for load in loads)
    assert result_name(one) == result_name(other)
    for setting, pieces in ((one, 2), (other, 4)):
        monkeypatch.setenv("RRL_RESULTS", "store")
        opened(place, [setting]).run()
        opened(place, [setting]).scenarios()
        assert computed(place) == pieces, "a race and a truth of each"


@pytest.fixture
def changed_random(monkeypatch):
    """The agent `random` as it is after a change: it has another digest."""
    digests = behaviour.digests() | {"agent random": "0123456789ab"}
    monkeypatch.setattr(behaviour, "digests", lambda: digests)


def test_a_result_of_another_behaviour_is_computed_and_said(place, changed_random, capsys):
    late = results.outdated(opened(place))
    assert set(late) == {result_name(s) for s in SETTINGS if s.agent == "random"}
    assert set(late.values()) == {("agent random 0123456789ab",)}
    opened(place).run()
    assert computed(place) == 2
    said = capsys.readouterr().out
    assert said.startswith("2 of 6 results are stored for other versions, ")


@pytest.fixture
def read(place):
    """The only result of the agent `random` that a notebook reads, by the manifest of figures."""
    name = next(result_name(s) for s in SETTINGS if s.agent == "random")
    made = {"speed.png": "09", "speed.csv": "09", "pareto.csv": "09", "other.png": "10"}
    files = {f"figures/{file}": {"notebook": notebook} for file, notebook in made.items()}
    notebooks = {"09": {"read": {}, "results": [name]}, "10": {"read": {}}}
    (place / "figures").mkdir()
    text = json.dumps({"files": files, "notebooks": notebooks})
    (place / "figures" / "manifest.json").write_text(text)
    return name


@pytest.mark.usefixtures("read", "changed_random")
def test_nothing_is_drawn_from_results_of_another_behaviour(place, capsys):
    with pytest.raises(UnstableError, match=r"nothing is drawn; `make versions`, then `make res"):
        results.check(opened(place))
    said = capsys.readouterr().out
    assert "agent random 0123456789ab: 2 stored results" in said
    assert "figures and tables that rest on them: pareto, speed\n" in said
    assert "other" not in said
    with pytest.raises(UsageError, match="agent random: no versions yet; `make versions`"):
        results.renew(opened(place))
    for words in (["verify"], ["verify", "--all"]):  # they are no sample, either
        assert results.main(words) == UnstableError.code
        assert "2 of 8 stored results are of other versions or missing" in capsys.readouterr().err
    assert computed(place) == 0


def test_a_new_version_is_given_once_and_its_results_are_renewed(
    place, read, monkeypatch, tmp_path
):
    monkeypatch.setenv("RRL_RESULTS", "store")
    opened(place, [s for s in SETTINGS if result_name(s) == read], costs=True).run()
    path = tmp_path / "versions.json"
    number = known()["agent random"].number
    old = known() | {"agent random": Version(number, "of-before")}
    path.write_text(json.dumps({name: list(version) for name, version in old.items()}))
    monkeypatch.setattr(behaviour, "known", lambda: known(path))
    monkeypatch.setattr(behaviour, "PATH", path)
    assert behaviour.accept() == [f"agent random: version {number + 1}"]
    with pytest.raises(UsageError, match="no behaviour has changed"):
        behaviour.accept()
    assert len(results.outdated(opened(place))) == 2
    before = {file: file.read_bytes() for file in (place / "data").rglob("*.npz")}
    assert results.renew(opened(place)) == "1 results computed, 1 removed"
    after = [*(place / "data").rglob("*.npz")]
    assert place / "data" / "results" / f"{read}.npz" in after
    assert len(after) == len(before) - 1, "no notebook reads the other"
    assert all(file.read_bytes() == before[file] for file in after), "the arrays are the same"
    assert results.outdated(opened(place)) == {}


def of_the_share(sweep):
    """A stored run that is computed again: its path, and its seed."""
    share = results.sample_of(sweep, "", 99)
    name, what = next(one for one in share if isinstance(one[1], Setting))
    return sweep.store.path(name), what.first_seed


def test_a_damaged_result_is_named(place, capsys):
    path, _ = of_the_share(opened(place))
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(DataError, match=f"{path.name}: damaged .*or remove it") as kept:
        opened(place).run()
    assert str(path) not in {file.path for file in psutil.Process().open_files()}, kept
    assert results.main(["verify"]) == 3
    assert f"{path.name}: damaged" in capsys.readouterr().err
    path.unlink()
    assert set(results.outdated(opened(place)).values()) == {("is not stored",)}
    for words in (["check"], ["verify"], ["verify", "--all"]):
        assert results.main(words) == UnstableError.code
        said = capsys.readouterr()
        assert "is not stored: 1 stored results, such as keyword" in said.out
        assert "1 of 8 stored results are of other versions or missing" in said.err
    opened(place).run()
    assert computed(place) > 0


def test_whatever_byte_of_a_piece_is_damaged_it_is_the_error_of_a_file(tmp_path):
    path, whole_still = tmp_path / "piece.npz", 0
    write_arrays(path, {"a": np.random.default_rng(0).random(40)})
    data = path.read_bytes()
    for i, byte in enumerate(data):
        path.write_bytes(data[:i] + bytes([byte ^ 255]) + data[i + 1 :])
        with suppress(DataError):
            read_arrays(path)
            whole_still += 1  # nobody reads the date, for example
    assert whole_still < len(data) / 4


def test_a_result_that_differs_is_named_with_its_seed(place, capsys):
    path, seed = of_the_share(opened(place))

    def change(arrays):
        arrays["recommended"][seed, 5] += 1

    rewrite(path, change)
    assert results.main(["verify", "--all"]) == UnstableError.code
    err = capsys.readouterr().err
    (line,) = (line for line in err.splitlines() if line.startswith("rrl:"))
    first = seed - seed % sweeps.SEEDS_PER_PIECE
    assert f"{path}, seeds {first} to" in line
    assert ": recommended differ" in line


@pytest.mark.parametrize(("fraction", "same"), [(1e-15, True), (1e-9, False)])
def test_a_truth_may_differ_by_rounding_and_by_no_more(fraction, same, place, monkeypatch):
    """As a processor without AVX-512 has it, where NumPy takes another exponential."""
    sweep = opened(place)
    name = next(name for name in sweep.store.index if "truth" in name)
    rewrite(
        sweep.store.path(name), lambda arrays: arrays.update(cost=arrays["cost"] * (1 + fraction))
    )
    expected = nullcontext() if same else pytest.raises(UnstableError, match="cost differ")
    with expected:
        results.verify(opened(place))


def test_each_commit_has_another_sample_and_all_is_possible(place):
    one, other = (results.sample_of(opened(place), salt, 4) for salt in ("a", "b"))
    assert len(one) == len(other) == 4
    assert one != other
    assert results.sample_of(opened(place), "a", 4) == one
    many = [one for salt in "abcdefghi" for one in results.sample_of(opened(place), salt, 4)]
    seeds = {what.first_seed for _, what in many if isinstance(what, Setting)}
    assert any(seed % sweeps.SEEDS_PER_PIECE for seed in seeds), "any seed may be in a sample"
    opened(place).compute(SETTINGS)  # the results were stored from these pieces: they say nothing
    pieces = computed(place)
    for _ in range(2):
        said = results.verify(opened(place), None)
        assert said.startswith("computed again: 8 of 8 stored results, ")
        assert computed(place) == 2 * pieces + 2, "two truths; the second check goes on"


@pytest.mark.parametrize("given", ["0", "-1", "two", "1.5"])
def test_a_number_of_processes_that_cannot_be_is_named(given, monkeypatch, capsys):
    monkeypatch.setenv("RRL_WORKERS", given)
    assert results.main(["check"]) == 2
    assert f"RRL_WORKERS is '{given}'; give a whole number from 1" in capsys.readouterr().err


def test_nothing_stored_is_said_and_all_is_computed(place, capsys):
    shutil.rmtree(place / "data" / "results")
    for words in (["check"], ["verify"], ["verify", "--all"]):
        assert results.main(words) == 0
        assert capsys.readouterr().out.startswith("no results are stored")
    opened(place).run()
    assert computed(place) == 2 * 4, "seven seeds are two pieces"


@pytest.mark.parametrize("text", ["{", '{"a": [1]}', "\xff"])
def test_a_damaged_index_is_named(text, tmp_path):
    (tmp_path / "index.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=r"index\.json"):
        Store(tmp_path)


def test_results_of_an_agent_or_a_recording_that_is_gone_are_told_and_removed(place, monkeypatch):
    monkeypatch.delitem(agents.HOME, "random")
    late = results.outdated(opened(place, ()))
    assert set(late) == {result_name(s) for s in SETTINGS if s.agent == "random"}
    monkeypatch.setattr(results, "changed", dict)
    assert results.renew(opened(place, ())) == "0 results computed, 2 removed"
    assert results.outdated(opened(place, ())) == {}
    shutil.rmtree(place / "data" / "keyword-threads")
    assert results.renew(opened(place, ())).startswith("0 results computed, 6 removed")
    assert results.outdated(opened(place, ())) == {}


def test_what_another_process_entered_stays_in_the_index(tmp_path):
    one, other = Store(tmp_path), Store(tmp_path)
    one.enter({"a": (SETTINGS[0], ("x",))})
    other.enter({"b": (SETTINGS[1], ("x",))})
    one.enter({}, gone=["a"])
    assert set(Store(tmp_path).index) == {"b"}


def test_equal_results_give_equal_files(tmp_path):
    arrays = {"b": np.arange(2000, dtype=np.int64), "a": np.linspace(0, 1, 9)}
    one, other = tmp_path / "one.npz", tmp_path / "new" / "other.npz"
    for path in (one, other):
        write_arrays(path, arrays)
    assert one.read_bytes() == other.read_bytes()
    with zipfile.ZipFile(one) as archive:
        assert {part.compress_type for part in archive.infolist()} == {zipfile.ZIP_LZMA}
    with np.load(one) as kept:
        assert kept["b"].dtype == np.uint16
    read = read_arrays(one)
    assert read["b"].dtype == np.int32, "sums of small numbers overflow"
    assert all(np.array_equal(read[name], arrays[name]) for name in arrays)


# --- The sweep that computes them -----------------------------------------------------------------

TWO = SETTINGS[:2]  # agents on one problem


def test_a_sweep_is_the_races_it_consists_of(place):
    told, whole = (opened(place, TWO, costs=costs).run()[TWO[0]] for costs in (True, False))
    straight = race(with_truth("keyword-threads", 900.0), agents.AGENTS["rrl"], range(7), 12)
    for runs in (told, whole):
        assert np.array_equal(runs.chosen, straight.chosen)
        assert np.array_equal(runs.recommended, straight.recommended)
    assert np.array_equal(told.costs, straight.costs.astype(np.float32))
    assert whole.costs is None
    (later,) = opened(place, [TWO[0]._replace(first_seed=4, seeds=2)]).run().values()
    assert np.array_equal(later.chosen, straight.chosen[4:6])


@pytest.mark.long
def test_a_dask_cluster_gives_what_one_worker_gives(place):
    distributed = pytest.importorskip("distributed", reason="dask[distributed] is not installed")
    alone = opened(place, TWO).run()
    options = {"threads_per_worker": 1, "dashboard_address": None, "silence_logs": 50}
    with (
        distributed.Client(n_workers=2, **options),
        joblib.parallel_config(backend="dask"),
    ):
        found = opened(place, TWO, costs=True).run()
    assert list(found) == list(alone)
    for setting, runs in found.items():
        for name in ("chosen", "recommended"):
            assert np.array_equal(getattr(runs, name), getattr(alone[setting], name))


def keys(data="data"):
    sweep = Sweep(TWO, data=data, build="unused")
    return [task.file for task in sweep.tasks(TWO[0])]


def test_a_change_of_data_code_or_versions_is_a_new_piece(tmp_path, monkeypatch):
    before = keys()
    assert keys() == before
    shutil.copytree("data/keyword-threads", tmp_path / "keyword-threads")
    assert keys(tmp_path) == before
    episodes = tmp_path / "keyword-threads" / "episodes.csv"
    lines = episodes.read_text().splitlines(keepends=True)
    episodes.write_text("".join(lines[:-1]))
    assert not set(keys(tmp_path)) & set(before)
    for module, name, value in (
        (sweep_store, "versioned", "other"),
        (sweep_store, "locked", {"numpy": ["0"]}),
        (sweeps, "installed", {"numpy": "0"}),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, lambda *_, value=value: value)
            assert not set(keys()) & set(before)


DAY = Day("keyword-threads", 60.0, "q-learning", 2, 60, 0.05, length_s=48.0)


@pytest.mark.parametrize(
    ("what", "change", "words"),
    [
        (TWO[0], {"agent": "rll"}, "unknown agent 'rll': use one of"),
        (TWO[0], {"load": ("Posson", 1.0)}, "unknown workload"),
        (TWO[0], {"load": ("Bursts", 1.0)}, "workload \\('Bursts', 1.0\\)"),
        (TWO[0], {"seeds": 0}, "at least 1 seed"),
        (TWO[0], {"objective": "p99,9"}, "unknown objective"),
        (DAY, {"agent": "nobody"}, "unknown agent 'nobody'"),
        (DAY, {"neighbour": (2.0, 1.0, 1.0)}, "fraction 2.0"),
        (DAY, {"neighbour": (0.5, 1.0, 1.0)}, "cannot have a neighbour"),
        (DAY, {"seeds": 0}, "needs a seed"),
        (DAY, {"length_s": 1.0}, "two episodes"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_runs(what, change, words):
    with pytest.raises(ValueError, match=words) as caught:
        Sweep([what._replace(**change)])
    assert "\n" not in str(caught.value)
