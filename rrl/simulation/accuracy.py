"""Tables about the accuracy of predicted latencies, and about the choices that rest on them.

A table of cells has one row per configuration and load, as
:func:`rrl.simulation.validation.hold_out` returns it: `measured_s`, `predicted_s`, `rate_per_s` and
`stable` are among its columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rrl.simulation.optimum import optimum
from rrl.simulation.simulator import SimulatedServer
from rrl.simulation.testbeds import testbed_parameters
from rrl.simulation.validation import cell_table
from rrl.tuning.defaults import serving_default

if TYPE_CHECKING:
    import pandas as pd

    from rrl.recording.profile import Profile

LETTERS = {"fitted": "(f)", "carried": "(c)", "assumed": "(a)"}  # what else is published: (p)


def accuracy(cells: pd.DataFrame) -> dict[str, float]:
    """Return the number of cells, the median relative error and the rank correlation.

    Parameters
    ----------
    cells : DataFrame
        The columns `predicted_s` and `measured_s` are used (seconds).

    Examples
    --------
    >>> import pandas as pd
    >>> found = accuracy(pd.DataFrame({"measured_s": [1, 2, 4], "predicted_s": [1.1, 1.8, 4.0]}))
    >>> print(f"{found['median error']:.2f}, {found['rank correlation']:.2f}")
    0.10, 1.00
    """
    from scipy.stats import spearmanr

    error = (cells["predicted_s"] / cells["measured_s"] - 1).abs()
    rank = spearmanr(cells["predicted_s"], cells["measured_s"])[0]
    return {"cells": len(cells), "median error": error.median(), "rank correlation": rank}


def accuracy_table(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the accuracy over stable and over all cells, together and per load.

    Returns
    -------
    DataFrame
        The columns are those of :func:`accuracy`, rounded to three digits.

    Examples
    --------
    >>> import pandas as pd
    >>> cells = pd.DataFrame({"measured_s": [1.0, 2, 4], "predicted_s": [1.1, 1.8, 4.0]})
    >>> table = accuracy_table(cells.assign(rate_per_s=9.0, stable=True))
    >>> table.index.tolist()
    ['stable', 'all', '9/s, stable', '9/s, all']
    """
    import pandas as pd

    rows = {"stable": accuracy(cells[cells["stable"]]), "all": accuracy(cells)}
    for rate, part in cells.groupby("rate_per_s"):
        rows[f"{rate:g}/s, stable"] = accuracy(part[part["stable"]])
        rows[f"{rate:g}/s, all"] = accuracy(part)
    return pd.DataFrame(rows).T.astype({"cells": int}).round(3)


def pass_means(profile: Profile) -> pd.DataFrame:
    """Return the mean latency (s) of each cell in the first and in the second pass over the grid.

    Returns
    -------
    DataFrame
        The index has the knobs and `rate_per_s`. The columns are the passes, 0 and 1.

    Examples
    --------
    >>> from rrl import read_profile
    >>> pass_means(read_profile("data/mobilenet_v2-threads")).columns.tolist()  # doctest: +SKIP
    [0, 1]
    """
    table = profile.table
    grid = table[(table["pass"] < 2) & (table["valid"] == 1)]
    return grid.groupby([*profile.knobs, "rate_per_s", "pass"])["mean_s"].mean().unstack()


def second_pass(profile: Profile) -> pd.DataFrame:
    """Return cells of a profile whose first pass is predicted by the second one.

    The arrivals of the two passes differ. Their common effect at each load is removed: the second
    pass is multiplied by the median ratio of the two.

    Returns
    -------
    DataFrame
        It has the knobs, `rate_per_s`, `measured_s`, `predicted_s` and `stable`.

    Examples
    --------
    >>> from rrl import read_profile
    >>> accuracy_table(second_pass(read_profile("data/mobilenet_v2-threads")))  # doctest: +SKIP
    """
    passes = pass_means(profile)
    arrivals = (passes[0] / passes[1]).groupby("rate_per_s").transform("median")
    cells = passes.assign(measured_s=passes[0], predicted_s=passes[1] * arrivals).reset_index()
    return cells.merge(cell_table(profile)[[*profile.knobs, "rate_per_s", "stable"]])


def residuals_by_value(fits: Mapping[str, pd.DataFrame], knobs: Sequence[str]) -> pd.DataFrame:
    """Return the median of predicted over measured latency per value of a knob, for several fits.

    Examples
    --------
    >>> import pandas as pd
    >>> cells = pd.DataFrame({"measured_s": [1, 2], "predicted_s": [2, 3], "inter_op": [1, 2]})
    >>> residuals_by_value({"fit": cells}, ["inter_op"])["inter_op", "fit"].tolist()
    [2.0, 1.5]
    """
    import pandas as pd

    columns = {
        (knob, fit): (cells["predicted_s"] / cells["measured_s"]).groupby(cells[knob]).median()
        for knob in knobs
        for fit, cells in fits.items()
    }
    return pd.DataFrame(columns)


def choice_regret(held: pd.DataFrame, profile: Profile, rate_per_s: float) -> dict[str, Any]:
    """Judge on the second recorded pass what the simulator or the first pass would choose.

    Parameters
    ----------
    held : DataFrame
        :func:`rrl.simulation.validation.hold_out` returns this table. Its first repeat is used.
    profile : Profile
        The profile that was held out.
    rate_per_s : float
        The load at which the configurations are chosen and judged.

    Returns
    -------
    dict
        `chosen` has the values of the simulator's choice. A *regret* is the relative excess over
        the lowest mean of the second pass: of the choice by the simulator, of the choice by the
        first pass, and of the default. `top 10 in common` counts the configurations that are among
        the ten lowest both as predicted and as measured.

    Examples
    --------
    >>> choice_regret(held, profile, 60.0)["regret, default"]  # doctest: +SKIP
    """
    rows = held[(held["repeat"] == 0) & (held["rate_per_s"] == rate_per_s)]
    ours = rows.set_index(profile.knobs)
    judge = pass_means(profile).xs(rate_per_s, level="rate_per_s")
    picks = {
        "simulator": ours["predicted_s"].idxmin(),
        "first pass": judge[0].idxmin(),
        "default": tuple(serving_default(profile.space).values()),
    }
    top = set(ours["predicted_s"].nsmallest(10).index)
    regrets = {f"regret, {who}": judge.loc[at, 1] / judge[1].min() - 1 for who, at in picks.items()}
    return {
        "chosen": " / ".join(map(str, picks["simulator"])),
        **regrets,
        "top 10 in common": len(top & set(ours["measured_s"].nsmallest(10).index)),
    }


def parameter_ranges(held: pd.DataFrame, server: SimulatedServer) -> pd.DataFrame:
    """Return the range of each parameter over the fits of :func:`hold_out`, beside a server's own.

    The server's `item` is the sum of its work per request and per batch, as a fit to batches of
    one request cannot tell them apart.

    Examples
    --------
    >>> import pandas as pd
    >>> from rrl import testbed
    >>> held = pd.DataFrame()
    >>> held.attrs["parameters"] = [{"wake": 0.001}, {"wake": 0.003}]
    >>> float(parameter_ranges(held, testbed("cpu2")).loc["wake", "largest"])
    0.003
    """
    import pandas as pd

    fits = pd.DataFrame(held.attrs["parameters"])
    own = {**vars(server.machine), **vars(server.model)}
    own["item"] = server.model.item + server.model.fixed
    ranges = pd.DataFrame({"smallest": fits.min(), "largest": fits.max()})
    return ranges.assign(testbed=[own[name] for name in ranges.index])


def sources_table() -> pd.DataFrame:
    """Return the parameters of all testbeds with a letter for the source of each value.

    The letters are (f) fitted to a profile, (c) carried over from ``cpu2``, (a) assumed, and
    (p) published by others.

    Examples
    --------
    >>> sources_table().loc["item", "cpu10"]
    '0.35 (a)'
    """
    values = testbed_parameters()
    kind = values["source"].str.extract(r"^(\w+)", expand=False).map(LETTERS).fillna("(p)")
    values["shown"] = values["value"].map("{:g}".format) + " " + kind
    table = values.pivot(index="parameter", columns="testbed", values="shown")
    return table[list(dict.fromkeys(values["testbed"]))].fillna("")


def optimum_summary(
    server: SimulatedServer, rate_per_s: float, *, replications: int, rng: np.random.Generator
) -> dict[str, Any]:
    """Return the exact optimum of a server at a load, as one row of a table.

    Parameters
    ----------
    server : SimulatedServer
        All its configurations are measured.
    rate_per_s : float
        The load, in requests per second.
    replications : int
        Number of episodes of each configuration.
    rng : numpy.random.Generator
        Generator for the arrivals and the work.

    Returns
    -------
    dict
        `best` is the configuration, `ms` its mean latency with the 99 % interval, and `tied` counts
        those that cannot be distinguished from it. `at most better by (ms)` bounds how much lower
        another mean can be. `default / best` and `median / best` are ratios of mean latencies.

    Examples
    --------
    >>> from rrl import testbed
    >>> optimum_summary(
    ...     testbed("cpu2"), 60.0, replications=3, rng=np.random.default_rng(0)
    ... )["tied"].split()[1:]
    ['of', '96']
    """
    best = optimum(server, float(rate_per_s), replications=replications, rng=rng)
    default = server.space.index(serving_default(server.space))
    return {
        "best": best.configuration,
        "ms": f"{1e3 * best.cost:.1f} +- {1e3 * best.half_width:.1f}",
        "tied": f"{len(best.ties)} of {len(server.space)}",
        "at most better by (ms)": round(1e3 * best.excess, 2),
        "default / best": best.costs[default] / best.cost,
        "median / best": np.median(best.costs) / best.cost,
    }
