"""The report of a run as a page for a browser, made of its journal and its result alone.

It needs no network and can be printed. A run that goes on writes it anew after each episode.
"""

from __future__ import annotations

import io
import math
import shlex
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rrl.core.knob import Configuration
from rrl.operating.journal import Record, read_journal
from rrl.operating.report import PAGE, RESULT, amount, in_ms
from rrl.support.errors import DataError
from rrl.support.files import read_json, write_atomically
from rrl.tuning.episode import Episode
from rrl.tuning.objective import FAILURE_S, MeanLatency, Percentile, charged_latency
from rrl.tuning.presets import CPUS, in_words
from rrl.tuning.slo import parse_objective

COLOURS = {"default": "#555555", "recommended": "#0072b2", "trial": "#d55e00"}
KNOWN = ("space", "distances", "journal", "what")
"""Settings that the page shows elsewhere, or not at all."""


def write_page(folder: Path) -> Path:
    """Write the page of the run in a folder, and return its path.

    Raises
    ------
    DataError
        If the folder has no journal, or a damaged one.
    """
    settings, records = read_journal(folder)
    result: dict[str, Any] = {}
    with suppress(FileNotFoundError):
        result = read_json(folder / RESULT)
    try:
        text = make_page(settings, records, result)
    except (LookupError, TypeError, ValueError) as error:  # of files that anybody may have written
        raise DataError(
            f"{folder}: its files are not those of a run of this version of rrl ({error!r})"
        ) from error
    write_atomically(folder / PAGE, text)
    return folder / PAGE


def make_page(settings: Record, records: Sequence[Record], result: Mapping[str, Any]) -> str:
    """Return the page of a run, whose result is empty as long as it is not finished."""
    import jinja2

    run = _Run(settings, records)
    if result and (result["episodes"], result["rounds"] + result["lost"]) != run.size:
        result = {}  # of the run before it was continued
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("rrl.operating", "."), autoescape=True, trim_blocks=True
    )
    columns, rows = run.table()
    return environment.get_template("page.html").render(
        settings=settings,
        state=result.get("verdict") or run.state,
        verdict=result.get("words") or [f"No verdict yet: {run.state}."],
        start=result.get("start"),
        flags=(result and shlex.join(result.get("flags", []))) or None,
        batching=result.get("batching"),
        figures=run.figures(),
        search=run.search(),
        columns=columns,
        rows=rows,
        failed=run.failed(),
        setting=[
            (name, in_words(value) if isinstance(value, dict) else value)
            for name, value in settings.items()
            if name not in KNOWN and value not in (None, {})
        ],
    )


class _Run:
    """What a journal says of a run, for people."""

    def __init__(self, settings: Record, records: Sequence[Record]) -> None:
        self.settings, self.default = settings, settings["default"]
        self.episodes = [one for one in records if "episode" in one]
        last = max((i for i, one in enumerate(records) if "episode" in one), default=-1)
        self.rounds = records[last + 1 :]
        cpus = [*settings["space"].get(CPUS, []), *filter(None, [self.default.get(CPUS)])]
        self.objective = parse_objective(settings["objective"], max(cpus, default=None))
        self.size = len(self.episodes), len(self.rounds)
        self.amount = partial(amount, self.objective)
        self.late_s = next((one["late_s"] for one in records[::-1] if one["late_s"]), None)
        self.best = (self.rounds or self.episodes or [settings | {"recommended": self.default}])[
            0 if self.rounds else -1
        ]["recommended"]

    @property
    def state(self) -> str:
        """How far the run is."""
        done = f"{len(self.episodes)} episodes"
        return f"{done} and {len(self.rounds)} rounds so far" if self.rounds else f"{done} so far"

    def answers(self, records: Sequence[Record], configuration: Configuration) -> list[Episode]:
        """Return the whole and valid episodes of a configuration."""
        found = [one for record in records for one in record["answers"] if "error" not in one]
        episodes = [_episode(one) for one in found if one["configuration"] == configuration]
        return [one for one in episodes if one.valid and "aborted" not in one.info]

    # --- figures ----------------------------------------------------------------------------------

    def figures(self) -> list[tuple[str, str, str, str]]:
        """Return the name, the title, the drawing and the caption of each figure."""
        if not self.episodes:
            return []
        late = f", and the limit of late requests, {in_ms(self.late_s)}" if self.late_s else ""
        whose = "comparison" if self.rounds else "search so far"
        return [
            (
                "costs",
                "Cost against episodes",
                _svg("costs", self._draw_costs),
                f"Cost ({self.objective}) of each episode of the search; the mean cost of the "
                "configuration that was the best known one after it; the mean cost of the default.",
            ),
            (
                "latencies",
                "Latency of the recommended configuration and of the default",
                _svg("latencies", self._draw_latencies),
                f"Share of the requests of the {whose} that took longer than a latency{late}. A "
                f"failed request counts as {FAILURE_S:g} s.",
            ),
        ]

    def _draw_costs(self, axes: Any) -> None:
        number = np.arange(1, len(self.episodes) + 1)
        latency = isinstance(self.objective, MeanLatency | Percentile)
        factor = 1e3 if latency else 1.0
        cost = factor * np.array([one["cost"] for one in self.episodes], dtype=float)
        ended = np.array([bool(one["ended"]) for one in self.episodes])
        own = np.array([one["configuration"] == self.default for one in self.episodes])
        for which, marker, colour, words in (
            (~own & ~ended, "o", COLOURS["trial"], "trial"),
            (ended, "x", COLOURS["trial"], "trial that ended early"),
            (own & ~ended, "s", COLOURS["default"], "default"),
        ):
            if which.any():
                axes.scatter(number[which], cost[which], s=16, c=colour, marker=marker, label=words)
        known = defaultdict(list)
        for one in self.episodes:
            if not one["ended"]:
                known[_name(one["configuration"])].append(factor * one["cost"])
        means = {name: float(np.mean(costs)) for name, costs in known.items()}
        best = [means.get(_name(one["recommended"]), math.nan) for one in self.episodes]
        axes.step(number, best, where="mid", color=COLOURS["recommended"], label="best known")
        if usual := means.get(_name(self.default)):
            axes.axhline(usual, color=COLOURS["default"], linestyle="--", label="mean of default")
        if np.nanmin(cost, initial=1.0) > 0:
            axes.set_yscale("log")
        axes.set(xlabel="episode", ylabel=f"{self.objective}{' (ms)' * latency}")
        axes.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))

    def _draw_latencies(self, axes: Any) -> None:
        for name, configuration, line in (
            ("default", self.default, "--"),
            ("recommended", self.best, "-"),
        ):
            found = self.answers(self.rounds or self.episodes, configuration)
            if found and (name == "default" or configuration != self.default):
                ms = 1e3 * np.concatenate([charged_latency(one) for one in found])
                axes.ecdf(ms, complementary=True, label=name, color=COLOURS[name], linestyle=line)
        if self.late_s:
            axes.axvline(1e3 * self.late_s, color="black", linestyle=":", label="limit")
        axes.set(xlabel="latency (ms)", ylabel="share that took longer")
        axes.set(xscale="log", yscale="log")
        axes.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))

    # --- words ------------------------------------------------------------------------------------

    def search(self) -> list[str]:
        """Say what the episodes of the search cost."""
        whole = [one["cost"] for one in self.episodes if not one["ended"]]
        if not whole:
            return []
        mean = float(np.mean(whole))
        lines = [
            f"The {len(whole)} whole episodes of the search cost {self.amount(mean)} in the mean."
        ]
        for name, configuration in (("default", self.default), ("recommended", self.best)):
            costs = [self.objective(one) for one in self.answers(self.rounds, configuration)]
            if costs and (name == "default" or configuration != self.default):
                usual = float(np.mean(costs))
                words = f"The {name} configuration cost {self.amount(usual)} in the comparison"
                more = f"; the search, {100 * (mean / usual - 1):+.0f} %" if usual > 0 else ""
                lines.append(f"{words}{more}.")
        if self.late_s:
            lines += [self._late(trial, self.late_s) for trial in (True, False)]
        return lines

    def _late(self, trial: bool, late_s: float) -> str:
        """Say how many requests were late or failed, in trials or with the default."""
        requests = bad = 0
        for record in (*self.episodes, *self.rounds):
            for one in record["answers"]:
                if (one["configuration"] != self.default) != trial:
                    continue
                if "error" in one:
                    requests, bad = requests + one["lost"], bad + one["lost"]
                    continue
                episode = _episode(one)
                latency, status = map(np.asarray, one["info"].get("others", ([], [])))
                requests += len(episode) + len(latency)
                bad += episode.bad(late_s)
                bad += int(np.count_nonzero((status != 0) | (latency > late_s)))
        who = "trials" if trial else "episodes of the default"
        return f"In {who}, {bad} of {requests} requests were late (over {in_ms(late_s)}) or failed."

    def table(self) -> tuple[list[str], list[list[tuple[float | str, str]]]]:
        """Return the columns and the rows: of each cell, the value to sort by and its text."""
        knobs = [*self.default]
        columns = ["episode", *knobs, "requests", "mean (ms)", "p99 (ms)", "late or failed"]
        columns += ["cost", "end", "best known afterwards"]
        return columns, [self._row(one, knobs) for one in self.episodes]

    def _row(self, record: Record, knobs: Sequence[str]) -> list[tuple[float | str, str]]:
        configuration = record["configuration"]
        found = [one for one in record["answers"] if one["configuration"] == configuration]
        last = found[-1]
        none = (math.inf, "")
        measured: list[tuple[float | str, str]] = [(0, "0"), none, none, none]
        if "error" not in last:
            episode = _episode(last)
            mean_ms = 1e3 * float(charged_latency(episode).mean())
            p99_ms = 1e3 * Percentile(99)(episode)
            bad = episode.bad(self.late_s or math.inf)
            measured = [(len(episode), str(len(episode))), (mean_ms, f"{mean_ms:.1f}")]
            measured += [(p99_ms, f"{p99_ms:.1f}"), (bad, str(bad))]
        return [
            (record["episode"] + 1, str(record["episode"] + 1)),
            *((configuration[name], str(configuration[name])) for name in knobs),
            *measured,
            none if record["cost"] is None else (record["cost"], self.amount(record["cost"])),
            (record["ended"], record["ended"]),
            (words := in_words(record["recommended"]), words),
        ]

    def failed(self) -> list[str]:
        """Say which episodes ended early, and which requests of whole ones failed."""
        lines = []
        for kind, records in (("episode", self.episodes), ("round", self.rounds)):
            for record in records:
                where = f"{kind} {record[kind] + 1}"
                lines += [
                    f"{where}: {words}" for words in filter(None, map(_wrong, record["answers"]))
                ]
        return lines


def _wrong(answer: Record) -> str:
    """Say what went wrong in an episode; empty if nothing did."""
    what = in_words(answer["configuration"])
    if "error" in answer:
        return f"{what}: {answer['error']}"
    episode = _episode(answer)
    if why := episode.info.get("aborted"):
        reason = "the budget allows no more late requests" if why == "budget" else (
            "too many late or failed requests"
        )  # fmt: skip
        return f"{what}: stopped after {len(episode)} requests: {reason}"
    if not episode.valid:
        return f"{what}: not valid, because the load generator was late; measured again"
    if count := int(episode.failed.sum()):
        return (
            f"{what}: {count} of {len(episode)} requests failed {episode.info.get('failure', '')}"
        )
    return ""


def _svg(name: str, draw: Callable[[Any], None]) -> str:
    """Return a drawing as a part of a page; its ids begin with a name, as a page has several."""
    import matplotlib
    from matplotlib.figure import Figure

    from rrl.plotting.shared import STYLE

    style: Any = {**STYLE, "svg.fonttype": "none", "font.size": 9, "svg.hashsalt": name}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(7.2, 3.2), layout="constrained")
        draw(figure.subplots())
        written = io.StringIO()
        figure.savefig(written, format="svg", metadata={"Date": None})
    text = written.getvalue()
    for begin in ('id="', "url(#", 'href="#'):
        text = text.replace(begin, f"{begin}{name}-")
    return text[text.index("<svg") :]


def _name(configuration: Configuration) -> str:
    return in_words(dict(sorted(configuration.items())))


def _episode(answer: Record) -> Episode:
    return Episode(**answer)
