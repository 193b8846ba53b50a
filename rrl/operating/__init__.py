"""Operating: what the commands `rrl tune`, `rrl replay`, `rrl serve` and `rrl profile` do."""
