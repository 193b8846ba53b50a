"""What tuning saves: latency, and requests that miss an objective.

The agents minimise the mean latency. This module also counts the requests that miss a latency
objective. The objectives are several multiples of the smallest mean latency (``SLO_FACTORS``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from rrl.studies.outcomes import Problem, Results, interval, name_of, testbed_kind
from rrl.studies.scenario import SLO_FACTORS, Scenario, Truth
from rrl.tuning.defaults import heuristic_candidates, serving_default

if TYPE_CHECKING:
    import pandas as pd

Truths = Mapping[Problem, Truth]


def reductions(
    results: Results, truths: Truths, scenarios: Mapping[Problem, Scenario],
    ours: str, rng: np.random.Generator,
) -> pd.DataFrame:  # fmt: skip
    """Return what the agent's last recommendation saves compared with no tuning, in percent.

    Parameters
    ----------
    results, truths, scenarios
        `results` is by setting; `truths` and `scenarios` are by problem.
    ours : str
        This is the agent that tunes.
    rng : numpy.random.Generator

    Returns
    -------
    DataFrame
        It has one row per problem, reference and metric. `episodes` is the number in a run, and
        `requests` is the number per episode. The references are TensorFlow Serving's default and
        the best candidate of the guide's heuristic. The metrics are the mean latency, and the
        fraction of late requests at each of ``SLO_FACTORS`` times the smallest mean latency.
        `reference_value` is the reference's value. `best_value` is that of the configuration with
        the smallest mean latency in the whole grid. `value` is the median over the seeds of ours.
        `reduction` is in percent of the reference, with its interval over the seeds. It is NaN if
        the reference is never late.
    """
    import pandas as pd

    rows = []
    for setting, runs in results.items():
        if setting.agent != ours:
            continue
        space, truth = scenarios[setting.problem].space, truths[setting.problem]
        final = runs.recommended[:, -1]
        guide = [space.index(c) for c in heuristic_candidates(space)]
        references = {
            "default": space.index(serving_default(space)),
            "heuristic": guide[int(np.argmin(truth.cost[guide]))],
        }
        metrics = {"mean latency (s)": truth.cost}
        metrics |= {
            f"late at {f:g}x": late for f, late in zip(SLO_FACTORS, truth.late, strict=True)
        }
        for reference, index in references.items():
            for metric, values in metrics.items():
                base = values[index]
                fraction = (
                    100 * (1 - values[final] / base) if base > 0 else np.full(len(final), np.nan)
                )
                rows.append(
                    {
                        "problem": name_of(setting.problem),
                        "kind": testbed_kind(setting.testbed),
                        "episodes": setting.episodes,
                        "requests": scenarios[setting.problem].requests,
                        "reference": reference,
                        "metric": metric,
                        "reference_value": base,
                        "best_value": values[int(np.argmin(truth.cost))],
                        "value": float(np.median(values[final])),
                    }
                    | interval("reduction", fraction, rng)
                )
    return pd.DataFrame(rows)


def late(results: Results, truths: Truths, rng: np.random.Generator) -> pd.DataFrame:
    """Return the fraction of late requests under the last recommendation of each agent.

    Parameters
    ----------
    results, truths
        `results` is by setting, and `truths` is by problem.
    rng : numpy.random.Generator

    Returns
    -------
    DataFrame
        It has one row per problem, agent and `factor` of ``SLO_FACTORS``. `late` is the median
        fraction over the seeds, from 0 to 1, with its interval. `best` is the fraction under the
        configuration with the smallest mean latency.
    """
    import pandas as pd

    rows = []
    for setting, runs in results.items():
        truth = truths[setting.problem]
        for factor, fraction in zip(SLO_FACTORS, truth.late, strict=True):
            row = {
                "problem": name_of(setting.problem),
                "kind": testbed_kind(setting.testbed),
                "agent": setting.agent,
                "seeds": setting.seeds,
                "factor": factor,
                "best": fraction[int(np.argmin(truth.cost))],
            }
            rows.append(row | interval("late", fraction[runs.recommended[:, -1]], rng))
    return pd.DataFrame(rows)
