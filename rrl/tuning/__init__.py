"""Tuning: episodes, their costs, the loop, and the knobs and defaults of TensorFlow Serving."""
