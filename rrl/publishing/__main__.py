"""Write the student edition, the pages about the figures, or the web site of this checkout."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rrl.publishing.course import EDITION, write_edition
from rrl.publishing.pages import write_pages
from rrl.publishing.site import SITE, write_site
from rrl.support.errors import Parser, command


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Write what the command line `argv` names, and print where it is."""
    parser = Parser(prog="python -m rrl.publishing", description=__doc__)
    parser.add_argument("what", choices=["student", "pages", "site"])
    what = parser.parse_args(argv).what
    if what == "student":
        count = write_edition(Path(), EDITION)
        print(f"{count} notebooks without answers in {EDITION / 'notebooks'}; hand out {EDITION}")
    elif what == "pages":
        print(*write_pages(Path()), sep="\n")
    else:
        print(f"open {write_site(Path(), SITE)}")


if __name__ == "__main__":
    sys.exit(main())
