"""The pages about the figures, which ``make pages`` writes.

``README.md`` gets its results (:mod:`rrl.publishing.results`). ``figures/README.md`` is a gallery:
every figure and table that the manifest names, with its caption from ``notebooks/captions.yaml``
and a link to the notebook that makes it.
"""

from __future__ import annotations

from pathlib import Path

from rrl.publishing.manifest import read_manifest
from rrl.publishing.results import PAGE, insert, results
from rrl.support.errors import DataError
from rrl.support.files import write_atomically

CAPTIONS = Path("notebooks/captions.yaml")
GALLERY = Path("figures/README.md")
PICTURES = (".gif", ".png")
HEAD = (
    "# Figures and tables\n\n"
    "The notebooks make these files from `data/`. `make verify` makes the files again and "
    "compares them. Beside every PNG lies a PDF of the same name for print; the widest figures "
    "need a page in landscape. `manifest.json` names the data, the seeds and the versions "
    "behind each file. `make pages` writes this page.\n"
)


def _gallery(root: Path) -> str:
    """Return the page of the files that the manifest of a checkout names.

    Raises
    ------
    DataError
        If there are no files, or if one has no caption.
    """
    import yaml

    files = read_manifest(root)["files"]
    if not files:
        raise DataError("no figures in the manifest; `make reproduce` makes them")
    captions = yaml.safe_load((root / CAPTIONS).read_text(encoding="utf-8"))
    lines = [HEAD]
    notebook = None
    for maker, path in sorted((entry["notebook"], Path(name)) for name, entry in files.items()):
        if path.suffix == ".pdf":
            continue
        if path.stem not in captions:
            raise DataError(f"{path} has no caption; add one to {CAPTIONS}")
        if maker != notebook:
            lines.append(f"## [{maker}](../notebooks/{maker}.ipynb)\n")
            notebook = maker
        caption = captions[path.stem]
        if path.suffix in PICTURES:
            first = caption.split(". ")[0].rstrip(".")
            lines.append(f"{caption}\n\n![{first}.]({path.name})\n")
        else:
            lines.append(f"Table [`{path.name}`]({path.name}): {caption}\n")
    return "\n".join(lines)


def write_pages(root: Path) -> list[Path]:
    """Write both pages of a checkout, and return their paths."""
    front = insert((root / PAGE).read_text(encoding="utf-8"), results(root / "figures"))
    pages = {root / PAGE: front, root / GALLERY: _gallery(root)}
    for page, text in pages.items():
        write_atomically(page, text)
    return list(pages)
