"""Sliders and buttons around an explorer's picture, for JupyterLab.

Where widgets cannot run (a page, a viewer, an unattended run), a panel shows only its picture.
"""

from __future__ import annotations

import base64
from typing import Any

import ipywidgets

from rrl.publishing.explorer import SIMILARITIES, Explorer, draw_view, look, png

WIDEST = 4.0  # end of the radius slider, if the grid is that large


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
        self.buttons = [ipywidgets.Button(description=n) for n in ("1 episode", "20 episodes")]
        self.buttons.append(ipywidgets.Button(description="start again"))
        for button, action in zip(self.buttons, (1, 20, 0), strict=True):
            button.on_click(lambda _, episodes=action: self._go(episodes))
        self.picture = ipywidgets.Image(format="png")
        self.refresh()
        controls = ipywidgets.HBox(
            [ipywidgets.VBox(list(self.settings.values())), ipywidgets.VBox(self.buttons)]
        )
        super().__init__([controls, self.picture])

    def _set(self, name: str, value: Any) -> None:
        setattr(self.explorer, name, value)
        self.refresh()

    def _go(self, episodes: int) -> None:
        self.explorer.step(episodes) if episodes else self.explorer.restart()
        self.refresh()

    def refresh(self) -> None:
        """Draw the picture again."""
        self.picture.value = png(draw_view(look(self.explorer)))

    def _repr_mimebundle_(self, **options: Any) -> dict[str, str]:
        """Add the picture to the widget, for pages and viewers that have no widgets."""
        bundle = super()._repr_mimebundle_(**options)
        return {**bundle, "image/png": base64.b64encode(self.picture.value).decode()}
