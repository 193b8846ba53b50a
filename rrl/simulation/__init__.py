"""Simulation: a serving process in arithmetic, its testbeds, and its fit to measurements."""
