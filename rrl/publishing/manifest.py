"""The manifest of the figures: what each file is, what made it, and whether it is still the same.

``figures/manifest.json`` has an entry for every figure and table (digest, notebook). It also has an
entry for every notebook (parameters with the seeds, digests of the data that it read, locked
versions). Nothing in it depends on the machine, or on the words of the code. :func:`verify`
compares the bytes of the present files with those of a reference, by default the committed files,
and says what else has changed for the notebook that made them.

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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rrl.publishing.tracing import Traffic
from rrl.support.errors import DataError, Parser, UnstableError, UsageError, command
from rrl.support.provenance import DRAWING, NUMERICAL, digest, locked

NAME = "figures/manifest.json"
STORE = "data/results/"
"""The stored results. An entry names those that its notebook read: the index has their versions."""

Manifest = dict[str, dict[str, Any]]
Read = Callable[[str], bytes | None]


def read_manifest(read: Read, whose: str = "") -> Manifest:
    """Read a manifest; return an empty one if there is none.

    Parameters
    ----------
    read : callable
        See :func:`verify`.
    whose : str, optional
        Whose manifest it is, for the message.

    Raises
    ------
    DataError
        If the file is not a manifest.
    """
    text = read(NAME)
    if text is None:
        return {"files": {}, "notebooks": {}}
    try:
        manifest = json.loads(text)
        return {"files": dict(manifest["files"]), "notebooks": dict(manifest["notebooks"])}
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{whose}{NAME} is not a manifest ({error!r}); restore it") from None


def record(root: Path, notebook: Path, parameters: Mapping[str, Any], seen: Traffic) -> None:
    """Enter what a notebook has just made; remove entries of files that it no longer makes.

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
    from rrl.support.files import write_atomically

    manifest = read_manifest(folder(root))
    others = {n: e for n, e in manifest["files"].items() if e["notebook"] != notebook.stem}
    made = {n: {"sha256": digest(root / n), "notebook": notebook.stem} for n in seen.written}
    files = others | made
    data = [n for n in seen.read if not n.startswith(("rrl/", STORE))]
    entry = {
        "parameters": {k: v for k, v in parameters.items() if v is not ...},
        "read": {name: digest(root / name) for name in data},
        "results": sorted({_result(n) for n in seen.read if n.startswith(STORE)} - {"index.json"}),
        "packages": locked((*NUMERICAL, *DRAWING)),
    }
    manifest["notebooks"][notebook.stem] = json.loads(json.dumps(entry))  # tuples become lists
    known = {entry["notebook"] for entry in files.values()} | {notebook.stem}
    manifest["notebooks"] = {n: e for n, e in manifest["notebooks"].items() if n in known}
    manifest["files"] = files
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


def verify(root: Path, reference: Read) -> dict[str, str]:
    """Compare the figures and tables with those of a reference.

    Parameters
    ----------
    root : Path
        Root folder of the checkout whose figures are compared.
    reference : callable
        This function takes a name such as ``figures/manifest.json``. It returns the bytes of that
        file in the reference, or None if there is no such file.

    Returns
    -------
    dict of str to str
        How each file differs, by its name; empty if there are no differences.

    Raises
    ------
    UsageError
        If the reference has no manifest.
    """
    then, now = read_manifest(reference, "the reference's "), read_manifest(folder(root))
    if not then["files"]:
        raise UsageError(f"the reference has no {NAME}: run `make reproduce` and commit figures/")
    found = {}
    for name in sorted({*then["files"], *now["files"]}):
        path, before = root / name, reference(name)
        if name not in now["files"]:
            found[name] = "no longer made"
        elif before is None:
            found[name] = "not in the reference"
        elif not path.is_file():
            found[name] = "missing; `make reproduce` makes it"
        elif path.read_bytes() != before:
            found[name] = "other bytes" + _changed(name, then, now)
    return found


def _changed(name: str, then: Manifest, now: Manifest) -> str:
    """Return what has changed for the notebook that made a file."""
    maker = now["files"][name]["notebook"]
    before, after = (side["notebooks"].get(maker, {}) for side in (then, now))
    read = [after.get("read", {}), before.get("read", {})]
    data = sorted(n for n in {**read[0], **read[1]} if read[0].get(n) != read[1].get(n))
    facts = [f for f in ("parameters", "results", "packages") if before.get(f) != after.get(f)]
    words = ", ".join([*facts, *data])
    return f" (changed: {words})" if words else " from the same data, versions and parameters"


def committed(root: Path) -> Read:
    """Return a function that reads the files that git has committed at HEAD.

    Raises
    ------
    UsageError
        If `root` is not a git checkout.
    """

    def show(name: str) -> bytes | None:
        done = subprocess.run([*git, "show", f"HEAD:./{name}"], capture_output=True)
        return done.stdout if done.returncode == 0 else None

    git = ["git", "-C", str(root)]
    look = [*git, "rev-parse", "--verify", "--quiet", "HEAD"]
    try:
        works = subprocess.run(look, capture_output=True).returncode == 0
    except FileNotFoundError:
        works = False
    if not works:
        raise UsageError(f"{root} is not a git checkout: use `make verify REFERENCE=DIR`")
    return show


def folder(path: Path) -> Read:
    """Return a function that reads from another checkout, or from a folder with ``figures/``."""

    def read(name: str) -> bytes | None:
        return (path / name).read_bytes() if (path / name).is_file() else None

    return read


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Verify the figures here; print the differences, and fail if there are any."""
    parser = Parser(
        prog="python -m rrl.publishing.manifest",
        description="Compare the figures and tables with those of a reference.",
    )
    parser.add_argument("--root", type=Path, default=Path())
    parser.add_argument(
        "--reference", type=Path, metavar="DIR", help="another checkout (default: git's HEAD)"
    )
    options = parser.parse_args(argv)
    root = options.root
    reference = folder(options.reference) if options.reference else committed(root)
    differences = verify(root, reference)
    for name, what in differences.items():
        print(f"{name:<40} {what}")
    count = len(read_manifest(reference)["files"])
    if differences:
        raise UnstableError(
            f"{len(differences)} differences from the reference's {count} figures and tables; "
            "they are listed above"
        )
    print(f"{count} figures and tables: the same as in the reference")


if __name__ == "__main__":
    import sys

    sys.exit(main())
