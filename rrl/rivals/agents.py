"""Every agent by name, with the settings that it uses in a race.

A module is imported only when its agent is made. So a missing package stops only the agents that
need it. The rivals use the settings that cost least in ``data/choosing/rivals.csv``, and the agents
named ``...-for-speed`` those that found a good configuration soonest.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from rrl.core.agent import Agent, MakeAgent
from rrl.core.space import ConfigSpace

#: The place where each agent is made, as ``module:attribute``.
HOME = {
    "rrl-gp": "rrl.tuning.recommended:recommended",
    "rrl": "rrl.core.rrl:RRL",
    "rrl-wide": "rrl.rivals.variants:with_radius",
    "rrl-released": "rrl.core.rrl:released",
    "rrl-released-copy": "rrl.rivals.variants:released_copy",
    "rrl-adaptive": "rrl.core.rrl:adaptive",
    "tf-serving-default": "rrl.rivals.baselines:fixed_default",
    "heuristic": "rrl.rivals.baselines:heuristic",
    "exhaustive": "rrl.rivals.baselines:Candidates",
    "random": "rrl.rivals.baselines:RandomSearch",
    "coordinate-descent": "rrl.rivals.baselines:CoordinateDescent",
    "hill-climbing": "rrl.rivals.baselines:hill_climbing",
    "simulated-annealing": "rrl.rivals.baselines:Annealing",
    "q-learning": "rrl.rivals.q_agents:QLearning",
    "deep-q-network": "rrl.rivals.q_agents:DeepQNetwork",
    "q-learning-for-speed": "rrl.rivals.q_agents:QLearning",
    "deep-q-network-for-speed": "rrl.rivals.q_agents:DeepQNetwork",
    "zooming": "rrl.rivals.zooming:Zooming",
    "gp-ei": "rrl.rivals.bayesian:GPEI",
    "optuna-tpe": "rrl.rivals.peers:Optuna",
}

#: Agents of which one part is another one, for :mod:`rrl.studies.ablation` only.
ABLATED = {
    "rrl-gp-flat-constant": "rrl.rivals.variants:flat_constant",
    "rrl-gp-no-middle": "rrl.rivals.variants:without_middle",
    "rrl-gp-reach-1": "rrl.rivals.variants:within_steps",
    "rrl-gp-reach-3": "rrl.rivals.variants:within_steps",
    "rrl-gp-flat-prior": "rrl.rivals.variants:other_fit",
    "rrl-gp-expected-lengths": "rrl.rivals.variants:other_fit",
    "rrl-gp-one-length": "rrl.rivals.variants:other_fit",
    "rrl-radius-2": "rrl.rivals.variants:with_radius",
    "rrl-schedule": "rrl.rivals.variants:scheduled_radius",
    "rrl-random-radius": "rrl.rivals.variants:random_radius",
    "rrl-adaptive-flat-prior": "rrl.rivals.variants:flat_radius",
}

#: The settings that differ from the agent's defaults.
SETTINGS: dict[str, dict[str, Any]] = {
    "rrl-gp-reach-1": {"steps": 1},
    "rrl-gp-reach-3": {"steps": 3},
    "rrl-gp-flat-prior": {"how": "flat prior"},
    "rrl-gp-expected-lengths": {"how": "prior alone"},
    "rrl-gp-one-length": {"how": "one length"},
    "rrl-radius-2": {"radius": 2.0},
    "rrl-wide": {"radius": 3.0},  # as released
    "random": {"budget": 10},
    "coordinate-descent": {"repeats": 1, "rounds": 1},
    "hill-climbing": {"reach": 1, "again": 0.3, "patience": 1000},
    "simulated-annealing": {"temperature": 0.1, "decay": 0.98, "reach": 1},
    "zooming": {"lipschitz": 0.25, "confidence": 0.05},
    "q-learning": {"epsilon": [1.0, 0.02, 5], "learning_rate": 0.3},
    "q-learning-for-speed": {"epsilon": [1.0, 0.1, 50], "learning_rate": 0.1},
    "deep-q-network": {"epsilon": [0.1, 0.02, 20], "learning_rate": 0.01},
    "deep-q-network-for-speed": {"epsilon": [1.0, 0.1, 20], "learning_rate": 0.01},
    "gp-ei": {"initial": 5, "length": 1.0},
    "optuna-tpe": {"initial": 10},
}


def home(name: str) -> str:
    """Return the place where the named agent is made, as ``module:attribute``.

    Raises
    ------
    ValueError
        If no agent has this name. The message lists the known names.
    """
    if name not in HOME | ABLATED:
        raise ValueError(f"unknown agent {name!r}: use one of {', '.join(HOME)}")
    return (HOME | ABLATED)[name]


def maker(name: str, **changes: Any) -> MakeAgent:
    """Return a function that makes the named agent; `changes` replace single settings.

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
    module, _, attribute = home(name).partition(":")

    def make(space: ConfigSpace, rng: np.random.Generator) -> Agent:
        settings = SETTINGS.get(name, {}) | changes
        return getattr(import_module(module), attribute)(space, rng, **settings)

    return make


AGENTS: dict[str, MakeAgent] = {name: maker(name) for name in HOME}
