"""Record the closed loop on a live server while the load follows the paper's five phases.

``python -m rrl.studies.live_phases`` runs TensorFlow Serving's default, its guide's heuristic, the
paper's RRL with a fixed and with an adaptive radius, and the recommended RRL side by side. It keeps
every latency.
The phases are scaled to the rate that the server's default sustains on this machine.
``notebooks/12_live_serving`` reads the recorded data.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from rrl.studies.side_by_side import DESCRIPTION, Tuners, record_side_by_side
from rrl.support.errors import Parser, command
from rrl.workloads.workload import Phases

NAMES = ("tf-serving-default", "heuristic", "rrl-boltzmann", "rrl-adaptive", "rrl")
PEAK = 1.1
"""The peak rate is this multiple of what the default sustains: the default must fall behind."""


def scaled_phases(peak_per_s: float, episodes: int, requests: int = 100) -> Phases:
    """Return the paper's phases, scaled to fewer episodes and to another rate at the peak.

    Parameters
    ----------
    peak_per_s : float
        This is the rate of the busiest phase, in requests per second.
    episodes : int
        This is at least 12, so that each phase has at least one episode.
    requests : int
        Each episode has this many requests.

    Raises
    ------
    ValueError
        If there are too few episodes, or the rate is not positive.

    Examples
    --------
    >>> phases = scaled_phases(100.0, 30)
    >>> phases.starts, [round(1 / gap) for gap in phases.gaps]
    ((0, 8, 13, 20, 24), [86, 100, 86, 60, 50])
    """
    paper = Phases()
    starts = [round(start * episodes / paper.episodes) for start in paper.starts]
    if episodes < 12 or not peak_per_s > 0:
        raise ValueError(
            f"{episodes} episodes with a peak of {peak_per_s!r} requests/s: "
            "use at least 12 and a positive rate"
        )
    stretch = 1 / (peak_per_s * min(paper.gaps))
    return Phases(tuple(starts), tuple(gap * stretch for gap in paper.gaps), episodes, requests)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m rrl.studies.live_phases", description=__doc__.split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--out", type=Path, default=Path("data/live-phases"))
    parser.add_argument("--model", default="mobilenet_v2", help="default: mobilenet_v2")
    parser.add_argument("--episodes", type=int, default=48, help="rounds (default 48)")
    parser.add_argument("--requests", type=int, default=100, help="of an episode (default 100)")
    parser.add_argument("--peak", type=float, help="requests/s; default: 1.1 of what runs untuned")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def _begun(folder: Path) -> float | None:
    """Return the peak (requests per second) of the run that a folder already contains."""
    try:
        return max(json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))["rates_per_s"])
    except FileNotFoundError:
        return None


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Record a new run or continue an old one, and return the exit code."""
    from tqdm import tqdm

    from rrl.recording.source import AUTOMATIC, sustained_rate
    from rrl.rivals.agents import AGENTS
    from rrl.serving.live import LiveServer
    from rrl.serving.models import build, check_model, sample
    from rrl.tuning.presets import tf_serving

    options = _parser().parse_args(argv)
    check_model(options.model)
    model, space = build(options.model), tf_serving()
    inputs = sample(options.model, np.random.default_rng(options.seed))

    with ExitStack() as stack:

        def server() -> LiveServer:
            return stack.enter_context(LiveServer(model, space, inputs=inputs))

        peak = options.peak or _begun(options.out)
        if peak is None:
            peak = PEAK * sustained_rate(server(), AUTOMATIC, np.random.default_rng(0), 300)
            stack.pop_all().close()

        def make() -> Tuners:
            return {
                name: (server(), AGENTS[name](space, np.random.default_rng([options.seed, i])))
                for i, name in enumerate(NAMES)
            }

        phases = scaled_phases(round(peak, 1), options.episodes, options.requests)
        run = record_side_by_side(
            options.out,
            make,
            phases,
            options.episodes,
            options.seed,
            requests=options.requests,
            notes={"starts": phases.starts, "rates_per_s": [round(1 / g, 1) for g in phases.gaps]},
        )
        for turn in (bar := tqdm(run, "phases", options.episodes, unit="round")):
            means = (
                f"{name} {1e3 * step.episode.latency.mean():.0f}" for name, step in turn.items()
            )
            bar.set_postfix_str(", ".join(means) + " ms", refresh=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
