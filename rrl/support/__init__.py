"""What every room may use: errors, the machine, files, intervals, provenance."""
