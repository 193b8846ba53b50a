"""Any server as a Gymnasium environment, for agents that other people wrote.

One step serves one episode of requests. Here the user's program runs the loop that
:func:`rrl.tune` runs. The same seed gives the same arrivals in both.
"""

from __future__ import annotations

from math import prod
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rrl.core.space import ConfigSpace
from rrl.tuning.episode import Server, measure_valid
from rrl.tuning.loop import draw_run
from rrl.tuning.objective import MeanLatency, Objective
from rrl.workloads.workload import Times, Workload, estimate_rate

_LARGEST = float(np.finfo(np.float32).max)

Observation = NDArray[np.float32]


class ServingEnv(gymnasium.Env[Observation, Any]):
    """Choose a configuration, serve an episode with it, and get minus its cost as the reward.

    **Action.** The action is the index of a value for each knob (``MultiDiscrete``). If the space
    lacks some combinations, the action is the index of a configuration (``Discrete``), so that no
    action is invalid.

    **Observation.** The observation is ``[load, cost, knob, ...]`` as float32. The load is in
    requests per second and is estimated from the arrivals before this step. The cost is that of
    the last step. The knobs show which configuration served last, from 0 to 1 along each knob's
    positions; a knob without an order has a number for each value. After a reset, all values
    except the load are 0.

    **Reward.** The reward is minus the cost. Gymnasium's own wrappers scale it.

    **End.** The run is truncated after `steps` steps. It never terminates, because a service has
    no end.

    Parameters
    ----------
    server : Server
        A simulated, recorded or live server. The environment uses it, but does not close it.
    workload : Workload
        It determines when requests arrive. Its time continues from step to step.
    steps : int, optional
        Number of steps until truncation, at least 1.
    requests : int, optional
        Requests per step. At least 2 are needed to estimate the load from them.
    objective : Objective, optional
        The cost of an episode. The default is the mean latency in seconds.

    Raises
    ------
    ValueError
        If a number is out of range.

    Examples
    --------
    >>> from rrl import Poisson, testbed
    >>> environment = ServingEnv(testbed("cpu2"), Poisson(100.0), steps=5)
    >>> environment.action_space
    MultiDiscrete([4 4 6])
    >>> observation, info = environment.reset(seed=1)
    >>> observation, reward, terminated, truncated, info = environment.step([1, 0, 2])
    >>> info["configuration"], reward == -info["cost"]
    ({'inter_op': 2, 'intra_op': 1, 'batch_threads': 2}, True)
    """

    def __init__(
        self,
        server: Server,
        workload: Workload,
        *,
        steps: int = 100,
        requests: int = 100,
        objective: Objective | None = None,
    ) -> None:
        if steps < 1 or requests < 2:
            raise ValueError(f"need steps >= 1 and requests >= 2, got {steps} and {requests}")
        self.server, self.workload, self.steps, self.requests = server, workload, steps, requests
        self.objective = objective or MeanLatency()
        space: ConfigSpace = server.space
        if len(space) == prod(space.shape):
            self.action_space, self._shape = spaces.MultiDiscrete(list(space.shape)), space.shape
        else:
            self.action_space, self._shape = spaces.Discrete(len(space)), (len(space),)
        columns = space.positions.shape[1]
        high = np.array([_LARGEST, _LARGEST, *[1.0] * columns], dtype=np.float32)
        self.observation_space = spaces.Box(np.zeros_like(high), high)
        least, most = space.positions.min(axis=0), space.positions.max(axis=0)
        self._scaled = (space.positions - least) / np.where(most > least, most - least, 1.0)
        self._left: list[Times] = []  # arrivals of the steps that are left, the next one last

    def _index(self, action: Any) -> int:
        try:
            return int(np.ravel_multi_index(tuple(np.atleast_1d(action)), self._shape))
        except (TypeError, ValueError):
            raise ValueError(f"action {action!r} is not in {self.action_space}") from None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start again with new arrivals; see :meth:`gymnasium.Env.reset`."""
        super().reset(seed=seed)
        drawn = draw_run(self.workload, self.steps, self.requests, self.np_random)
        load, by_episode, self._server_rng = drawn
        self._left = list(by_episode)[::-1]
        return self._observe(load, 0.0, np.zeros(self._scaled.shape[1])), {}

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Serve an episode; see :meth:`gymnasium.Env.step`.

        `info` contains the `configuration`, its `cost` in the objective's unit, and the `latency`
        (seconds) and the `status` of each request.

        Raises
        ------
        ValueError
            If the action is not in the action space.
        gymnasium.error.ResetNeeded
            If it is called before the first reset or after truncation.
        ServerError
            If the server fails permanently.
        """
        index = self._index(action)
        if not self._left:
            raise gymnasium.error.ResetNeeded("this run is over or has not begun: call reset()")
        configuration, arrivals = self.server.space[index], self._left.pop()
        episode = measure_valid(self.server, configuration, arrivals, self._server_rng)
        cost = float(self.objective(episode))
        info = {
            "configuration": configuration,
            "cost": cost,
            "latency": episode.latency.copy(),
            "status": episode.status.copy(),
        }
        seen = self._observe(estimate_rate(episode.arrivals), cost, self._scaled[index])
        return seen, -cost, False, not self._left, info

    def _observe(self, load: float, cost: float, knobs: NDArray[np.float64]) -> Observation:
        return np.clip([load, cost, *knobs], 0.0, _LARGEST).astype(np.float32)
