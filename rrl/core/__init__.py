"""The method: region-based reinforcement learning, and nothing that serves or measures.

The modules in reading order:

1. What can be chosen: :mod:`~rrl.core.knob`, :mod:`~rrl.core.space`, and the steps from one
   configuration to the next, :mod:`~rrl.core.neighbours`.
2. What is known: :mod:`~rrl.core.region_update`, then the table that it updates,
   :mod:`~rrl.core.qtable`, and the load levels that have a table each,
   :mod:`~rrl.core.load_levels`.
3. What a measurement says about others: :mod:`~rrl.core.similarity`, and then
   :mod:`~rrl.core.gaussian_process`, :mod:`~rrl.core.learned_similarity` and
   :mod:`~rrl.core.released_network`.
4. What is tried next: :mod:`~rrl.core.exploration`.
5. The agents made of these: :mod:`~rrl.core.agent` says what an agent is, :mod:`~rrl.core.rrl` is
   the paper's, :mod:`~rrl.core.region_size` selects its radius; :mod:`~rrl.core.growing`, with
   :mod:`~rrl.core.measured_levels`, lets the region grow.
"""
