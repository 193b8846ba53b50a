"""The manifest of the figures: what made each file, and from what.

``figures/manifest.json`` has an entry for every figure and table (digest, notebook). It also has an
entry for every notebook (parameters with the seeds, digests of the data that it read, names of the
stored results, locked versions). Nothing in it depends on the machine, or on the words of the code.
It is committed with the figures. So git lists the files that are not as they were (`make verify`),
and the difference of the manifest says why.

The same bytes need the locked versions, the seeds, figures without dates, and linear algebra with
one thread and AVX2 kernels. (The Makefile also asks for AVX2 kernels where there are wider
vectors.) With AVX-512, NumPy would also take an exponential and a logarithm of its own, whose last
bit may be another one; the Makefile leaves them out. So an AMD EPYC and an Intel Xeon with AVX-512
give the same bytes, and so does that Xeon if it compiles for a processor without AVX-512. A
processor without AVX2 may round differently. This can change the result of a comparison inside a
simulation, so the same bytes are not promised for such a processor.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rrl.publishing.tracing import Traffic
from rrl.support.files import read_json, write_atomically
from rrl.support.provenance import NUMERICAL, digest, locked

NAME = "figures/manifest.json"
DRAWING = ("matplotlib", "seaborn", "pillow", "pandas")
"""Packages whose version can change how a number is shown."""
STORE = "data/results/"
"""The stored results. An entry names those that its notebook read: the index has their versions."""


def read_manifest(root: Path) -> dict[str, dict[str, Any]]:
    """Read the manifest of a checkout; return an empty one if there is none."""
    path = root / NAME
    return read_json(path) if path.exists() else {"files": {}, "notebooks": {}}


def record(root: Path, notebook: Path, parameters: Mapping[str, Any], seen: Traffic) -> None:
    """Enter what a notebook has just made; remove what it made before and makes no longer.

    What a notebook made that no longer exists is removed, too.

    Parameters
    ----------
    root : Path
        Root folder of the checkout.
    notebook : Path
    parameters : mapping
        The parameters that the notebook ran with.
    seen : Traffic
        The files that the notebook read and wrote.
    """
    manifest = read_manifest(root)
    others = {path.stem for path in (root / "notebooks").glob("*.ipynb")} - {notebook.stem}
    files = {n: e for n, e in manifest["files"].items() if e["notebook"] in others}
    files |= {n: {"sha256": digest(root / n), "notebook": notebook.stem} for n in seen.written}
    for name in manifest["files"].keys() - files.keys():
        (root / name).unlink(missing_ok=True)
    entry = {
        "parameters": {k: v for k, v in parameters.items() if v is not ...},
        "read": {name: digest(root / name) for name in seen.read if not name.startswith(STORE)},
        "results": sorted({_result(n) for n in seen.read if n.startswith(STORE)} - {"index.json"}),
        "packages": locked((*NUMERICAL, *DRAWING)),
    }
    makers = {file["notebook"] for file in files.values()}
    notebooks = {n: e for n, e in manifest["notebooks"].items() if n in makers}
    manifest = {"files": files, "notebooks": notebooks | {notebook.stem: entry}}
    write_atomically(root / NAME, json.dumps(manifest, indent=1, sort_keys=True) + "\n")


def _result(file: str) -> str:
    """Return the name that a file of the store has in its index.

    Examples
    --------
    >>> _result("data/results/gpu/500/rrl-300.npz"), _result("data/results/tables/joint/a.csv")
    ('gpu/500/rrl-300', 'tables/joint')
    """
    name = file.removeprefix(STORE)
    return (
        "/".join(name.split("/")[:2]) if name.startswith("tables/") else name.removesuffix(".npz")
    )
