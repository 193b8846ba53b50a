"""What a server has answered, as a journal stores it, so that a run can be played again.

A run that continues is the same loop again: a :class:`TapedServer` answers from the tape until it
ends, and then the real server does. Whatever follows from the answers, such as costs, choices and
the state of the guard, is computed again. So only the answers are stored, to the last bit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from rrl.core.knob import Configuration
from rrl.core.space import ConfigSpace
from rrl.support.errors import ServerError
from rrl.tuning.constrained import MEMORY
from rrl.tuning.episode import Episode, Server, Status, check_arrivals
from rrl.tuning.presets import in_words
from rrl.tuning.watch import Watch

REPORTED = (MEMORY, "aborted", "failure")
"""The entries of an episode's `info` that a journal stores, apart from others' requests."""


def stored(episode: Episode, due: ArrayLike) -> dict[str, Any]:
    """Return what a journal stores of an episode whose requests were planned at `due` (s).

    Examples
    --------
    >>> stored(Episode({"threads": 2}, [0.0, 0.1], [0.02, 0.03], [0, 14]), [0.0, 0.1, 0.2])
    {'configuration': {'threads': 2}, 'latency_s': [0.02, 0.03], 'status': [0, 14]}
    """
    answer: dict[str, Any] = {
        "configuration": dict(episode.configuration),
        "latency_s": episode.latency.tolist(),
    }
    if not episode.ok.all():
        answer["status"] = episode.status.tolist()
    if not np.array_equal(episode.arrivals, check_arrivals(due)[: len(episode)]):
        answer["arrivals_s"] = episode.arrivals.tolist()
    if not episode.valid:
        answer["valid"] = False
    if info := {name: episode.info[name] for name in REPORTED if name in episode.info}:
        answer["info"] = info
    if "others" in episode.info:
        answer["others"] = [np.asarray(column).tolist() for column in episode.info["others"]]
    return answer


def restored(answer: Mapping[str, Any], due: ArrayLike | None = None) -> Episode:
    """Return the episode that was stored; without `due`, its arrivals are a second apart.

    Raises
    ------
    ServerError
        If the answer was an error.
    ValueError, TypeError, LookupError
        If it is no answer.

    Examples
    --------
    >>> restored({"configuration": {"threads": 2}, "latency_s": [0.02, 0.03]}).ok
    array([ True,  True])
    """
    if "error" in answer:
        raise ServerError(str(answer["error"]), lost=int(answer["lost"]))
    latency, info = answer["latency_s"], dict(answer.get("info", {}))
    n = len(latency)
    arrivals = answer.get("arrivals_s", np.arange(n, dtype=float) if due is None else due)
    if "others" in answer:
        seconds, status = answer["others"]
        info["others"] = np.array(seconds, dtype=float), np.array(status, dtype=np.int64)
    return Episode(
        answer["configuration"], arrivals[:n], latency, answer.get("status", np.zeros(n)),
        answer.get("valid", True), info,
    )  # fmt: skip


def answered(episode: Episode, late_s: float | None) -> Episode:
    """Return an episode; if a watch has stopped it, only the requests whose answers are known.

    A request that was cancelled counts as answered then if it was late already. Otherwise nothing
    is known of it, and it is left out, unless no other request was sent.

    Examples
    --------
    >>> seconds, status = [0.009, 0.2, 0.005], [0, 1, 1]
    >>> some = Episode({}, [0.0, 0.0, 0.0], seconds, status, info={"aborted": "worse"})
    >>> answered(some, late_s=0.1).latency.tolist()
    [0.009, 0.2]
    """
    if late_s is None or not episode.info.get("aborted"):
        return episode
    known = ~episode.cancelled | (episode.latency > late_s)
    if not known.any():
        known[:] = True
    status = np.where(episode.cancelled, Status.OK.value, episode.status)[known]
    return Episode(
        episode.configuration, episode.arrivals[known], episode.latency[known], status,
        info={name: value for name, value in episode.info.items() if name != "aborted"},
    )  # fmt: skip


class TapedServer:
    """A server that plays a tape until it ends, and then notes there what another one answers.

    Parameters
    ----------
    space : ConfigSpace

    Attributes
    ----------
    server : Server, optional
        It is needed when the tape has ended.
    answers : list of dict
        All answers, played or new, since :meth:`play` or :meth:`take`.
    left : deque of dict
        The answers that are still to be played.
    """

    def __init__(self, space: ConfigSpace) -> None:
        self.space = space
        self.server: Server | None = None
        self.answers: list[dict[str, Any]] = []
        self.left: deque[dict[str, Any]] = deque()
        self._state: Any = None

    def play(self, answers: list[dict[str, Any]], state: Any = None) -> None:
        """Answer these next; after the last one, the server's generator gets this state."""
        self.answers, self.left, self._state = [], deque(answers), state

    def take(self) -> list[dict[str, Any]]:
        """Return the answers so far, and begin anew."""
        answers, self.answers = self.answers, []
        return answers

    def measure(
        self,
        configuration: Configuration,
        arrivals: ArrayLike,
        rng: np.random.Generator,
        *,
        watch: Watch | None = None,
    ) -> Episode:
        """Return the next episode of the tape, or measure one.

        Raises
        ------
        ValueError
            If the tape is about another configuration, or nobody can measure what it lacks.
        """
        if self.left:
            return self._next(configuration, arrivals, rng)
        if self.server is None:
            raise ValueError("there is no such measurement")
        more = {} if watch is None else {"watch": watch}
        try:
            episode = self.server.measure(configuration, arrivals, rng, **more)
        except ServerError as error:
            note = {"configuration": dict(configuration), "error": str(error), "lost": error.lost}
            self.answers.append(note)
            raise
        self.answers.append(stored(episode, arrivals))
        return episode

    def _next(
        self, configuration: Configuration, due: ArrayLike, rng: np.random.Generator
    ) -> Episode:
        answer = self.left.popleft()
        self.answers.append(answer)
        if answer["configuration"] != dict(configuration):
            raise ValueError(
                f"{in_words(configuration)} is asked for, and {in_words(answer['configuration'])} "
                "was measured"
            )
        if not self.left and self._state is not None:
            rng.bit_generator.state = self._state
        return restored(answer, due)
