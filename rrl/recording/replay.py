"""Servers that replay a recorded profile."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rrl.core.knob import Configuration
from rrl.core.space import ConfigSpace, Floats
from rrl.recording.profile import Profile, read_profile
from rrl.recording.truth import SWEEPS
from rrl.support.errors import DataError
from rrl.tuning.episode import Episode, check_arrivals


class RecordedServer:
    """Replay a profile: draw each measurement from the repeats in the passes over the grid.

    The repeats are in the order of the passes, and in one repeat all configurations that took part
    got the same arrivals. If all took part in every pass, equal generators draw the same arrivals
    for all of them. After further passes of the good ones only, these have more repeats than the
    others, and equal generators draw other arrivals.

    The finals are left out, because they had other arrivals and only the best few took part.

    For a load that was not recorded, the nearest recorded load on a log scale is used. If more
    requests are needed than an episode has, several episodes are joined. If fewer are needed, the
    first ones are used.

    Parameters
    ----------
    profile : Profile or path
        For any other table with knob columns and a cost column, use
        :class:`rrl.recording.table.TableServer`.
    rate_per_s : float, optional
        Replay only this recorded load, whatever the arrivals are. This is for studies at one load.
    half : {0, 1}, optional
        Replay only passes 0, 2, ... or only passes 1, 3, .... Then the other half can judge
        (:mod:`rrl.recording.truth`). The default is all passes.

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
        self.half = half
        self.profile = profile if isinstance(profile, Profile) else read_profile(profile)
        self.space = self.profile.space
        self._rates = np.array(self.profile.rates_per_s)
        self._pinned = None
        if rate_per_s is not None:
            if rate_per_s not in self.profile.rates_per_s:
                known = ", ".join(f"{rate:g}" for rate in self._rates)
                raise DataError(f"no load of {rate_per_s:g}/s in the profile; it has {known}")
            self._pinned = self.profile.rates_per_s.index(rate_per_s)
        table = self.profile.grid.sort_values(["pass", "repeat"], kind="stable")
        if half is not None:
            table = table[table["pass"] % 2 == half]
        rate_index = np.searchsorted(self._rates, table["rate_per_s"].to_numpy(dtype=float))
        self._parsed: dict[int, tuple[NDArray[np.float64], NDArray[np.int64]]] = {}
        self._rows: dict[tuple[int, int], list[int]] = {}
        keys = zip(self.space.indices(table).tolist(), rate_index.tolist(), strict=True)
        for row, key in zip(table.index.tolist(), keys, strict=True):
            self._rows.setdefault(key, []).append(row)

    def measure(
        self, configuration: Configuration, arrivals: ArrayLike, rng: np.random.Generator
    ) -> Episode:
        """Draw a recorded episode of `configuration` at the load of `arrivals` (s)."""
        arrivals = check_arrivals(arrivals)
        n = len(arrivals)
        index = self.space.index(configuration)
        rate = self.nearest_rate(arrivals)
        rows = self._rows.get((index, rate), [])
        if not rows:
            raise DataError(f"no episode of {dict(configuration)} at {self._rates[rate]:g}/s")
        drawn = rng.choice(rows, size=-(-n // self.profile.requests))
        parts = [self._episode(row) for row in drawn.tolist()]
        latency = np.concatenate([part[0] for part in parts])[:n]
        status = np.concatenate([part[1] for part in parts])[:n]
        info = {"server": "recorded", "rate_per_s": float(self._rates[rate])}
        return Episode(configuration, arrivals, latency, status, info=info)

    def _episode(self, row: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return a row's latencies and statuses; they are stored, because parsing is slow."""
        if row not in self._parsed:
            self._parsed[row] = self.profile.latencies(row), self.profile.statuses(row)
        return self._parsed[row]

    def nearest_rate(self, arrivals: NDArray[np.float64]) -> int:
        """Return the number of the recorded load that is used for these arrivals (s)."""
        if self._pinned is not None:
            return self._pinned
        if len(arrivals) < 2:
            return 0
        if arrivals[-1] <= arrivals[0]:  # all at once
            return len(self._rates) - 1
        rate = (len(arrivals) - 1) / (arrivals[-1] - arrivals[0])
        return int(np.argmin(np.abs(np.log(self._rates / rate))))


class NoisyReplay(RecordedServer):
    """Replay single episodes with the noise of an episode: a level, times a residual.

    In a large grid, a half contains one episode of most configurations. In a plain replay, all
    trials of such a configuration have the same cost, so luck looks like truth. Here the level of a
    configuration is the geometric mean of its episodes' means. The level of a single episode is
    shrunken to its neighbours (:func:`shrunken_levels`). Each measurement draws a residual of the
    replayed half (:func:`residuals`). Levels and residuals leave out what all episodes of a pass
    share. The requests of an episode keep their proportions.

    The parameters are those of :class:`RecordedServer`.
    """

    @cached_property
    def _noise(self) -> list[tuple[Floats, Floats]]:
        """The residuals and the levels of each recorded load."""
        found = []
        for rate in range(len(self._rates)):
            rows = {index: rows for (index, at), rows in self._rows.items() if at == rate}
            logs = _without_passes(self.profile, rows)
            found.append((residuals(logs), shrunken_levels(self.space, logs)))
        return found

    def measure(
        self, configuration: Configuration, arrivals: ArrayLike, rng: np.random.Generator
    ) -> Episode:
        """Draw an episode of `configuration` at the load of `arrivals` (s), and its residual."""
        drawn = super().measure(configuration, arrivals, rng)
        away, levels = self._noise[self.nearest_rate(drawn.arrivals)]
        mean_s = np.exp(levels[self.space.index(configuration)] + rng.choice(away))
        return replace(drawn, latency=mean_s * drawn.latency)

    def best(self, rate_per_s: float) -> int:
        """Return the index of the configuration with the lowest level at a recorded load."""
        _, levels = self._noise[self.profile.rates_per_s.index(rate_per_s)]
        return int(np.nanargmin(levels))

    def _episode(self, row: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return a row's latencies as multiples of their mean, and its statuses."""
        latency, status = super()._episode(row)
        return latency / latency.mean(), status


def _without_passes(profile: Profile, rows: Mapping[int, list[int]]) -> dict[int, Floats]:
    """Return the logarithms of some rows' means by configuration, less what their pass shares.

    What a pass shares comes from the configurations with several episodes: the effects of
    configurations and passes are fitted in turns, which gives their least squares.
    """
    logs = np.log(profile.table["mean_s"].to_numpy())
    passes = profile.table["pass"].to_numpy(dtype=np.int64)
    shared = np.zeros(profile.grid_passes)
    if several := [own for own in rows.values() if len(own) > 1]:
        every = np.concatenate(several)
        number = np.repeat(np.arange(len(several)), [len(own) for own in several])
        often = np.maximum(np.bincount(passes[every], minlength=len(shared)), 1)
        for _ in range(SWEEPS):
            level = np.bincount(number, logs[every] - shared[passes[every]]) / np.bincount(number)
            away = logs[every] - level[number]
            shared = np.bincount(passes[every], away, len(shared)) / often
    return {index: logs[own] - shared[passes[own]] for index, own in rows.items()}


def residuals(logs: Mapping[int, Floats]) -> Floats:
    """Return how far single episodes are from the level of their configuration.

    Parameters
    ----------
    logs : mapping of int to ndarray
        The logarithms of the episodes' means, by the index of the configuration.

    Returns
    -------
    ndarray
        Residuals of all configurations with several episodes, scaled to the variance of an episode;
        a single 0 if there are none.

    Examples
    --------
    >>> residuals({0: np.array([1.0, 3.0]), 1: np.array([9.0])}).round(3)
    array([-1.414,  1.414])
    """
    several = [own for own in logs.values() if len(own) > 1]
    scaled = [(own - own.mean()) * np.sqrt(len(own) / (len(own) - 1)) for own in several]
    return np.concatenate(scaled) if scaled else np.zeros(1)


def shrunken_levels(space: ConfigSpace, logs: Mapping[int, Floats]) -> Floats:
    """Return the level of each configuration: the mean of its episodes, or a shrunken single one.

    The mean of a single episode is moved towards the mean of its neighbours, which are one step
    away. All single episodes keep the same fraction of their difference from the neighbours. This
    fraction is one minus the variance of an episode over the mean square of the differences, as in
    the estimator of James and Stein.

    Parameters
    ----------
    space : ConfigSpace
    logs : mapping of int to ndarray
        See :func:`residuals`.

    Returns
    -------
    ndarray, shape (configurations,)
        Logarithms; NaN where nothing was measured.

    References
    ----------
    Efron & Morris, "Data analysis using Stein's estimator and its generalizations", Journal of the
    American Statistical Association 70(350), 1975.

    Examples
    --------
    >>> from rrl import Knob
    >>> space = ConfigSpace([Knob("threads", (1, 2, 4))])
    >>> logs = {0: np.array([0.0, 0.2]), 1: np.array([0.4]), 2: np.array([0.1, 0.3])}
    >>> shrunken_levels(space, logs).round(2)
    array([0.1 , 0.32, 0.2 ])
    """
    means, around = np.full((2, len(space)), np.nan)
    for index, own in logs.items():
        means[index] = own.mean()
    single = np.array([len(logs.get(index, ())) == 1 for index in range(len(space))])
    for index in np.flatnonzero(single).tolist():
        near = means[space.steps(index) == 1]
        if np.isfinite(near).any():
            around[index] = np.nanmean(near)
    known = np.isfinite(around)
    away = means[known] - around[known]
    if np.any(away):
        noise = float(np.mean(residuals(logs) ** 2))
        kept = max(0.0, 1 - noise / float(np.mean(away**2)))
        means[known] = around[known] + kept * away
    return means
