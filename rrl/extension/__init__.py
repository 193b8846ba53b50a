"""Our extension of the method: `rrl-prior`, one step from the paper's agent, and `rrl-gp`.

In `rrl-prior`, a region is what is expected beforehand, and a configuration's own measurements take
over: :mod:`~rrl.extension.prior`. Its region is the nearest configurations, so it suits any table
(:class:`rrl.core.region.Nearest`), and it explores as `rrl` does.

The recommended agent `rrl-gp` is the next step, and has three parts of its own:

1. All measurements estimate all configurations: :mod:`~rrl.extension.gaussian_process` and
   :mod:`~rrl.extension.learned_similarity`. So the whole space is the region:
   :mod:`~rrl.extension.whole_space`.
2. A configuration is tried if the trial is expected to save more than it costs, for as long as is
   left to serve: :mod:`~rrl.extension.expected_saving`.
3. What serves now serves first: :mod:`~rrl.extension.recommended`.

The method (:mod:`rrl.core`) needs none of this.
"""
