"""Region-based reinforcement learning for the parallelism of TensorFlow Serving.

Everything named here is loaded when it is first used (PEP 562), so ``import rrl`` costs next to
nothing and pulls in neither TensorFlow nor SciPy.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

#: Where each public name lives, the only names that are handed on. To publish another one, add a
#: line; it must not be the name of a room or of a module beside this one, which would hide it.
_HOME = {
    "ConfigSpace": "rrl.core.space",
    "Configuration": "rrl.core.knob",
    "Knob": "rrl.core.knob",
    "Value": "rrl.core.knob",
    "from_table": "rrl.recording.table",
    "paper_cpu": "rrl.tuning.presets",
    "paper_gpu": "rrl.tuning.presets",
    "Episode": "rrl.tuning.episode",
    "Server": "rrl.tuning.episode",
    "Status": "rrl.tuning.episode",
    "Agent": "rrl.tuning.loop",
    "RRL": "rrl.core.rrl",
    "recommended": "rrl.extension.recommended",
    "adaptive": "rrl.core.rrl",
    "released": "rrl.core.rrl",
    "AGENTS": "rrl.rivals.agents",
    "RECOMMENDED": "rrl.rivals.agents",
    "QTable": "rrl.core.qtable",
    "Copy": "rrl.core.similarity",
    "Prior": "rrl.extension.prior",
    "LearnedSimilarity": "rrl.extension.learned_similarity",
    "NetworkSimilarity": "rrl.core.similarity",
    "FixedRadius": "rrl.core.region",
    "Nearest": "rrl.core.region",
    "WholeSpace": "rrl.extension.whole_space",
    "RadiusSelection": "rrl.core.region",
    "SelectedRadius": "rrl.core.region",
    "Boltzmann": "rrl.core.exploration",
    "ExpectedSaving": "rrl.extension.expected_saving",
    "MeanLatency": "rrl.tuning.objective",
    "Percentile": "rrl.tuning.objective",
    "SLOViolations": "rrl.tuning.objective",
    "Constrained": "rrl.tuning.slo",
    "parse_objective": "rrl.tuning.slo",
    "SLO": "rrl.tuning.slo",
    "parse_slo": "rrl.tuning.slo",
    "Poisson": "rrl.workloads.workload",
    "Phases": "rrl.workloads.workload",
    "Fleet": "rrl.workloads.workload",
    "Bursts": "rrl.workloads.modulated",
    "Diurnal": "rrl.workloads.modulated",
    "FlashCrowd": "rrl.workloads.modulated",
    "Trace": "rrl.workloads.trace",
    "read_trace": "rrl.workloads.trace",
    "cut_into_episodes": "rrl.workloads.workload",
    "estimate_rate": "rrl.workloads.workload",
    "simulate_queue": "rrl.simulation.queueing",
    "against_theory": "rrl.simulation.textbook",
    "Machine": "rrl.simulation.service_model",
    "Model": "rrl.simulation.service_model",
    "SimulatedServer": "rrl.simulation.simulator",
    "optimum": "rrl.simulation.optimum",
    "cell_table": "rrl.simulation.calibration",
    "fit_cells": "rrl.simulation.calibration",
    "hold_out": "rrl.simulation.calibration",
    "twin": "rrl.simulation.calibration",
    "testbed": "rrl.simulation.testbeds",
    "read_profile": "rrl.recording.profile",
    "RecordedServer": "rrl.recording.replay",
    "TableServer": "rrl.recording.table",
    "LiveServer": "rrl.serving.live",
    "HandoverServer": "rrl.serving.handover",
    "read_sample": "rrl.serving.sample",
    "bootstrap_interval": "rrl.support.intervals",
    "compare": "rrl.tuning.loop",
    "ratio_interval": "rrl.support.intervals",
    "tune": "rrl.tuning.loop",
    "Race": "rrl.studies.race",
    "Setting": "rrl.studies.settings",
    "Sweep": "rrl.studies.sweeps",
    "choose_rates": "rrl.recording.source",
    "open_source": "rrl.recording.source",
    "sustained_rate": "rrl.recording.source",
}

__all__ = sorted(_HOME)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'rrl' has no attribute {name!r}; it has {__all__}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value  # the next look-up is an ordinary one
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
