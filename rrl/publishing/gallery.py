"""The gallery of figures: ``python -m rrl.publishing.gallery`` writes ``figures/README.md``.

Every figure and table that the manifest names gets a caption from :data:`CAPTIONS` and a link to
the notebook that makes it. The captions say what is drawn. The notebook says what the figure shows,
because the notebook computes it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from rrl.publishing.manifest import NAME, load
from rrl.support.errors import DataError, Parser, command

OUT = Path("figures/README.md")
PICTURES = (".gif", ".png")

#: What each figure or table contains, by its name without the ending.
CAPTIONS = {
    "ablation-radius": "Variants of the paper's agent with another choice of the radius, over "
    "`rrl`: a marker is a problem, and left of 1 the variant is better.",
    "ablation-reach": "Variants of `rrl-gp` that differ in one assumption, over `rrl-gp`: a marker "
    "is a problem, and left of 1 the variant is better.",
    "adaptive-horizons": "Mean cost above the optimum by the number of episodes: fixed radii, and "
    "the selected radius of the adaptive agent (the thick line).",
    "adaptive-radius": "The selected radius over time, the radius that theory alone would choose, "
    "and the fixed radius that was best up to each episode.",
    "claims": "The paper's claims, our measurements by both halves, what can be reached, and the "
    "verdicts.",
    "claims-columns": "Every number of every claim, for all agents and references, by either half.",
    "claims-problems": "What each problem is like: the possible saving, the number of good "
    "configurations, and how much neighbours differ.",
    "claims-profiles": "Fraction of the runs that are within 5 % of the best by an episode, and "
    "fraction of the runs that deploy a configuration within a factor of the best.",
    "claims-reductions": "Latency saved over the default at every load, with what an oracle saves "
    "(ticks), beside the paper's largest number; the overload (grey, hollow) is not counted.",
    "claims-served": "The default's mean latency over that of each agent while it learns, and over "
    "that of the best fixed configuration, for every changing load.",
    "claims-speed": "Median episodes of each rival over those of `rrl-gp`, with what an oracle "
    "reaches (ticks).",
    "claims-utilisation": "What each agent, a perfect reader and an oracle save of the default's "
    "latency on recordings, at low, middle and high loads.",
    "convergence-error": "Error of the table over the episodes by radius: the median over the "
    "configurations, and the largest.",
    "convergence-pareto": "Speed against loss: one point per radius, on a simulated and on a "
    "recorded grid.",
    "convergence-speedup": "Speed-up over single cells by the number of cells in a region, beside "
    "the theorem's line.",
    "experiments-duels": "Every rival over `rrl-gp` in speed, deployed cost and mean cost: a "
    "marker is a problem, and right of 1 `rrl-gp` is better.",
    "experiments-everywhere": "All agents on 18 loads: how many of them each agent solves, and "
    "its mean cost over that of the cheapest agent.",
    "experiments-phases": "Mean latency while the load changes four times in 3000 episodes.",
    "experiments-static": "Every agent on every load that stays: medians of all measures, with "
    "intervals.",
    "experiments-tables": "Mean cost over the best on three made spaces: with a category, with "
    "invalid combinations, and with most combinations missing.",
    "explorer": "The agent's table, its next choice and the table's standard deviations, after 40 "
    "episodes; hatched values are unknown.",
    "explorer-race": "The paper's RRL and two textbook agents in one Gymnasium environment; "
    "the paper's RRL is the dashed line beside the others.",
    "explorer-region": "A run of the paper's RRL on 96 recorded configurations: each measurement "
    "gives its region an estimate, and the latency that clients see falls.",
    "iot-devices": "Requests per second of sensors, cameras and firmware updates with the same "
    "mean rate.",
    "iot-saved": "Waiting saved so far over the default's, hour by hour, on four problems: above "
    "zero, learning has paid.",
    "iot-served": "What each agent serves over a day of devices, learning included: latency and "
    "late requests, beside the default's.",
    "live-phases": "A live server under a changing load: the number of late requests so far, for "
    "each contestant beside the default.",
    "live-totals": "Whole runs on live servers: mean latency over the default's, for a whole run "
    "and for its second half.",
    "objectives-bill": "The number of CPUs and the latency of the deployed configurations, by the "
    "objective of the tuning.",
    "objectives-duels": "Agents that minimise a limit or the p99, compared with the same agents "
    "that minimise the mean.",
    "objectives-limits": "Late requests under the deployed configuration, by the objective of the "
    "tuning.",
    "objectives-pareto": "Latency against CPUs for all configurations; then the CPUs and the late "
    "requests of what each agent deploys, by the objective of the tuning.",
    "profiling-batching": "Recorded mean latency by batch size and batch timeout, at three loads.",
    "profiling-finals": "The best ten configurations of each load of two recordings, measured "
    "again in rounds: ratios to the best with their intervals.",
    "profiling-knobs": "Recorded mean latency when one knob changes at a time, at three loads.",
    "profiling-noise": "How far one episode is from the mean of its configuration.",
    "profiling-surfaces": "Recorded mean latency by inter-op and batch threads, with the best "
    "intra-op threads; the ring marks the best of each load.",
    "profiling-usual": "Cost of settings that need no tuning, relative to the best of 279 "
    "configurations, at three loads.",
    "quickstart": "The paper's RRL tunes a recorded server at two loads; then its choice is "
    "compared with the default.",
    "region-map": "When a region pays: how many times sooner than Q-learning the paper's agent "
    "stays within 10 % of the best, by the difference of neighbours and the noise of an episode. "
    "Triangles are recorded and simulated grids, and point up where the paper's agent is sooner.",
    "region-map-places": "Where each simulated and recorded grid lies on the map, and what "
    "happened there.",
    "region-map-radius": "The best fixed radius in each cell of the map, and what the selected "
    "radius loses to it.",
    "recommended-posterior": "The Gaussian process on a grid of 16 configurations: expected cost, "
    "and its standard deviation.",
    "recommended-run": "One run of `rrl-gp` on 16 configurations: expected costs after 1, 4, 8 "
    "and all episodes.",
    "recommended-saving": "Expected cost, expected saving, price and gain per cost of trials on a "
    "line of 24 configurations. The lines are dotted if nothing is expected far away.",
    "region-update-choice": "The probabilities of a Boltzmann choice over 16 configurations, at "
    "two temperatures.",
    "region-update-once": "The table before and after one measurement: a whole region changes.",
    "region-update-race": "An agent written by hand, with regions and without: when the agent "
    "tries the best configuration, and the mean cost.",
    "region-update-several": "The table after 1, 3 and 10 measurements; the line encloses the "
    "region of the last measurement.",
    "similarity-coverage": "How often the truth lies within two standard deviations of an "
    "estimate, by distance.",
    "similarity-error": "Errors of four ways to estimate a configuration from others, by distance.",
    "similarity-variogram": "How much two configurations differ by the distance between them, on "
    "two simulated grids and a recorded one.",
    "simulator-heldout": "Predicted against measured latency of configurations that the fit did "
    "not use.",
    "simulator-residuals": "Where the simulator's predictions are too high or too low, by knob.",
    "simulator-scaling": "Published times of InceptionV3 with 1 to 12 threads, and the fit that "
    "the ten-core testbed uses.",
    "simulator-theory": "The simulated queue against textbook formulas, with 99 % intervals.",
    "theory-cover": "Time until every cell was updated, by radius, with its two bounds.",
    "theory-error": "Largest error of the table over time by radius, with the bounds of theorem 1.",
    "theory-price": "Error and loss by radius, with the bounds of theorems 2 to 4.",
    "theory-radius": "The best radius by the number of measurements, on cones in one to three "
    "dimensions, beside the power of the theory.",
    "theory-tightness": "How close ten thousand random instances come to each bound.",
}


def gallery(names: Iterable[tuple[str, str]]) -> str:
    """Return the page of these files.

    Parameters
    ----------
    names : iterable of (str, str)
        The file's name in ``figures/`` and the notebook that makes it, without their folders.

    Raises
    ------
    DataError
        If a file has no caption.

    Examples
    --------
    >>> page = gallery([("explorer.png", "10_explorer"), ("explorer.pdf", "10_explorer")])
    >>> page.splitlines()[-1].endswith("](explorer.png)")
    True
    """
    lines = [
        "# Figures and tables",
        "",
        "The notebooks make these files from `data/`. `make verify` makes the files again and "
        "compares them. Beside every PNG lies a PDF of the same name for print; the widest figures "
        "need a page in landscape. `manifest.json` names the data, the seeds and the versions "
        "behind each file. `make pages` writes this page.",
        "",
    ]
    notebook = None
    for maker, name in sorted((maker, name) for name, maker in names):
        path = Path(name)
        if path.suffix == ".pdf":
            continue
        if path.stem not in CAPTIONS:
            raise DataError(f"{name} has no caption; add one to CAPTIONS in {__file__}")
        if maker != notebook:
            lines += [f"## [{maker}](../notebooks/{maker}.ipynb)", ""]
            notebook = maker
        if path.suffix in PICTURES:
            first = CAPTIONS[path.stem].split(". ")[0].rstrip(".")
            lines += [CAPTIONS[path.stem], "", f"![{first}.]({name})", ""]
        else:
            lines += [f"Table [`{name}`]({name}): {CAPTIONS[path.stem]}", ""]
    return "\n".join(lines[:-1]) + "\n"


def files_of(root: Path) -> list[tuple[str, str]]:
    """Return the files that the manifest of a checkout names, each with its notebook."""
    path = root / NAME
    manifest = load(path.read_bytes() if path.exists() else None, str(path))
    return [(Path(name).name, entry["notebook"]) for name, entry in manifest["files"].items()]


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Write the gallery of the checkout in the working folder, and print its path."""
    from rrl.support.files import write_atomically

    parser = Parser(
        prog="python -m rrl.publishing.gallery", description="Write the gallery of figures."
    )
    parser.parse_args(argv)
    files = files_of(Path())
    if not files:
        raise DataError(f"no figures in {NAME}; `make reproduce` makes them")
    write_atomically(OUT, gallery(files))
    print(OUT)


if __name__ == "__main__":
    sys.exit(main())
