"""A replay with the noise of an episode, where a recording has too few episodes to show it.

A half of a recording has one episode of most configurations. So a plain replay tells an agent the
same number whenever it tries a configuration again, and what is luck looks like truth.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rrl.core.knob import Configuration
from rrl.core.space import ConfigSpace
from rrl.recording.profile import Profile
from rrl.recording.replay import RecordedServer
from rrl.tuning.episode import Episode, watched
from rrl.tuning.watch import Watch

Values = NDArray[np.float64]


class NoisyReplay(RecordedServer):
    """Replay a profile: the level of a configuration, times a residual of some other episode.

    The level of a configuration is the geometric mean of its episodes' mean latencies. If it rests
    on a single episode, it is shrunken towards its neighbours, see :func:`shrunken`. A residual is
    drawn for each measurement from the pool of the replayed half at the same load. The requests
    within an episode keep their order and their proportions.

    Parameters
    ----------
    profile, rate_per_s, half
        See :class:`rrl.recording.replay.RecordedServer`.

    Raises
    ------
    DataError
        If this load was not recorded.
    """

    def __init__(
        self,
        profile: Profile | str | os.PathLike[str],
        rate_per_s: float | None = None,
        half: int | None = None,
    ) -> None:
        super().__init__(profile, rate_per_s, half)
        means = np.log(self.profile.table["mean_s"])
        self._levels: dict[int, Values] = {}
        self._pools: dict[int, Values] = {}
        for rate in range(len(self._rates)):
            logs = {
                index: means.loc[rows].to_numpy()
                for (index, at), rows in self._rows.items()
                if at == rate
            }
            self._pools[rate] = residuals_of(logs)
            self._levels[rate] = shrunken(self.space, logs)

    def measure(
        self,
        configuration: Configuration,
        arrivals: ArrayLike,
        rng: np.random.Generator,
        *,
        watch: Watch | None = None,
    ) -> Episode:
        """Draw an episode of `configuration` at the load of `arrivals` (s), with its noise."""
        plain = super().measure(configuration, arrivals, rng)
        rate = self.nearest_rate(plain.arrivals)
        level = self._levels[rate][self.space.index(configuration)]
        factor = np.exp(level + rng.choice(self._pools[rate]))
        return watched(replace(plain, latency=factor * plain.latency), watch)

    def _episode(self, row: int) -> tuple[Values, NDArray[np.int64]]:
        """Return a row's latencies as multiples of their mean, and its statuses."""
        latency, status = super()._episode(row)
        return latency / latency.mean(), status


def residuals_of(logs: Mapping[int, Values]) -> Values:
    """Return how the episodes of a configuration scatter around their mean, for all together.

    Parameters
    ----------
    logs : mapping of int to ndarray
        The logarithms of the episodes' means, by the number of the configuration.

    Returns
    -------
    ndarray
        Residuals of all configurations with at least two episodes, scaled to the variance of an
        episode; a single 0 if there are none.

    Examples
    --------
    >>> residuals_of({0: np.array([1.0, 3.0]), 1: np.array([9.0])}).round(3)
    array([-1.414,  1.414])
    """
    several = [own for own in logs.values() if len(own) > 1]
    parts = [(own - own.mean()) * np.sqrt(len(own) / (len(own) - 1)) for own in several]
    return np.concatenate(parts) if parts else np.zeros(1)


def shrunken(space: ConfigSpace, logs: Mapping[int, Values]) -> Values:
    """Return the level of each configuration: its mean, or less than that if it is a single one.

    A mean that rests on one episode counts with the fraction of its deviation from its neighbours
    that is not noise, as in the estimator of James and Stein. The neighbours are the measured
    configurations one step away.

    Parameters
    ----------
    space : ConfigSpace
    logs : mapping of int to ndarray
        See :func:`residuals_of`.

    Returns
    -------
    ndarray, shape (configurations,)
        Logarithms; NaN where nothing was measured.

    References
    ----------
    Efron & Morris, "Data analysis using Stein's estimator and its generalizations", Journal of the
    American Statistical Association 70(350), 1975.
    """
    levels = np.full(len(space), np.nan)
    for index, own in logs.items():
        levels[index] = own.mean()
    around = np.full(len(space), np.nan)
    for index in logs:
        near = levels[[cell for cell in space.ball(index, 1.0).tolist() if cell != index]]
        if np.isfinite(near).any():
            around[index] = np.nanmean(near)
    away = levels - around
    single = np.array([len(logs.get(index, ())) == 1 for index in range(len(space))])
    known = single & np.isfinite(away)
    if not known.any():
        return levels
    noise = float(np.mean(residuals_of(logs) ** 2))
    spread = float(np.mean(away[known] ** 2))
    kept = max(spread - noise, 0.0) / spread if spread > 0 else 1.0
    levels[known] = around[known] + kept * away[known]
    return levels
