"""Operating: what `rrl tune`, `rrl replay`, `rrl race`, `rrl serve` and `rrl profile` do."""
