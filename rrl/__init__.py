"""Region-based reinforcement learning for the parallelism of TensorFlow Serving.

Everything named here is loaded when it is first used (PEP 562), so ``import rrl`` costs next to
nothing and pulls in neither TensorFlow nor SciPy.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

#: Where each public name lives. To publish another one, add a line; it must not be the name of a
#: module of this package, which would hide it.
_HOME = {
    "ConfigSpace": "rrl.space",
    "Configuration": "rrl.space",
    "Knob": "rrl.space",
    "Level": "rrl.space",
    "from_table": "rrl.space",
    "paper_cpu": "rrl.presets",
    "paper_gpu": "rrl.presets",
    "tf_serving": "rrl.presets",
    "Episode": "rrl.episode",
    "Server": "rrl.episode",
    "Status": "rrl.episode",
    "Agent": "rrl.agent",
    "RRL": "rrl.agent",
    "AdaptiveRRL": "rrl.region_size",
    "RegionSize": "rrl.region_size",
    "AGENTS": "rrl.agents",
    "Copy": "rrl.similarity",
    "DistanceWeighted": "rrl.similarity",
    "LearnedSimilarity": "rrl.learned",
    "NetworkSimilarity": "rrl.network",
    "GrowingRegion": "rrl.growing",
    "default_agent": "rrl.growing",
    "MeanLatency": "rrl.objective",
    "Percentile": "rrl.objective",
    "SLOViolations": "rrl.objective",
    "Weighted": "rrl.objective",
    "parse_objective": "rrl.objective",
    "SLO": "rrl.slo",
    "parse_slo": "rrl.slo",
    "Poisson": "rrl.workload",
    "Phases": "rrl.workload",
    "Fleet": "rrl.workload",
    "Bursts": "rrl.modulated",
    "Diurnal": "rrl.modulated",
    "FlashCrowd": "rrl.modulated",
    "Trace": "rrl.trace",
    "read_trace": "rrl.trace",
    "episodes": "rrl.workload",
    "estimate_rate": "rrl.workload",
    "simulate_queue": "rrl.simulation.queueing",
    "against_theory": "rrl.simulation.textbook",
    "Machine": "rrl.simulation.service_model",
    "Model": "rrl.simulation.service_model",
    "Optimum": "rrl.simulation.simulator",
    "SimulatedServer": "rrl.simulation.simulator",
    "optimum": "rrl.simulation.simulator",
    "calibrate": "rrl.simulation.calibration",
    "predict": "rrl.simulation.calibration",
    "profile_cases": "rrl.simulation.calibration",
    "with_parameters": "rrl.simulation.calibration",
    "cell_table": "rrl.simulation.validation",
    "fit_profile": "rrl.simulation.validation",
    "hold_out": "rrl.simulation.validation",
    "predict_cells": "rrl.simulation.validation",
    "twin": "rrl.simulation.validation",
    "testbed": "rrl.simulation.testbeds",
    "testbed_parameters": "rrl.simulation.testbeds",
    "Plan": "rrl.recording.plan",
    "Profile": "rrl.recording.profile",
    "read_profile": "rrl.recording.profile",
    "PLANS": "rrl.recording.plans",
    "Recorder": "rrl.recording.record",
    "RecordedServer": "rrl.recording.replay",
    "TableServer": "rrl.recording.replay",
    "LiveServer": "rrl.serving.live",
    "RemoteServer": "rrl.serving.live",
    "RestartedServer": "rrl.serving.restarted",
    "HandoverServer": "rrl.serving.handover",
    "ModelServer": "rrl.serving.launcher",
    "Client": "rrl.serving.loadgen",
    "read_sample": "rrl.serving.sample",
    "Journal": "rrl.operating.journal",
    "Run": "rrl.experiments",
    "bootstrap_interval": "rrl.experiments",
    "compare": "rrl.experiments",
    "mean_ratio_interval": "rrl.experiments",
    "ratio_interval": "rrl.experiments",
    "tune": "rrl.experiments",
    "Race": "rrl.studies.race",
    "Scenario": "rrl.studies.scenario",
    "score": "rrl.studies.race",
    "Setting": "rrl.studies.settings",
    "cross": "rrl.studies.settings",
    "Sweep": "rrl.studies.sweeps",
    "choose_rates": "rrl.recording.source",
    "open_profile": "rrl.recording.source",
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
