"""Compare a few configurations side by side: episodes in turns, with the same arrivals.

So a claim of "better" is based on paired episodes and not on luck.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from rrl.core.knob import Configuration
from rrl.core.space import Floats
from rrl.tuning.episode import Server, measure_valid
from rrl.tuning.objective import MeanLatency
from rrl.workloads.workload import Times, Workload, cut_into_episodes, draw


def compare(
    servers: Mapping[str, tuple[Server, Configuration]],
    workload: Workload,
    rounds: int,
    rng: np.random.Generator,
    *,
    requests: int = 100,
) -> dict[str, Floats]:
    """Measure configurations in alternating episodes with the same arrivals.

    Parameters
    ----------
    servers : mapping of str to (Server, configuration)
        Contestants by name. Give each live contestant its own server, so that none is restarted.
    workload : Workload
    rounds : int
        Number of episodes of each contestant. The order within a round is random.
    rng : numpy.random.Generator
    requests : int, optional
        Requests per episode.

    Returns
    -------
    dict of str to ndarray, shape (rounds,)
        Mean latencies in seconds by name, in which a failed request counts as in
        :class:`rrl.tuning.objective.MeanLatency`. Those at the same position belong to the same
        round.
    """
    costs = {name: np.empty(rounds) for name in servers}
    drawn = draw_rounds(list(servers), workload, rounds, requests, rng)
    for number, (arrivals, seed, order) in enumerate(drawn):
        for name in order:
            own = np.random.default_rng(seed)
            episode, _ = measure_valid(*servers[name], arrivals, own)
            costs[name][number] = MeanLatency()(episode)
    return costs


def draw_rounds(
    names: list[str], workload: Workload, rounds: int, requests: int, rng: np.random.Generator
) -> Iterator[tuple[Times, int, list[str]]]:
    """Draw the rounds of a comparison, in each of which all contestants get the same arrivals.

    Yields
    ------
    arrivals : ndarray
        Arrivals in seconds.
    seed : int
        Seed of a generator for each server, so that all get the same work or the same repeat.
    order : list of str
        The names in the order of their turns.
    """
    arrivals_rng, server_rng, order_rng = rng.spawn(3)
    for arrivals in cut_into_episodes(draw(workload, rounds * requests, arrivals_rng), requests):
        yield arrivals, int(server_rng.integers(2**63)), order_rng.permutation(names).tolist()
