"""Look into a learning agent: its table, its next choice, and how sure the table is.

:class:`Explorer` is an agent that tunes a server. Its settings may change between episodes.
:func:`look` collects the state of the agent, and :func:`rrl.plotting.explorer.draw_view` draws it.
:class:`Panel` puts sliders and buttons around the picture, for JupyterLab. Where widgets cannot run
(a page, a viewer, an unattended run), a panel shows only its picture.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import ipywidgets
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from rrl.core.exploration import Boltzmann, action_probabilities
from rrl.core.region import FixedRadius
from rrl.core.rrl import RRL
from rrl.core.similarity import Copy, Similarity
from rrl.extension.learned_similarity import LearnedSimilarity
from rrl.plotting.explorer import View, draw_view
from rrl.plotting.shared import label
from rrl.tuning.episode import Server
from rrl.tuning.objective import MeanLatency
from rrl.workloads.workload import Poisson

#: The similarities to choose from, each with the learning rate that fits it.
SIMILARITIES: dict[str, tuple[Callable[[], Similarity], float]] = {
    "copy": (Copy, 0.3),
    "learned": (LearnedSimilarity, 1.0),  # each estimate is made of all measurements
}
WIDEST = 4.0  # end of the radius slider, if the grid is that large


class Explorer:
    """The paper's agent tunes a server, with settings that may change between episodes.

    The agent is :class:`rrl.core.rrl.RRL` with its default parts. It is told the load that is set
    here, and each load has its own table. In :func:`rrl.tune` the load has to be estimated.

    Parameters
    ----------
    server : Server
        A server with two or three knobs. The first knob changes down a panel, the last knob across
        it, and a middle knob from panel to panel.
    loads : sequence of float
        The loads to choose from, in requests per second.
    rng : numpy.random.Generator
        Random generator for the arrivals, the server and the agent.
    requests : int, optional
        Number of requests per episode.
    truth : mapping of float to array_like, optional
        For each load, the true cost of each configuration in seconds, where it is known.

    Raises
    ------
    ValueError
        If the server has another number of knobs, or if there is no load.

    Examples
    --------
    >>> from rrl import testbed
    >>> explorer = Explorer(testbed("cpu2"), [100.0], np.random.default_rng(1))
    >>> explorer.radius = 2.0
    >>> explorer.step(10)
    >>> len(explorer.costs), look(explorer).probability.sum().round(6)
    (10, np.float64(1.0))
    """

    def __init__(
        self,
        server: Server,
        loads: Sequence[float],
        rng: np.random.Generator,
        *,
        requests: int = 100,
        truth: Mapping[float, ArrayLike] | None = None,
    ) -> None:
        if len(server.space.knobs) not in (2, 3):
            raise ValueError(f"{server.space} must have 2 or 3 knobs to be drawn")
        if not len(loads):
            raise ValueError("give at least one load in requests per second")
        self.server, self.loads, self.requests = server, tuple(loads), requests
        self.truth = {load: np.asarray(cost) for load, cost in (truth or {}).items()}
        self.load, self.similarity = self.loads[0], next(iter(SIMILARITIES))
        self.radius, self.temperature = 1.0, 0.02
        self._rng = rng
        self.restart()

    def restart(self) -> None:
        """Delete what the agent has learned; the settings stay."""
        self._arrivals_rng, self._server_rng, agent_rng = self._rng.spawn(3)
        # The load is exact, so another one is another level:
        self.agent = RRL(self.server.space, agent_rng, ratio=1 + 1e-6)
        self._similarities = {name: make() for name, (make, _) in SIMILARITIES.items()}
        self.costs: list[float] = []
        self.measured: dict[float, int] = {}  # for each load, the last measured configuration

    def step(self, episodes: int = 1) -> None:
        """Run this number of episodes (ask, serve, tell) with the current settings."""
        agent = self.agent
        agent.similarity = self._similarities[self.similarity]
        _, agent.learning_rate = SIMILARITIES[self.similarity]
        agent.region = FixedRadius(self.radius)
        agent.exploration = Boltzmann(self.temperature, self.temperature)
        for _ in range(episodes):
            arrivals = Poisson(self.load).arrivals(self.requests, self._arrivals_rng)
            configuration = agent.ask(self.load)
            episode = self.server.measure(configuration, arrivals, self._server_rng)
            self.costs.append(MeanLatency()(episode))
            agent.tell(configuration, self.costs[-1])
            self.measured[self.load] = self.server.space.index(configuration)


def look(explorer: Explorer) -> View:
    """Collect the state of the explorer's agent under the current load and settings."""
    space, load, agent = explorer.server.space, explorer.load, explorer.agent
    measured, table = explorer.measured.get(load), agent.tables.nearest(load)
    if measured is None or table is None:
        unknown, chances = np.full(len(space), np.nan), np.full(len(space), 1 / len(space))
        title = f"{load:g} requests/s"
        if table is not None:  # the agent begins with what it deploys under the nearest load
            chances[:] = 0
            chances[table.incumbent] = 1
            title += f", no episodes; begins with {label(agent.best(load))}"
        nowhere = np.empty(0, dtype=np.int64)
        return View(space, unknown, chances, unknown, nowhere, None, None, title)
    region = space.ball(measured, explorer.radius)
    known = np.isfinite(table.sds)
    cost, sd = (np.where(known, each, np.nan) for each in (table.values, table.sds))
    best = agent.best(load)
    recommended = space.index(best)
    title = f"{load:g} requests/s, {table.episodes} episodes; deploy {label(best)}"
    if load in explorer.truth:
        truth = explorer.truth[load]
        title += f", {truth[recommended] / np.nanmin(truth) - 1:.0%} above the best"
    chances = action_probabilities(table.values, explorer.temperature, table.floor)
    return View(space, cost, chances, sd, region, measured, recommended, title)


def png(figure: Figure) -> bytes:
    """Return the figure as a PNG file; the same figure gives the same bytes."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi="figure", metadata={"Software": None})
    return file.getvalue()


class Panel(ipywidgets.VBox):
    """Sliders, buttons and the picture of an explorer; without widgets, only the picture.

    Parameters
    ----------
    explorer : Explorer
    """

    def __init__(self, explorer: Explorer) -> None:
        self.explorer = explorer
        end = min(WIDEST, explorer.server.space.diameter)
        style = {"description_width": "7em"}
        own = {"continuous_update": False, "style": style}
        self.settings = {
            "radius": ipywidgets.FloatSlider(
                explorer.radius, min=0, max=end, step=0.5, description="radius", **own
            ),
            "temperature": ipywidgets.FloatLogSlider(
                explorer.temperature, min=-3, max=0, description="temperature", **own
            ),
            "similarity": ipywidgets.Dropdown(
                options=list(SIMILARITIES),
                value=explorer.similarity,
                description="similarity",
                style=style,
            ),
            "load": ipywidgets.SelectionSlider(
                options=[(f"{load:g}/s", load) for load in explorer.loads],
                value=explorer.load,
                description="load",
                **own,
            ),
        }
        for name, widget in self.settings.items():
            widget.observe(lambda change, name=name: self._set(name, change["new"]), "value")
        actions: dict[str, Callable[[], None]] = {
            "1 episode": explorer.step,
            "20 episodes": partial(explorer.step, 20),
            "start again": explorer.restart,
        }
        self.buttons = [ipywidgets.Button(description=name) for name in actions]
        for button, act in zip(self.buttons, actions.values(), strict=True):
            button.on_click(lambda _, act=act: self._go(act))
        self.picture = ipywidgets.Image(format="png")
        self.refresh()
        controls = ipywidgets.HBox(
            [ipywidgets.VBox(list(self.settings.values())), ipywidgets.VBox(self.buttons)]
        )
        super().__init__([controls, self.picture])

    def _set(self, name: str, value: Any) -> None:
        setattr(self.explorer, name, value)
        self.refresh()

    def _go(self, act: Callable[[], None]) -> None:
        act()
        self.refresh()

    def refresh(self) -> None:
        """Draw the picture again."""
        self.picture.value = png(draw_view(look(self.explorer)))

    def _repr_mimebundle_(self, **options: Any) -> dict[str, str]:
        """Add the picture to the widget, for pages and viewers that have no widgets."""
        bundle = super()._repr_mimebundle_(**options)
        return {**bundle, "image/png": base64.b64encode(self.picture.value).decode()}
