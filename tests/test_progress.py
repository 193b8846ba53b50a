"""What a run of the notebooks shows: which are done, which run, and the time left."""

from __future__ import annotations

from rrl.publishing import reproduce
from rrl.publishing.reproduce import Execution, expected_seconds, run_all
from rrl.publishing.tracing import Traffic


def test_a_run_is_expected_to_take_as_long_as_the_last_one(tmp_path):
    assert expected_seconds(tmp_path, "08_claims") == reproduce.FIRST_S
    (tmp_path / "08_claims.json").write_text('{"seconds": 12.5}')
    assert expected_seconds(tmp_path, "08_claims") == 12.5


def test_an_overdue_run_is_never_thought_to_be_over(tmp_path):
    run = Execution(tmp_path / "1.ipynb", tmp_path / "out.ipynb", [], 40.0)
    for seconds, done in ((0.0, 0.0), (10.0, 10.0), (36.0, 36.0), (40.0, 36.0), (400.0, 36.0)):
        run.seconds = seconds
        assert run.done() == done


class FakeRun(Execution):
    """A run that ends when it is looked at for the second time, after 20 s."""

    def start(self):
        self.process, self.looks = self, 0

    def has_ended(self):
        self.looks, self.seconds = self.looks + 1, self.seconds + 10.0
        return self.looks == 2

    def result(self):
        return Traffic((), ())


def test_the_longest_begins_and_the_bar_grows_with_what_is_over(tmp_path, monkeypatch):
    monkeypatch.setattr(reproduce, "EACH_S", 0.0)
    shown = []

    class Bar:
        def __init__(self, *, total, **options):
            self.n, self.total = 0.0, total

        def __enter__(self):
            return self

        def __exit__(self, *error):
            assert self.n == self.total

        def write(self, text, file):
            pass

        def set_description_str(self, text):
            shown.append((self.n, text))

    monkeypatch.setattr("tqdm.tqdm", Bar)
    runs = [FakeRun(tmp_path / n, tmp_path / n, [], s) for n, s in (("a", 5.0), ("b", 10.0))]
    assert [run.notebook.name for run, _ in run_all(runs, 1)] == ["b", "a"]
    assert shown == [
        (9.0, "0 of 2 done, now b"),
        (10.0, "1 of 2 done, now ..."),
        (14.5, "1 of 2 done, now a"),
        (15.0, "2 of 2 done, now ..."),
    ]
