"""Every agent by name, with the settings that it uses in a race.

A module is imported only when its agent is made. So a missing package stops only the agents that
need it. The rivals use the settings that ``data/choosing/settings.csv`` names as chosen. A setting
that each of them has here has no default in its class.
"""

from __future__ import annotations

from functools import partial
from pkgutil import resolve_name
from typing import Any

import numpy as np

from rrl.core.space import ConfigSpace
from rrl.tuning.loop import Agent, MakeAgent

RECOMMENDED = "rrl-gp"
"""The name of the agent that we recommend; :func:`rrl.recommended` makes it."""

#: The place where each agent is made, as ``module:attribute``.
HOME = {
    RECOMMENDED: "rrl.extension.recommended:recommended",
    "rrl-prior": "rrl.extension.prior:prior",
    "rrl": "rrl.core.rrl:RRL",
    "rrl-wide": "rrl.rivals.variants:wide",
    "rrl-released": "rrl.core.rrl:released",
    "rrl-released-copy": "rrl.rivals.variants:released_copy",
    "rrl-adaptive": "rrl.core.rrl:adaptive",
    "tf-serving-default": "rrl.rivals.baselines:fixed_default",
    "heuristic": "rrl.rivals.baselines:heuristic",
    "exhaustive": "rrl.rivals.baselines:Candidates",
    "random": "rrl.rivals.baselines:RandomSearch",
    "coordinate-descent": "rrl.rivals.baselines:CoordinateDescent",
    "hill-climbing": "rrl.rivals.baselines:HillClimbing",
    "optimistic-table": "rrl.rivals.baselines:OptimisticTable",
    "rrl-one-cell": "rrl.rivals.variants:one_cell",
    "q-learning": "rrl.rivals.q_agents:QLearning",
    "q-learning-near": "rrl.rivals.q_agents:NearQLearning",
    "deep-q-network": "rrl.rivals.q_agents:DeepQNetwork",
    "zooming": "rrl.rivals.zooming:Zooming",
    "gp-ei": "rrl.rivals.bayesian:GPEI",
    "optuna-tpe": "rrl.rivals.peers:Optuna",
}

#: What `rrl.studies.choosing` chose; Optuna, which is an extra, has what an earlier study chose.
SETTINGS: dict[str, dict[str, Any]] = {
    "random": {"budget": 16},
    "coordinate-descent": {"repeats": 1, "rounds": 1},
    "hill-climbing": {"radius": 1.0, "tries": 0.8, "sure": 1.5},
    "optimistic-table": {"share": 8.0, "growth": 0.1, "sure": 1.0},
    "rrl-one-cell": {"learning_rate": 0.01, "temperature": [0.1, 0.01, 20]},
    "zooming": {"lipschitz": 0.25, "confidence": 0.1},
    "q-learning": {"epsilon": [1.0, 0.0, 10], "learning_rate": 0.1},
    "q-learning-near": {"epsilon": [1.0, 0.0, 20], "learning_rate": 0.03, "radius": 2.0},
    "deep-q-network": {"epsilon": [0.1, 0.02, 20], "learning_rate": 0.01},
    "gp-ei": {"initial": 5, "length": 1.0},
    "optuna-tpe": {"initial": 10},
}


def home(name: str) -> str:
    """Return the place where the named agent is made, as ``module:attribute``.

    An agent for the ablation has an entry at that place, see :data:`rrl.rivals.variants.ABLATED`.

    Raises
    ------
    ValueError
        If no agent has this name. The message lists the known names.
    """
    if name in HOME:
        return HOME[name]
    from rrl.rivals.variants import ABLATED  # it loads the method

    if name not in ABLATED:
        raise ValueError(f"unknown agent {name!r}: use one of {', '.join(HOME)}")
    return "rrl.rivals.variants:ABLATED"


def maker(name: str, **changes: Any) -> MakeAgent:
    """Return a function that makes the named agent; `changes` replace single settings.

    The function can be sent to another process.

    Raises
    ------
    ValueError
        See :func:`home`.

    Examples
    --------
    >>> from rrl import paper_cpu
    >>> maker("random", budget=7)(paper_cpu(), np.random.default_rng(0)).budget
    7
    """
    return partial(_make, home(name), name, SETTINGS.get(name, {}) | changes)


def _make(
    place: str, name: str, settings: dict[str, Any], space: ConfigSpace, rng: np.random.Generator
) -> Agent:
    found = resolve_name(place)
    agent: Agent = (found[name] if isinstance(found, dict) else found)(space, rng, **settings)
    return agent


AGENTS: dict[str, MakeAgent] = {name: maker(name) for name in HOME}
