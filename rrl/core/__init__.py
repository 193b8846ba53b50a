"""The method: region-based reinforcement learning, and nothing that serves or measures.

The modules in reading order:

1. What can be chosen: :mod:`~rrl.core.knob`, :mod:`~rrl.core.space`, the space of a table of
   measurements, :mod:`~rrl.core.from_table`, and neighbours, :mod:`~rrl.core.neighbours`.
2. What is known: :mod:`~rrl.core.qtable`. It begins with the region update.
3. What a measurement says about other configurations: :mod:`~rrl.core.similarity`, then
   :mod:`~rrl.core.gaussian_process` and :mod:`~rrl.core.learned_similarity`, and
   :mod:`~rrl.core.released_network`. :mod:`~rrl.core.warm_start` begins with what was measured
   elsewhere.
4. About which others, and what may be tried next: :mod:`~rrl.core.region`, how far that reaches,
   :mod:`~rrl.core.reach`, and :mod:`~rrl.core.region_size`, which selects a radius by Bayesian
   optimisation; :mod:`~rrl.core.selected_reach` lets it select a reach.
5. What serves next: :mod:`~rrl.core.exploration`, with :mod:`~rrl.core.sum_tree`.
6. The agent made of these parts: :mod:`~rrl.core.rrl`, with the rule of
   :mod:`~rrl.core.deployment`, the load levels of :mod:`~rrl.core.load_levels` and what every
   agent is, :mod:`~rrl.core.agent`. :mod:`~rrl.core.variants` makes the paper's agents.
"""
