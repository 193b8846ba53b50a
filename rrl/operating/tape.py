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
from rrl.tuning.episode import MEMORY, Episode, Server
from rrl.tuning.presets import in_words
from rrl.tuning.watch import Watch

OTHERS = "others"
"""Where an episode's `info` has the latencies (s) and statuses of other clients' requests."""
REPORTED = (MEMORY, "aborted", "failure", OTHERS)
"""The entries of an episode's `info` that a journal stores."""


def stored(episode: Episode) -> dict[str, Any]:
    """Return what a journal stores of an episode, in a form for JSON.

    Examples
    --------
    >>> answer = stored(Episode({"threads": 2}, [0.0, 0.1], [0.02, 0.03], [0, 14]))
    >>> answer["latency"], answer["status"]
    ([0.02, 0.03], [0, 14])
    """
    info = {name: episode.info[name] for name in REPORTED if name in episode.info}
    if OTHERS in info:
        info[OTHERS] = [np.asarray(column).tolist() for column in info[OTHERS]]
    return {
        "configuration": dict(episode.configuration),
        "arrivals": episode.arrivals.tolist(),
        "latency": episode.latency.tolist(),
        "status": episode.status.tolist(),
        "valid": bool(episode.valid),
        "info": info,
    }


def restored(answer: Mapping[str, Any]) -> Episode:
    """Return the episode that was stored.

    Raises
    ------
    ServerError
        If the answer was an error.
    ValueError, TypeError, LookupError
        If it is no answer.

    Examples
    --------
    >>> restored(stored(Episode({"threads": 2}, [0.0, 0.1], [0.02, 0.03], [0, 14]))).ok
    array([ True, False])
    """
    if "error" in answer:
        raise ServerError(str(answer["error"]), lost=int(answer["lost"]))
    info = dict(answer["info"])
    if OTHERS in info:
        seconds, status = info[OTHERS]
        info[OTHERS] = np.array(seconds, dtype=float), np.array(status, dtype=np.int64)
    return Episode(**{**answer, "info": info})


class TapedServer:
    """A server that plays a tape until it ends, and then notes there what another one answers.

    Parameters
    ----------
    space : ConfigSpace
    server : Server or None
        It is needed when the tape has ended.
    tape : list of dict
        The answers to play.

    Attributes
    ----------
    answers : list of dict
        All answers so far, played or new.
    """

    def __init__(
        self, space: ConfigSpace, server: Server | None, tape: list[dict[str, Any]]
    ) -> None:
        self.space, self._server, self._left = space, server, deque(tape)
        self.answers: list[dict[str, Any]] = []

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
        if self._left:
            return self._next(configuration)
        if self._server is None:
            raise ValueError("there is no such measurement")
        more = {} if watch is None else {"watch": watch}
        try:
            episode = self._server.measure(configuration, arrivals, rng, **more)
        except ServerError as error:
            note = {"configuration": dict(configuration), "error": str(error), "lost": error.lost}
            self.answers.append(note)
            raise
        self.answers.append(stored(episode))
        return episode

    def _next(self, configuration: Configuration) -> Episode:
        answer = self._left.popleft()
        self.answers.append(answer)
        if answer["configuration"] != dict(configuration):
            raise ValueError(
                f"{in_words(configuration)} is asked for, and {in_words(answer['configuration'])} "
                "was measured"
            )
        return restored(answer)
