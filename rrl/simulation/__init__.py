"""Simulation: a simulated serving process, its testbeds, and its fit to measurements."""
