"""Studies: races between agents on problems with a known answer, sweeps, and the claims."""
