"""Stored results of sweeps: read, checked, replaced, and never taken for what they are not."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from rrl.rivals import agents
from rrl.studies import pieces, sweep_check, sweeps
from rrl.studies.settings import cross
from rrl.studies.sweep_store import Store, setting_name
from rrl.studies.sweeps import Sweep
from rrl.support.errors import DataError, UnstableError
from rrl.support.provenance import PACKAGE, without_words

DATA = Path(__file__).parent.parent / "data"
AGENTS = {"rrl-boltzmann": 7, "random": 3, "heuristic": 2}
SETTINGS = cross([("keyword-threads", 900.0), ("keyword-threads", 450.0)], AGENTS, 12)
REMEDY = "run `make sweeps`: stored results of sweeps are not of the present code or data"


def test_the_stored_sweeps_are_of_the_present_code_and_data():
    """Only digests are compared, so this is fast; `make reproduce` computes a share again."""
    sweep = Sweep((), data=DATA)
    assert sweep.store.index, "run `make sweeps`: no results of sweeps are stored"
    assert sweep_check.outdated(sweep) == [], REMEDY
    assert [name for name in sweep.store.index if not sweep.store.path(name).exists()] == [], REMEDY


@pytest.fixture(autouse=True)
def _this_machine(monkeypatch):
    for name in ("RRL_BACKEND", "RRL_SCHEDULER", "RRL_WORKERS", "RRL_SWEEPS", "RRL_PROGRESS_FILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A folder of data with the stored results of all settings."""
    place = tmp_path_factory.mktemp("stored")
    shutil.copytree(DATA / "keyword-threads", place / "data" / "keyword-threads")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RRL_SWEEPS", "store")
        sweep = Sweep(SETTINGS, data=place / "data", build=place / "build", workers=1)
        sweep.run(progress=False)
        sweep.truths(progress=False)
    return place


@pytest.fixture
def place(stored, tmp_path):
    """The same, for one test to change, with nothing under build."""
    shutil.copytree(stored / "data", tmp_path / "data")
    return tmp_path


def opened(place, settings=SETTINGS, **options):
    return Sweep(settings, data=place / "data", build=place / "build", workers=1, **options)


def computed(place):
    """How many pieces were computed."""
    return len(list((place / "build" / "sweeps").glob("*.npz")))


def rewrite(path: Path, change) -> None:
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    change(arrays)
    np.savez(path, **arrays)


def test_stored_results_are_what_would_be_computed_and_nothing_is(place, tmp_path):
    read = opened(place).run(progress=False)
    assert computed(place) == 0
    shutil.rmtree(place / "data" / "sweeps")
    anew = opened(place).run(progress=False)
    assert computed(place) == 2 * 4  # all: seven seeds are two pieces
    for setting in SETTINGS:
        assert np.array_equal(read[setting].chosen, anew[setting].chosen)
        assert np.array_equal(read[setting].recommended, anew[setting].recommended)
        assert read[setting].chosen.dtype == anew[setting].chosen.dtype


def test_more_seeds_or_costs_than_stored_are_computed(place):
    fewer = tuple(setting._replace(seeds=2) for setting in SETTINGS)
    assert opened(place, fewer).run(progress=False)[fewer[0]].chosen.shape == (2, 12)
    assert computed(place) == 0
    opened(place, [SETTINGS[0]._replace(seeds=9)]).run(progress=False)
    assert computed(place) == 2
    assert opened(place, [SETTINGS[1]], costs=True).run(progress=False)[SETTINGS[1]].costs.all()
    assert computed(place) == 3


def test_an_outdated_result_is_computed_and_said_and_the_others_are_read(
    place, monkeypatch, capsys
):
    monkeypatch.setitem(agents.SETTINGS, "random", {"budget": 5})
    late = sweep_check.outdated(opened(place))
    assert sorted(late) == sorted(setting_name(s) for s in SETTINGS if s.agent == "random")
    opened(place).run(progress=False)
    assert computed(place) == 2
    assert capsys.readouterr().out == "2 of 6 stored results are outdated and computed anew\n"
    folders = ["--data", str(place / "data"), "--build", str(place / "build")]
    assert sweep_check.main(["recompute", *folders]) == 0
    said = capsys.readouterr().out
    assert said.startswith("2 of 8 stored results of sweeps are outdated and will be computed")
    assert "`make sweeps` stores them" in said
    assert "recomputed 2 of 24 stored runs (one of each agent on each testbed)" in said


def of_the_share(sweep):
    """A stored run that is computed again."""
    return next(s for s in sweep_check.recomputed_share(sweep) if s.seed is not None)


def test_a_damaged_result_is_named(place, capsys):
    path = opened(place).store.path(of_the_share(opened(place)).result.name)
    whole = path.read_bytes()
    for damaged in (whole[:50], whole[:-30], b"", whole.replace(whole[90:100], b"x" * 10)):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=f"{path.name}: damaged .*run `make sweeps`"):
            opened(place).run(progress=False)
    folders = ["--data", str(place / "data"), "--build", str(place / "build")]
    assert sweep_check.main(["recompute", *folders]) == 3
    assert f"{path.name}: damaged" in capsys.readouterr().err
    path.unlink()
    with pytest.raises(DataError, match=path.name):
        opened(place).run(progress=False)


@pytest.mark.parametrize("name", ["chosen", "recommended"])
def test_a_result_that_differs_is_named_with_its_seed(name, place, capsys):
    sweep = opened(place)
    sample = of_the_share(sweep)

    def change(arrays):
        arrays[name][sample.seed, 5] += 1

    path = sweep.store.path(sample.result.name)
    rewrite(path, change)
    folders = ["--data", str(place / "data"), "--build", str(place / "build")]
    assert sweep_check.main(["recompute", *folders]) == UnstableError.code
    err = capsys.readouterr().err
    (line,) = (line for line in err.splitlines() if line.startswith("rrl:"))
    assert f"{path}, seed {sample.seed}: {name} differ" in line


def test_a_truth_that_differs_is_named(place, monkeypatch):
    monkeypatch.setattr(sweep_check, "TRUTHS", 1)
    sweep = opened(place)
    assert sweep_check.recompute(sweep, progress=False).endswith("2 of 2 stored truths: the same")
    name = next(name for name in sweep.store.index if "truth" in name)
    rewrite(sweep.store.path(name), lambda arrays: arrays["cost"].__setitem__(3, 1.0))
    with pytest.raises(UnstableError, match=r"truth-150-150.npz: cost differ"):
        sweep_check.recompute(opened(place), progress=False)


@pytest.mark.parametrize(("share", "same"), [(1e-15, True), (-1e-15, True), (1e-9, False)])
def test_a_truth_may_differ_by_rounding_and_by_no_more(share, same, place, monkeypatch):
    """As a processor without AVX-512 has it, where NumPy takes another exponential."""
    monkeypatch.setattr(sweep_check, "TRUTHS", 1)
    sweep = opened(place)
    name = next(name for name in sweep.store.index if "truth" in name)
    rewrite(sweep.store.path(name), lambda arrays: arrays.update(cost=arrays["cost"] * (1 + share)))
    expected = nullcontext() if same else pytest.raises(UnstableError, match="cost differ")
    with expected:
        sweep_check.recompute(opened(place), progress=False)


def test_the_share_has_one_run_of_each_agent_on_each_testbed(place):
    chosen = sweep_check.recomputed_share(opened(place))
    runs = [sample for sample in chosen if sample.seed is not None]
    assert sorted(sample.result.entry.what.agent for sample in runs) == sorted(AGENTS)
    assert {sample.result.entry.what for sample in runs} < set(SETTINGS)
    assert all(0 <= sample.seed < sample.result.entry.what.seeds for sample in runs)
    said = sweep_check.recompute(opened(place), progress=False)
    assert said.startswith(
        "recomputed 3 of 24 stored runs (one of each agent on each testbed) and "
    )
    assert computed(place) == len(chosen)


def test_nothing_stored_is_said_and_all_is_computed(place, capsys):
    shutil.rmtree(place / "data" / "sweeps")
    folders = ["--data", str(place / "data"), "--build", str(place / "build")]
    assert sweep_check.main(["recompute", *folders]) == 0
    assert capsys.readouterr().out.startswith("no results of sweeps are stored")
    assert sweep_check.main(["keep", *folders]) == 2


@pytest.mark.parametrize("text", ["{", "[]", '{"a": 1}', '{"a": [1]}', '{"a": [1, 2, 3]}', "\xff"])
def test_a_damaged_index_is_named(text, place):
    (place / "data" / "sweeps" / "index.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=r"index\.json"):
        opened(place).run(progress=False)


def test_storing_again_changes_no_file_and_keeps_what_is_wanted_only(place, monkeypatch, capsys):
    folder = place / "data" / "sweeps"
    monkeypatch.setenv("RRL_SWEEPS", "store")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.npz")}
    monkeypatch.setitem(agents.SETTINGS, "random", {"budget": 301})  # as good as 300 in 12 episodes
    sweep = opened(place, SETTINGS[:3])
    assert len(sweep_check.outdated(sweep)) == 2
    sweep.run(progress=False)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.npz")} == before
    assert len(sweep_check.outdated(opened(place))) == 1
    folders = ["--data", str(place / "data"), "--build", str(place / "build")]
    assert sweep_check.main(["keep", *folders]) == 0
    assert capsys.readouterr().out.startswith("3 results are stored, 0.0 MB, 5 older files removed")
    assert set(json.loads((folder / "index.json").read_text())) == {
        setting_name(setting) for setting in SETTINGS[:3]
    }
    assert len(list(folder.rglob("*.npz"))) == 3


def test_results_of_an_agent_that_is_gone_are_left_out(place, monkeypatch):
    before = sweep_check.wanted_now(opened(place, ()))
    monkeypatch.delitem(agents.HOME, "random")
    gone = set(before) - set(sweep_check.wanted_now(opened(place, ())))
    assert gone == {name for name in before if "random" in name} != set()


def test_equal_results_give_equal_files(tmp_path):
    arrays = {"b": np.arange(2000, dtype=np.int64), "a": np.linspace(0, 1, 9)}
    files = []
    for name in ("one", "two"):
        store = Store(tmp_path / name)
        store.write("x/y", arrays)
        files.append(store.path("x/y").read_bytes())
    assert files[0] == files[1]
    with zipfile.ZipFile(io.BytesIO(files[0])) as archive:
        assert archive.testzip() is None
        assert {one.compress_type for one in archive.infolist()} == {zipfile.ZIP_LZMA}
    read = store.read("x/y")
    assert read["b"].dtype == np.uint16
    assert all(np.array_equal(read[name], arrays[name]) for name in arrays)


def test_comments_and_docstrings_do_not_outdate_and_code_does(tmp_path, monkeypatch):
    source = (PACKAGE / "core" / "qtable.py").read_text(encoding="utf-8")
    code = without_words(source)
    assert '"""' not in code
    assert without_words(source.replace("\n\n", "\n\n# more\n\n")) == code
    assert without_words(source.replace('"""', '"""Another word. ', 1)) == code
    assert without_words(source.replace(" + ", " - ")) != code
    compile(without_words((PACKAGE / "studies" / "race.py").read_text()), "race", "exec")


def test_a_new_agent_outdates_no_other(monkeypatch):
    before = pieces.setting_digest(SETTINGS[0], str(DATA))
    monkeypatch.setitem(agents.HOME, "new", "rrl.core.rrl:RRL")
    assert pieces.setting_digest(SETTINGS[0], str(DATA)) == before
    monkeypatch.setitem(agents.SETTINGS, SETTINGS[0].agent, {"radius": 2.0})
    assert pieces.setting_digest(SETTINGS[0], str(DATA)) != before


def test_a_change_of_the_simulator_outdates_what_is_simulated_only(monkeypatch):
    simulated = SETTINGS[0]._replace(testbed="cpu2", load=115.0)

    def digests():
        pieces._code.cache_clear()
        truths = ("cpu2", 115.0), ("keyword-threads", 900.0)
        runs = [pieces.setting_digest(setting, str(DATA)) for setting in (simulated, SETTINGS[0])]
        return [*runs, *(pieces.truth_digest(*truth, 150, 150, str(DATA)) for truth in truths)]

    before, real = digests(), pieces.code_digest
    changed = PACKAGE / "simulation" / "queueing.py"
    monkeypatch.setattr(
        pieces, "code_digest", lambda files, root: real(files, root) + "?" * (changed in files)
    )
    assert [now == was for now, was in zip(digests(), before, strict=True)] == [False, True] * 2
    pieces._code.cache_clear()


def test_pieces_are_kept_apart_by_installed_versions(monkeypatch):
    sweep = Sweep(SETTINGS, data=DATA)
    before = sweep.result(SETTINGS[0])
    monkeypatch.setattr(sweeps, "versions", lambda packages: {"numpy": "0"})
    after = sweep.result(SETTINGS[0])
    assert before.entry == after.entry  # the stored results are those of the lock
    assert before.tasks[0].key != after.tasks[0].key
