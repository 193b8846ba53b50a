"""Studies: races between agents on problems with known answers, sweeps, and what clients pay."""
