"""The manifest of the figures: what each file is, what made it, and whether it still comes out so.

``figures/manifest.json`` has an entry for every figure and table (digest, notebook) and one for
every notebook (its parameters with the seeds, the digests of all that it read, the versions and the
machine). :func:`verify` compares the files that are there now with a reference, by default with
what is committed: to the byte where nothing was measured anew, within `TOLERANCE` otherwise.

What byte-identity rests on: the versions in the lock, seeds, one thread for linear algebra and its
AVX2 kernels (the Makefile asks for them where there are wider vectors, too), and figures without
dates. An AMD EPYC and an Intel Xeon with AVX-512 give the same bytes. A processor without AVX2
may round differently, which can tip a comparison inside a simulation: there is no promise for it.
"""

from __future__ import annotations

import json
import math
import platform
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rrl.publishing.tracing import Traffic
from rrl.support.errors import DataError, Parser, UnstableError, UsageError, command
from rrl.support.machine import describe_machine
from rrl.support.provenance import DRAWING, NUMERICAL, combined, digest, versions

NAME = "figures/manifest.json"
TOLERANCE = 0.5
"""What a number may change by when its data were measured anew, as a share of the larger one."""
TEXT = (".csv", ".json", ".md")
MACHINE = ("python", "processor")  # what an entry says of where it was made
_NUMBER = re.compile(r"(-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)")

Manifest = dict[str, dict[str, Any]]
Read = Callable[[str], bytes | None]


def load(text: bytes | None, where: str) -> Manifest:
    """Read a manifest; an empty one if there is none.

    Raises
    ------
    DataError
        If it is not one.
    """
    if text is None:
        return {"files": {}, "notebooks": {}}
    try:
        manifest = json.loads(text)
        return {"files": dict(manifest["files"]), "notebooks": dict(manifest["notebooks"])}
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{where} is no manifest ({error!r}); restore it") from None


def record(root: Path, notebook: Path, parameters: Mapping[str, Any], seen: Traffic) -> None:
    """Enter what a notebook has just made; entries of files that it no longer makes go.

    The machine in an entry is the first that made just these files of just this: another that comes
    to the same changes nothing, and a checkout stays clean.

    Parameters
    ----------
    root : Path
        Of the checkout.
    notebook : Path
    parameters : mapping
        What it ran with.
    seen : Traffic
        What it read and wrote.
    """
    from rrl.support.files import write_atomically

    path = root / NAME
    manifest = load(path.read_bytes() if path.exists() else None, str(path))
    before = {n: e for n, e in manifest["files"].items() if e["notebook"] == notebook.stem}
    made = {n: {"sha256": digest(root / n), "notebook": notebook.stem} for n in seen.written}
    others = {n: e for n, e in manifest["files"].items() if n not in before}
    files = others | made
    code = [root / name for name in seen.read if name.startswith("rrl/")]
    entry = {
        "sha256": digest(notebook),
        "parameters": {k: v for k, v in parameters.items() if v is not ...},
        "code": combined(code, root),
        "read": {n: digest(root / n) for n in seen.read if not n.startswith("rrl/")},
        "packages": versions((*NUMERICAL, *DRAWING)),
        "python": platform.python_version(),
        "processor": describe_machine()["processor"],
    }
    stored = manifest["notebooks"].get(notebook.stem, {})
    if made != before or any(entry[k] != stored.get(k) for k in entry if k not in MACHINE):
        manifest["notebooks"][notebook.stem] = entry
    known = {entry["notebook"] for entry in files.values()} | {notebook.stem}
    manifest["notebooks"] = {n: e for n, e in manifest["notebooks"].items() if n in known}
    manifest["files"] = files
    write_atomically(path, json.dumps(manifest, indent=1, sort_keys=True) + "\n")


class Difference(NamedTuple):
    """A file that is not as it was, and in what."""

    name: str
    what: str


def verify(root: Path, reference: Read) -> list[Difference]:
    """Compare the figures and tables with those of a reference.

    Parameters
    ----------
    root : Path
        Of the checkout whose figures are judged.
    reference : callable
        Gives the bytes of a file of the reference by its name, as ``figures/manifest.json``, or
        None where there is no such file.

    Returns
    -------
    list of Difference
        Empty if all is well.

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
            found.append(Difference(name, "not in the reference" if after else "not made any more"))
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
    """Whether data behind a notebook changed: those that it read, or those behind its tables."""
    before, after = (side["notebooks"].get(name, {}).get("read", {}) for side in (then, now))
    changed = {path for path in {*before, *after} if before.get(path) != after.get(path)}
    makers = {now["files"][path]["notebook"] for path in changed if path in now["files"]}
    return any(path.startswith("data/") for path in changed) or any(
        _measured_anew(maker, then, now, asked | {name}) for maker in makers - asked - {name}
    )


def _circumstances(entry: Mapping[str, Any], then: Manifest, now: Manifest) -> str:
    before, after = (side["notebooks"].get(entry["notebook"], {}) for side in (then, now))
    facts = ("code", "sha256", "parameters", "packages", "python", "processor")
    names = {"sha256": "notebook"}
    changed = [names.get(f, f) for f in facts if before.get(f) != after.get(f)]
    return f" (changed: {', '.join(changed)})" if changed else ""


def _compare(name: str, before: bytes | None, after: bytes) -> str:
    """What is too far apart in two files whose data were measured anew; empty if nothing is."""
    if before is None:
        return "not in the reference"
    if not name.endswith(TEXT):
        return ""  # a drawing of other data
    return text_difference(before.decode(), after.decode(), TOLERANCE)


def text_difference(before: str, after: str, tolerance: float) -> str:
    """The first difference between two texts whose numbers may differ a little; empty if none.

    Examples
    --------
    >>> text_difference("gain 2.0 times", "gain 2.5 times", 0.5)
    ''
    >>> text_difference("gain 2.0 times", "gain 5 times", 0.5)
    'measured anew: line 1 has 5 for 2.0'
    >>> text_difference("reproduced", "not", 0.5)
    "measured anew: line 1 reads 'not' for 'reproduced'"
    """
    old, new = before.splitlines(), after.splitlines()
    if len(old) != len(new):
        return f"measured anew: {len(new)} lines for {len(old)}"
    for number, (was, is_) in enumerate(zip(old, new, strict=True), 1):
        one, other = _NUMBER.split(was), _NUMBER.split(is_)
        if one[::2] != other[::2]:
            return f"measured anew: line {number} reads {is_[:60]!r} for {was[:60]!r}"
        for a, b in zip(one[1::2], other[1::2], strict=True):
            larger = max(abs(float(a)), abs(float(b)))
            if not math.isclose(float(a), float(b), rel_tol=0, abs_tol=tolerance * larger):
                return f"measured anew: line {number} has {b} for {a}"
    return ""


def committed(root: Path) -> Read:
    """Reader of what git has committed at HEAD.

    Raises
    ------
    UsageError
        If `root` is not a git checkout.
    """

    def show(name: str) -> bytes | None:
        done = subprocess.run(["git", "-C", root, "show", f"HEAD:./{name}"], capture_output=True)
        return done.stdout if done.returncode == 0 else None

    git = ["git", "-C", root, "rev-parse", "--verify", "--quiet", "HEAD"]
    try:
        works = subprocess.run(git, capture_output=True).returncode == 0
    except FileNotFoundError:
        works = False
    if not works:
        raise UsageError(f"{root} is no git checkout: name a folder, `make verify REFERENCE=DIR`")
    return show


def folder(path: Path) -> Read:
    """Reader of another checkout, or of any folder that holds ``figures/``."""

    def read(name: str) -> bytes | None:
        return (path / name).read_bytes() if (path / name).is_file() else None

    return read


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Verify the figures here; prints the differences and fails if there are any."""
    parser = Parser(
        prog="python -m rrl.publishing.manifest", description=verify.__doc__.splitlines()[0]
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
            f"{len(differences)} differences to the reference's {count} figures and tables; "
            "the list above says which"
        )
    print(f"{count} figures and tables: as in the reference")


if __name__ == "__main__":
    import sys

    sys.exit(main())
