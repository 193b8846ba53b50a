"""Tuning: episodes, what they cost, the loop, and the knobs and defaults of TensorFlow Serving."""
