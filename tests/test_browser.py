"""Notebooks and pages in a real browser: JupyterLab in a headless Chromium, without a network."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import numpy as np
import pytest
from matplotlib.image import imread
from test_notebooks import QUICK
from test_site import write_course

from rrl.publishing.site import write_site

ROOT = Path(__file__).parent.parent
SHOTS = ROOT / "build" / "browser"
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH (apt: chromium)")
SLOW = 60_000  # ms; a busy machine starts a kernel slowly


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        sandbox = [] if os.getuid() else ["--no-sandbox"]  # root has none
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=sandbox)
        yield chromium
        chromium.close()


@pytest.fixture
def tab(browser):
    """A tab that writes down every address it asks for elsewhere than on this machine."""
    tab = browser.new_page(viewport={"width": 1250, "height": 1300})
    tab.set_default_timeout(SLOW)
    tab.elsewhere = []

    def pass_on(route):
        address = route.request.url
        if not address.startswith(("http://127.0.0.1:", "file:", "data:", "blob:")):
            tab.elsewhere.append(address)
            route.abort()
        else:
            route.continue_()

    tab.route("**/*", pass_on)
    yield tab
    tab.close()


@pytest.fixture
def jupyter(tmp_path):
    """JupyterLab on a copy of the explorer; yields a function from a path to its address."""
    (tmp_path / "notebooks").mkdir()
    notebook = nbformat.read(ROOT / "notebooks" / "10_explorer.ipynb", as_version=4)
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", ()):  # a race that is soon over
            cell.source += "\n" + "\n".join(f"{k} = {v!r}" for k, v in QUICK["10_explorer"].items())
    nbformat.write(notebook, tmp_path / "notebooks" / "10_explorer.ipynb")
    (tmp_path / "data").symlink_to(ROOT / "data")
    settings = tmp_path / "settings" / "@jupyterlab" / "notebook-extension"
    settings.mkdir(parents=True)  # all cells stay in the page, also those out of sight
    (settings / "tracker.jupyterlab-settings").write_text(json.dumps({"windowingMode": "none"}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = ("CONFIG_DIR", "RUNTIME_DIR", "DATA_DIR")
    environment = {
        **{f"JUPYTER_{name}": str(tmp_path / name.lower()) for name in own},
        "JUPYTERLAB_SETTINGS_DIR": str(tmp_path / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(tmp_path / "workspaces"),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1"]
    command += [f"--port={port}", "--IdentityProvider.token=t", "--allow-root"]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            [*command, "--LabApp.news_url=", "--LabApp.check_for_updates_class="
             "jupyterlab.NeverCheckForUpdate"],
            cwd=tmp_path, env={**os.environ, **environment}, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        await_answer(f"http://127.0.0.1:{port}/api?token=t", server, tmp_path / "log")
        yield lambda path: f"http://127.0.0.1:{port}/lab/tree/{path}?token=t"
    finally:
        server.send_signal(signal.SIGTERM)  # the server stops its kernels
        server.wait(600)


def await_answer(address, server, log):
    end = time.monotonic() + SLOW / 1000
    while time.monotonic() < end:
        assert server.poll() is None, log.read_text()
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(address, timeout=5).close()
        time.sleep(0.2)
    raise AssertionError(f"no answer from JupyterLab: {log.read_text()}")


def changed(before, after):
    """Fraction of the pixels that differ between two screenshots of one size."""
    one, two = imread(before), imread(after)
    assert one.shape == two.shape
    return np.mean(np.any(one != two, axis=-1))


@pytest.mark.long
def test_a_slider_of_the_explorer_changes_the_picture(jupyter, tab):
    SHOTS.mkdir(parents=True, exist_ok=True)
    tab.goto(jupyter("notebooks/10_explorer.ipynb"))
    tab.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
    tab.get_by_text("| Idle").wait_for()  # before that, running would ask for a kernel
    tab.get_by_text("Run", exact=True).first.click()
    tab.get_by_text("Run All Cells", exact=True).click()
    panel = tab.locator(".jp-OutputArea-output:has(.widget-slider)")
    picture = panel.locator("img")
    picture.wait_for()
    panel.scroll_into_view_if_needed()
    assert picture.evaluate("image => image.complete && image.naturalWidth > 500")
    before = SHOTS / "explorer-before.png"
    picture.screenshot(path=before)

    def after(name, act):
        source = picture.get_attribute("src")
        act()
        tab.wait_for_function(
            "([image, old]) => image.src !== old && image.complete",
            arg=[picture.element_handle(), source],
        )
        shot = SHOTS / f"explorer-{name}.png"
        picture.screenshot(path=shot)
        return shot

    radius = panel.locator(".widget-slider", has_text="radius").locator(".noUi-handle")
    wider = after("radius", lambda: radius.press("ArrowRight"))
    assert panel.locator(".widget-readout").first.inner_text() == "2.00"
    assert 0.001 < changed(before, wider) < 0.2  # the outline and the weights, nothing else
    learned = after("step", panel.get_by_text("20 episodes").click)
    assert changed(wider, learned) > 0.001
    tab.screenshot(path=SHOTS / "explorer.png")
    assert tab.elsewhere == []


# --- The web site ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    pytest.importorskip("sphinx_book_theme", reason="in the extra `site`")
    folder = tmp_path_factory.mktemp("site")
    write_course(folder / "checkout")
    return write_site(folder / "checkout", folder / "site").parent


def test_a_page_of_the_site_draws_formulas_without_a_network(tab, pages):
    tab.goto((pages / "index.html").as_uri())
    tab.locator("article").get_by_role("link", name="Course 01", exact=False).first.click()
    fraction = tab.locator("mfrac").bounding_box()
    line = tab.locator("mfrac mi").last.bounding_box()
    assert fraction["height"] > 1.8 * line["height"]  # drawn above each other, not in a row
    assert tab.elsewhere == []


def test_the_site_can_be_searched_without_a_server(tab, pages):
    tab.goto((pages / "search.html").as_uri() + "?q=tunes")
    tab.locator("#search-results a", has_text="serving").first.wait_for()
    assert tab.elsewhere == []


@pytest.mark.parametrize("width", [390, 1280])
def test_no_page_of_the_site_keeps_people_out_or_is_too_wide(tab, pages, width):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="in the extra `site`")
    tab.set_viewport_size({"width": width, "height": 900})
    for page in ("index", "notebooks/01_region_update", "figures/claims", "search"):
        tab.goto((pages / f"{page}.html").as_uri())
        tab.wait_for_load_state("load")
        found = axe.Axe().run(tab, options={"preload": False}).response["violations"]
        assert [(v["id"], v["nodes"][0]["html"]) for v in found] == [], page
        assert tab.evaluate("document.documentElement.scrollWidth") <= width, page
