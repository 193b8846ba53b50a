"""The manifest of the figures: what made each file, and from what; and whether all is as it was.

``figures/manifest.json`` has an entry for every figure and table (digest, notebook). It also has an
entry for every notebook (parameters with the seeds, digests of the data that it read, names of the
stored results, locked versions). Nothing in it depends on the machine, or on the words of the code.
It is committed with the figures. ``python -m rrl.publishing.manifest`` lists the files that differ
from the committed ones, and a difference of the manifest itself says why.

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
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rrl.publishing.tracing import Traffic
from rrl.support.errors import DataError, Parser, UnstableError, UsageError, command
from rrl.support.files import read_json, write_atomically
from rrl.support.provenance import DRAWING, NUMERICAL, digest, locked

NAME = "figures/manifest.json"
STORE = "data/results/"
"""The stored results. An entry names those that its notebook read: the index has their versions."""

Manifest = dict[str, dict[str, Any]]


def read_manifest(root: Path) -> Manifest:
    """Read the manifest of a checkout; return an empty one if there is none.

    Raises
    ------
    DataError
        If the file is not a manifest.
    """
    path = root / NAME
    if not path.exists():
        return {"files": {}, "notebooks": {}}
    manifest = read_json(path)
    try:
        return {"files": dict(manifest["files"]), "notebooks": dict(manifest["notebooks"])}
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is not a manifest ({error!r}); restore it") from None


def record(root: Path, notebook: Path, parameters: Mapping[str, Any], seen: Traffic) -> None:
    """Enter what a notebook has just made; remove what it made before and makes no longer.

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
    files = {n: e for n, e in manifest["files"].items() if e["notebook"] != notebook.stem}
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


def differences(root: Path, reference: Path | None = None) -> list[str]:
    """Return a line for each file in ``figures/`` that is not as it was.

    Parameters
    ----------
    root : Path
        Root folder of the checkout.
    reference : Path, optional
        Another checkout, or a folder with ``figures/``; by default what git has committed.

    Raises
    ------
    UsageError
        If there is nothing to compare with.
    """
    compare: list[str | Path] = ["git", "-C", root, "status", "--porcelain", "-uall", "figures"]
    if reference:
        if not (reference / NAME).is_file():
            raise UsageError(f"{reference} has no {NAME}: name a checkout with its figures")
        compare = ["diff", "-rq", "--exclude=live", reference / "figures", root / "figures"]
    elif why := _not_committed(root):
        raise UsageError(f"{NAME} is not committed ({why}): use `make verify REFERENCE=DIR`")
    done = subprocess.run(compare, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.stdout.splitlines()


def _not_committed(root: Path) -> str:
    """Return why git cannot tell how the figures were; it is empty if git can."""
    try:
        git = ["git", "-C", str(root), "cat-file", "-e", f"HEAD:./{NAME}"]
        return subprocess.run(git, capture_output=True, text=True).stderr
    except FileNotFoundError:
        return "git is not installed"


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Print what differs in the figures of the checkout, and fail if anything does."""
    parser = Parser(
        prog="python -m rrl.publishing.manifest",
        description="Compare the figures and tables with the committed ones.",
    )
    parser.add_argument(
        "--reference", type=Path, metavar="DIR", help="compare with another checkout instead"
    )
    reference = parser.parse_args(argv).reference
    before = reference or "git's HEAD"
    if found := differences(Path(), reference):
        print(*found, sep="\n")
        raise UnstableError(
            f"{len(found)} differences in figures/ from {before}, listed above; a difference of "
            f"{NAME} names the data, parameters and versions that have changed"
        )
    print(f"{len(read_manifest(Path())['files'])} figures and tables: the same as in {before}")


if __name__ == "__main__":
    sys.exit(main())
