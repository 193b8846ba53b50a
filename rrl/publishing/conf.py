"""Sphinx's settings for the site of the course, which :mod:`rrl.publishing.site` writes.

A page asks no other host for anything. Formulas are MathML, which browsers draw without a script.
If an output has a widget, the page shows the picture that is stored with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = html_title = "Region-based reinforcement learning for model serving"
author = ""
language = "en"
extensions = ["myst_nb"]
exclude_patterns = ["README.md"]  # the first page contains parts of it
html_theme = "sphinx_book_theme"
html_theme_options = {
    "show_toc_level": 2,
    "home_page_in_toc": True,
    "use_fullscreen_button": False,
    "navbar_persistent": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
# without the theme's logo, which is in no landmark: the menu begins with the first page
html_sidebars = {"**": ["search-button-field.html", "sbt-sidebar-nav.html"]}
html_static_path = html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_show_copyright = False
html_show_sphinx = False
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_dmath_double_inline = True
myst_heading_anchors = 3
nb_execution_mode = "off"
nb_ipywidgets_js: dict[str, Any] = {}
nb_mime_priority_overrides = [["html", "application/vnd.jupyter.widget-view+json", None]]
LONG = 40  # TeX characters of a formula that may be wider than a phone


def setup(app: Sphinx) -> None:
    """Register the formulas as docutils' MathML; Sphinx calls this after reading the settings."""
    from docutils.nodes import SkipNode
    from docutils.utils.math.latex2mathml import tex2mathml

    def visit(display: str) -> Any:
        def show(translator: Any, node: Any) -> None:
            formula = tex2mathml(node.astext(), as_block=display == "block")
            if display == "block" or len(node.astext()) > LONG:  # it scrolls, also by keyboard
                more = 'role="group" aria-label="formula" tabindex="0"'
                formula = f'<span class="formula {display}" {more}>{formula}</span>'
            translator.body.append(formula)
            raise SkipNode

        return show

    app.add_html_math_renderer("mathml", (visit("inline"), None), (visit("block"), None))
