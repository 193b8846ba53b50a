"""Wait until the machine runs at the speed of a plan's rule."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace

from rrl.recording.probe import Rule
from rrl.support.errors import UnstableError

PATIENCE_S = 900.0  # longest time outside the rule's limits before the recording stops
PAUSE_S = 2.0  # time between two probes while waiting
QUIET_S = 10.0  # the recording says that it waits if it does so for longer


class SteadyMachine:
    """The machine by its probe. The probe after an episode is also the one before the next.

    Parameters
    ----------
    rule : Rule
        The attribute of this name has no upper limit any more once the machine became faster.
    probe : callable
        It returns the seconds that a fixed task took.
    say : callable
        It is told in one line why the recording waits, or goes on with another speed.

    Examples
    --------
    >>> seconds = iter([0.03, 0.031])
    >>> machine = SteadyMachine(Rule(reference_s=0.03), lambda: next(seconds), print)
    >>> machine.wait(), machine.look(), machine.wait()
    (0.03, 0.031, 0.031)
    """

    def __init__(self, rule: Rule, probe: Callable[[], float], say: Callable[[str], None]) -> None:
        self.rule, self._probe, self._say = rule, probe, say
        self._seconds = 0.0  # of the last probe; 0 if the machine has worked since then

    def forget(self) -> None:
        """Take the last probe for old, because the machine has worked."""
        self._seconds = 0.0

    def look(self) -> float:
        """Probe the machine and return the seconds."""
        self._seconds = self._probe()
        return self._seconds

    def wait(self) -> float:
        """Wait for a probe that is within the rule's limits, and return its seconds.

        A machine that stays faster than the rule allows has become idle since the reference was
        taken. Then the recording goes on without that limit; it stores the speed with each episode.

        Raises
        ------
        UnstableError
            If the machine stays too slow for `PATIENCE_S`.
        """
        began, told = time.monotonic(), False
        while not (self._seconds and self.rule.accepts(self._seconds)):
            rule, waited_s = self.rule, time.monotonic() - began
            if self._seconds and waited_s > QUIET_S and rule.speed(self._seconds) > rule.fastest:
                self.rule = replace(rule, fastest=math.inf)
                self._say(
                    f"the machine has become {rule.speed(self._seconds):.2f} times as fast as at "
                    "the start, when something else may have run: the recording goes on, and each "
                    "episode has its speed"
                )
                break
            if self._seconds and waited_s > QUIET_S and not told:
                told = True
                self._say(
                    f"waiting: the machine runs at {rule.speed(self._seconds):.2f} of the plan's "
                    f"speed, and {rule.slowest:g} to {rule.fastest:g} count; something else may run"
                )
            if waited_s > PATIENCE_S:
                raise UnstableError(
                    f"for {PATIENCE_S:.0f} s the machine's speed was outside the limits; it is "
                    f"{rule.speed(self._seconds):.2f} of the plan's speed; "
                    "try again when it is less busy, or make a plan for this machine"
                )
            if self._seconds:
                time.sleep(PAUSE_S)
            self.look()
        return self._seconds
