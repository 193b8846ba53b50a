"""Operating: what `rrl tune`, `rrl replay`, `rrl race`, `rrl profile` and `rrl stop` do."""
