"""The manifest of the figures: what each file is, what made it, and whether it is still the same.

``figures/manifest.json`` has an entry for every figure and table (digest, notebook). It also has an
entry for every notebook (parameters with the seeds, digests of the data that it read, locked
versions). Nothing in it depends on the machine, or on the words of the code. :func:`verify`
compares the present files with a reference, by default the committed files. The bytes must be the
same if nothing was measured again. If data were measured again, the numbers must agree within
`TOLERANCE`.

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
import math
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rrl.publishing.tracing import Traffic
from rrl.support.errors import DataError, Parser, UnstableError, UsageError, command
from rrl.support.provenance import DRAWING, NUMERICAL, digest, locked

NAME = "figures/manifest.json"
TOLERANCE = 0.5
"""Allowed change of a number whose data were measured again, as a fraction of the larger number."""
TEXT = (".csv", ".json", ".md")
STORE = "data/results/"
"""The stored results. An entry names those that its notebook read: the index has their versions."""
_NUMBER = re.compile(r"(-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)")

Manifest = dict[str, dict[str, Any]]
Read = Callable[[str], bytes | None]


def load(text: bytes | None, where: str) -> Manifest:
    """Read a manifest; return an empty one if there is none.

    Raises
    ------
    DataError
        If the text is not a manifest.
    """
    if text is None:
        return {"files": {}, "notebooks": {}}
    try:
        manifest = json.loads(text)
        return {"files": dict(manifest["files"]), "notebooks": dict(manifest["notebooks"])}
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{where} is not a manifest ({error!r}); restore it") from None


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

    path = root / NAME
    manifest = load(path.read_bytes() if path.exists() else None, str(path))
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
    write_atomically(path, json.dumps(manifest, indent=1, sort_keys=True) + "\n")


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


class Difference(NamedTuple):
    """A file that differs from the reference, and how it differs."""

    name: str
    what: str


def verify(root: Path, reference: Read) -> list[Difference]:
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
    list of Difference
        The list is empty if there are no differences.

    Raises
    ------
    UsageError
        If the reference has no manifest.
    """
    then, now = load(reference(NAME), f"the reference's {NAME}"), _here(root)
    if not then["files"]:
        raise UsageError(f"the reference has no {NAME}: run `make reproduce` and commit figures/")
    found = []
    for name in sorted({*then["files"], *now["files"]}):
        before, after = then["files"].get(name), now["files"].get(name)
        if before is None or after is None:
            found.append(Difference(name, "not in the reference" if after else "no longer made"))
        elif not (root / name).is_file():
            found.append(Difference(name, "missing; `make reproduce` makes it"))
        elif (actual := digest(root / name)) != before["sha256"]:
            if actual != after["sha256"]:
                what = "changed since its notebook ran"
            elif _measured_anew(after["notebook"], then, now, frozenset()):
                what = _compare(name, reference(name), (root / name).read_bytes())
            else:
                what = "other bytes from the same data" + _circumstances(after, then, now)
            found += [Difference(name, what)] if what else []
    return found


def _here(root: Path) -> Manifest:
    path = root / NAME
    return load(path.read_bytes() if path.is_file() else None, str(path))


def _measured_anew(name: str, then: Manifest, now: Manifest, asked: frozenset[str]) -> bool:
    """Return whether a notebook's data changed, directly or through the tables that it reads."""
    before, after = (side["notebooks"].get(name, {}).get("read", {}) for side in (then, now))
    changed = {path for path in {*before, *after} if before.get(path) != after.get(path)}
    makers = {now["files"][path]["notebook"] for path in changed if path in now["files"]}
    return any(path.startswith("data/") for path in changed) or any(
        _measured_anew(maker, then, now, asked | {name}) for maker in makers - asked - {name}
    )


def _circumstances(entry: Mapping[str, Any], then: Manifest, now: Manifest) -> str:
    before, after = (side["notebooks"].get(entry["notebook"], {}) for side in (then, now))
    changed = [fact for fact in ("parameters", "packages") if before.get(fact) != after.get(fact)]
    return f" (changed: {', '.join(changed)})" if changed else ""


def _compare(name: str, before: bytes | None, after: bytes) -> str:
    """Return what differs too much in two files with newly measured data; empty if nothing."""
    if before is None:
        return "not in the reference"
    if not name.endswith(TEXT):
        return ""  # a drawing of other data
    return text_difference(before.decode(), after.decode(), TOLERANCE)


def text_difference(before: str, after: str, tolerance: float) -> str:
    """Return the first difference of two texts whose numbers may differ a little; empty if none.

    Examples
    --------
    >>> text_difference("gain 2.0 times", "gain 2.5 times", 0.5)
    ''
    >>> text_difference("gain 2.0 times", "gain 5 times", 0.5)
    'measured again: line 1 has 5 instead of 2.0'
    >>> text_difference("reproduced", "not", 0.5)
    "measured again: line 1 reads 'not' instead of 'reproduced'"
    """
    old, new = before.splitlines(), after.splitlines()
    if len(old) != len(new):
        return f"measured again: {len(new)} lines instead of {len(old)}"
    for number, (was, is_) in enumerate(zip(old, new, strict=True), 1):
        one, other = _NUMBER.split(was), _NUMBER.split(is_)
        if one[::2] != other[::2]:
            return f"measured again: line {number} reads {is_[:60]!r} instead of {was[:60]!r}"
        for a, b in zip(one[1::2], other[1::2], strict=True):
            larger = max(abs(float(a)), abs(float(b)))
            if not math.isclose(float(a), float(b), rel_tol=0, abs_tol=tolerance * larger):
                return f"measured again: line {number} has {b} instead of {a}"
    return ""


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
    for name, what in differences:
        print(f"{name:<40} {what}")
    count = len(load(reference(NAME), NAME)["files"])
    if differences:
        raise UnstableError(
            f"{len(differences)} differences from the reference's {count} figures and tables; "
            "they are listed above"
        )
    print(f"{count} figures and tables: the same as in the reference")


if __name__ == "__main__":
    import sys

    sys.exit(main())
