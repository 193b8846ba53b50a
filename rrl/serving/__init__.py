"""Real serving: models, a server process, a load generator, and the live server made of them."""
