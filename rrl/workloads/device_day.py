"""A day of a fleet of sensors, cameras and updated devices, compressed into an hour.

Only the load curve is compressed. The devices' own times, such as the period of a sensor and the
duration of an event, and the rates stay as they are. So an agent that serves this day gets a
twenty-fourth of the episodes of a real one, and learning is harder here than there.
"""

from __future__ import annotations

from rrl.workloads.devices import Cameras, Delayed, Reconnects, Superposed
from rrl.workloads.modulated import Diurnal
from rrl.workloads.workload import Fleet

HOURS = 24


def device_day(rate: float, length_s: float = 3600.0) -> Delayed:
    """Return the arrivals of a day of sensors, cameras and one firmware update.

    Sensors send two fifths of the requests, each once per minute, at the same rate all day. Cameras
    send most of the others. Their events follow a sine: the highest rate is at a quarter of the
    day, the lowest at three quarters. There a firmware update makes devices come back within one of
    the 24 hours, with the delays of traffic model 2 of 3GPP TR 37.868 on that hour. They are 2 % of
    the requests of the day. All of it comes over a cellular uplink. The fractions are assumed.

    Parameters
    ----------
    rate : float
        Mean requests per second.
    length_s : float
        Length of the compressed day in seconds.

    Examples
    --------
    >>> day = device_day(100.0)
    >>> round(day.rate), [type(one).__name__ for one in day.workload.workloads]
    (100, ['Fleet', 'Cameras', 'Reconnects'])
    """
    hour = length_s / HOURS
    return Delayed(
        Superposed(
            (
                Fleet(max(round(0.4 * rate * 60), 1), period=60.0, jitter=0.5),
                Cameras(Diurnal(0.58 * rate / Cameras.frames, amplitude=0.9, period=length_s)),
                Reconnects(
                    max(round(0.02 * rate * length_s), 1),
                    every=length_s,
                    window=hour,
                    first=0.75 * length_s - hour / 2,
                ),
            )
        )
    )
