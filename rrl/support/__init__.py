"""Tools for all other subpackages: errors, the machine, files, intervals, provenance."""
