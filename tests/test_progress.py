"""What a run of the notebooks shows: which are done, which run, and the time left."""

from __future__ import annotations

from rrl.publishing import reproduce
from rrl.publishing.reproduce import Execution, expected_seconds, run_all, time_left
from rrl.publishing.tracing import Traffic


def test_a_run_is_expected_to_take_as_long_as_the_last_one(tmp_path):
    assert expected_seconds(tmp_path, "08_claims") == reproduce.EXPECTED["08_claims"]
    assert expected_seconds(tmp_path, "new") == reproduce.SHORT
    (tmp_path / "08_claims.json").write_text('{"seconds": 12.5}')
    assert expected_seconds(tmp_path, "08_claims") == 12.5


def test_two_at_a_time_take_half_as_long_and_the_longest_decides():
    assert time_left([], [], 2) == 0
    assert time_left([10.0] * 4, [], 2) == 20
    assert time_left([10.0] * 4, [], 1) == 40
    assert time_left([10.0], [50.0, 5.0], 2) == 50
    assert time_left([10.0], [50.0], 2) == 50


def test_an_overdue_run_is_never_thought_to_be_over(tmp_path):
    run = Execution(tmp_path / "1.ipynb", tmp_path / "out.ipynb", [], 40.0)
    assert run.left(slower=2.0) == 80  # it waits
    run.process = object()
    for seconds, left in ((10.0, 30.0), (32.0, 8.0), (40.0, 10.0), (400.0, 100.0)):
        run.seconds = seconds
        assert run.left(slower=1.0) == left


class FakeRun(Execution):
    """A run that ends when it is looked at for the second time, after 20 s."""

    def start(self):
        self.process, self.looks = self, 0

    def has_ended(self):
        self.looks, self.seconds = self.looks + 1, self.seconds + 10.0
        return self.looks == 2

    def result(self):
        return Traffic((), ())


def test_the_longest_begins_and_what_is_done_corrects_the_rest(tmp_path, monkeypatch):
    """All take twice as long as expected, so the last is expected to need 10 s, not 5 s."""
    monkeypatch.setattr(reproduce, "EACH_S", 0.0)
    lefts = []
    monkeypatch.setattr(reproduce, "time_left", lambda *args: lefts.append(args) or 1.0)
    runs = [FakeRun(tmp_path / n, tmp_path / n, [], s) for n, s in (("a", 5.0), ("b", 10.0))]
    ended = [run.notebook.name for run, _ in run_all(runs, 1)]
    assert ended == ["b", "a"]
    assert lefts[:2] == [([5.0], [2.5], 1), ([10.0], [], 1)]
