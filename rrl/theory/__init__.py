"""Theory: the bounds on region updates, and the exact and sampled processes that check them."""
