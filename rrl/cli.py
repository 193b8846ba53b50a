"""The `rrl` command: its subcommands are in :mod:`rrl.operating`."""

from __future__ import annotations

import shlex
import sys
from argparse import Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence

from rrl.operating import log
from rrl.support.errors import Parser, UsageError, command, interrupt_by_signals
from rrl.support.provenance import installed

_EXAMPLES = """examples:
  rrl tune mobilenet_v2 --rate 60 --slo "p99<50ms"
  rrl replay mobilenet_v2-threads --rate 115 --slo "p99<60ms"
  rrl race mine --agents rrl-gp,rrl,random
  rrl profile mobilenet_v2-threads --out build/mine
  rrl profile /models/mine --sample one.json --knob inter_op=1,2 --knob intra_op=1,2 --rates 20,60

exit codes: 0 done, 2 usage, 3 bad data, 4 the server failed, 5 measured, but the result is not
stable or misses the goal, 6 the server hangs, 7 the recommended configuration cannot serve and
the default stays, 130 interrupted
"""


def _parser() -> Parser:
    from rrl.operating import profiling, racing, tune  # Ctrl-C here ends with one line, too

    parser = Parser(
        prog="rrl",
        description="Tune the parallelism of TensorFlow Serving by region-based reinforcement "
        "learning.",
        epilog=_EXAMPLES,
        formatter_class=RawDescriptionHelpFormatter,
    )
    version = installed(["region-rl"]).get("region-rl", "(not installed)")
    parser.add_argument("--version", action="version", version=f"rrl {version}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in (tune, racing, profiling):
        module.add_parsers(commands)
    return parser


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Run a subcommand."""
    parser, words = _parser(), sys.argv[1:] if argv is None else argv
    line = shlex.join(["rrl", *words])
    options, unknown = parser.parse_known_args(words, Namespace(line=line))
    if unknown:  # the help of the subcommand lists its options
        raise UsageError(
            f"unrecognized arguments: {' '.join(unknown)}; `rrl {options.command} --help` lists "
            "the options"
        )
    log.show(getattr(options, "quiet", False))
    interrupt_by_signals()
    options.run(options)


if __name__ == "__main__":
    sys.exit(main())
