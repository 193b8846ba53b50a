"""Our extension of the method: the recommended agent `rrl-gp`, made of three parts of its own.

1. All measurements estimate all configurations: :mod:`~rrl.extension.gaussian_process` and
   :mod:`~rrl.extension.learned_similarity`. So the whole space is the region:
   :mod:`~rrl.extension.whole_space`.
2. A configuration is tried if the trial is expected to save more than it costs, for as long as is
   left to serve: :mod:`~rrl.extension.expected_saving`.
3. What serves now serves first: :mod:`~rrl.extension.recommended`.

The method (:mod:`rrl.core`) needs none of this.
"""
