"""The page of a run, as somebody sees it who opens it in a browser or prints it."""

from __future__ import annotations

import json

import pytest
from test_cli import REPLAY, SLO_REPLAY
from test_operate import operate
from test_operator import NARROW, Service, job

from rrl.cli import main
from rrl.operating.journal import JOURNAL
from rrl.operating.page import write_page
from rrl.operating.report import PAGE, RESULT
from rrl.support.errors import ServerError

SECTIONS = ["verdict", "start", "costs", "latencies", "search", "trials", "failed", "setting"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished run."""
    out = tmp_path_factory.mktemp("run")
    words = [*SLO_REPLAY, "--episodes", "12", "--rounds", "8", "--out", str(out)]
    assert main(words) in (0, 5)
    return out


def opened(tab, folder):
    """The page in a tab, which has no error and asks for nothing."""
    errors = []
    tab.on("pageerror", lambda error: errors.append(error))
    tab.on("dialog", lambda dialog: (errors.append(dialog.message), dialog.dismiss()))
    tab.goto((folder / PAGE).as_uri())
    assert (errors, tab.elsewhere) == ([], [])
    return errors


def test_the_page_says_all_in_order_draws_and_prints(tab, folder):
    opened(tab, folder)
    assert tab.evaluate("[...document.querySelectorAll('section')].map(s => s.id)") == SECTIONS
    result = json.loads((folder / RESULT).read_text())
    shown = tab.locator("#verdict").inner_text()
    assert all(line.strip() in shown for line in result["words"])
    assert "--tensorflow_" in tab.locator("#start pre").first.inner_text() or not result["flags"]
    for name, words in (("costs", "mean of default"), ("latencies", "share that took longer")):
        drawing = tab.locator(f"#{name} svg")
        box = drawing.bounding_box()
        assert box["width"] > 300
        assert box["height"] > 100
        assert words in drawing.text_content()
    assert "rrl replay cpu2" in tab.locator("#setting").inner_text()
    assert tab.pdf(format="A4").startswith(b"%PDF")


def test_the_table_sorts_by_numbers_and_by_words(tab, folder):
    opened(tab, folder)
    header = tab.locator("th").all_inner_texts()

    def column(name):
        place = header.index(name) + 1
        return tab.locator(f"tbody td:nth-child({place})").evaluate_all(
            "cells => cells.map(cell => cell.dataset.value)"
        )

    costs = sorted(map(float, column("cost")))
    for name, ordered in (("cost", costs), ("cost", costs[::-1])):
        tab.get_by_role("button", name=name, exact=True).click()
        assert list(map(float, column(name))) == ordered
    assert tab.locator("th[aria-sort]").count() == 1
    tab.get_by_role("button", name="best known afterwards").click()
    words = column("best known afterwards")
    assert words == sorted(words)


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_is_not_too_wide(width, tab, folder):
    tab.set_viewport_size({"width": width, "height": 900})
    opened(tab, folder)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


EVIL = "<script>alert(1)</script><b>$x$</b>"


class Evil(Service):
    """A service whose words are a program."""

    def measure(self, configuration, arrivals, rng, *, watch=None):
        if configuration["threads"] == 2:
            raise ServerError(EVIL)
        return super().measure(configuration, arrivals, rng, watch=watch)


def test_what_a_server_says_is_text_and_an_unfinished_run_has_a_page(tab, tmp_path):
    mine = job(space=NARROW, rounds=2, episodes=4)
    operate(mine, Evil(), tmp_path)
    write_page(tmp_path)
    assert opened(tab, tmp_path) == []
    assert EVIL in tab.locator("#failed").inner_text()
    assert "4 episodes and" in tab.locator("h1").inner_text()


def test_the_same_page_is_made_again_and_only_of_a_run(folder, tmp_path, capsys):
    before = (folder / PAGE).read_bytes()
    (folder / PAGE).unlink()
    assert main(["report", str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder / PAGE}\n"
    assert (folder / PAGE).read_bytes() == before
    assert main(["report", str(tmp_path)]) == 3
    assert f"{tmp_path}: no {JOURNAL} there" in capsys.readouterr().err
    (tmp_path / JOURNAL).write_text('{"journal":14}\n{"episode":0}\n')
    assert main(["report", str(tmp_path)]) == 3
    assert "not those of a run of this version" in capsys.readouterr().err


@pytest.mark.parametrize("objective", ["mean", "slo:0.05"])
def test_a_run_without_an_slo_has_a_page(objective, tmp_path):
    words = [*REPLAY, "--rate", "115", "--objective", objective, "--out", str(tmp_path)]
    assert main(words) in (0, 5)
    assert objective in (tmp_path / PAGE).read_text()


def test_a_result_of_fewer_episodes_than_the_journal_has_is_not_shown(tmp_path):
    words = [*SLO_REPLAY, "--out", str(tmp_path), "--episodes"]
    assert main([*words, "3"]) in (0, 5)
    assert "No verdict yet" not in (tmp_path / PAGE).read_text()
    old = (tmp_path / RESULT).read_bytes()
    assert main([*words, "4"]) in (0, 5)
    (tmp_path / RESULT).write_bytes(old)
    write_page(tmp_path)
    assert "No verdict yet: 4 episodes" in (tmp_path / PAGE).read_text()
