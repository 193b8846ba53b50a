"""The method: region-based reinforcement learning, and nothing that serves or measures.

Begin with :mod:`rrl.ladder`, which is this method on one screen. Here the same agent is made of
parts that can be exchanged, and it learns for each load level.

In an *episode*, the server runs with one configuration, and its cost is measured. A *trial* is an
episode with another configuration than the *incumbent*, the best one known. In the words of
reinforcement learning, a load level is a state, a configuration is an action, and the cost is the
negative reward; there is no next state. In the code, a configuration is its *index* in the space,
several of them are `cells` of the table, and an *sd* is a standard deviation. The modules in
reading order:

1. What can be chosen: :mod:`~rrl.core.knob` and :mod:`~rrl.core.space`.
2. What is known: :mod:`~rrl.core.qtable`. The module begins with the region update
   and ends with the loads that share a table.
3. What a measurement says about other configurations: :mod:`~rrl.core.similarity`.
4. About which others, and what may be tried next: :mod:`~rrl.core.region`.
5. What serves next: :mod:`~rrl.core.exploration`.
6. The agent made of these parts, and what is deployed: :mod:`~rrl.core.rrl`.

This is all of the paper's method. Our extension, the recommended agent, exchanges all three parts:
:mod:`rrl.extension`.
"""
