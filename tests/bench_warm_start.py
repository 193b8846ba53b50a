"""The factor by which a warm start counts, and others: ``python tests/bench_warm_start.py``.

:func:`rrl.tuning.warm_start.transfer` multiplies earlier costs by the fraction of their variance
that neighbours predict. Here the fraction has other powers: 0 is no factor. About ten minutes.
"""

from __future__ import annotations

import argparse
from unittest.mock import patch

import numpy as np
import pandas as pd

from rrl.core.gaussian_process import GaussianProcess
from rrl.studies.warm_start import study

KEYS = ["problem", "source"]


def with_power(power):
    """The process of the earlier costs, such that the factor is that power of the fraction."""

    class Powered(GaussianProcess):
        def __init__(self, x, y, *rest):
            super().__init__(x, y, *rest)
            self.y = y

        def leave_one_out(self):
            off = self.y - self.y.mean()
            wrong = ((self.y - super().leave_one_out()) ** 2).sum() / ((off**2).sum() or 1.0)
            return self.y - np.sqrt(1 - max(0.0, 1 - wrong) ** power) * off

    return patch("rrl.tuning.warm_start.GaussianProcess", Powered)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=30)
    options = parser.parse_args()
    seeds = range(8500, 8500 + options.seeds)
    usual = study(seeds)
    for power in (0, 0.5, 2):
        with with_power(power):
            other = study(seeds)
        used = usual["taken"] | other["taken"]
        ratios = np.log(other[["mean_cost", "deployed"]] / usual[["mean_cost", "deployed"]])
        by_source = pd.concat([usual[KEYS], ratios], axis=1)[used].groupby(KEYS, sort=False)
        print(f"power {power} over 1: geometric means of the ratios")
        print(np.exp(by_source.mean()).to_string(float_format="%.3f"))
        print("all:", np.exp(ratios[used].mean()).round(3).to_dict(), flush=True)


if __name__ == "__main__":
    main()
