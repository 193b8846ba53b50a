"""Wrong answers to the exercises of the course, each with a part of the reason that it must get.

An answer stands in the place of the lines between the marks of a solution. Where an exercise has
two such places, an answer is a pair; None keeps the right lines. GIVEN lists the cells of the
notebook, or the lines of code, that an exercise needs.
"""

from __future__ import annotations

#: What an exercise needs besides the notebook's imports: identifiers of cells, or code.
GIVEN = {
    "00_quickstart": {"guess": ["random-trials"]},
    "07_experiments": {
        "cells-lost": [
            "duels = pd.DataFrame({'rival': list('aaaabbb'), 'measure': list('xxyyxyy'),"
            " 'verdict': ['lost', 'won', 'lost', 'lost', 'tied', 'lost', 'won']})"
        ]
    },
    "10_explorer": {
        "region": ["from rrl import testbed\nserver = testbed('cpu2')"],
        "method": ["agent-means", "best-action", "agents", "bed = testbed('cpu2')"],
    },
}

#: What any answer may be by mistake, and a word for it; every exercise is tried with all of them.
ODD = {
    "None": "nothing",
    "'seven'": "text",
    "[1.0, 2.0, 3.0, 4.0, 5.0]": "5 numbers",
    "[[1], [2, 3]]": "other things than numbers",
    "np.array(['a', 'b'])": "other things than numbers",
    "{'a': 1}": "dict",
    "{1, 2}": "set",
    "(n for n in range(3))": "generator",
    "print": "function",
    "object()": "object",
    "1j": "complex",
    "10**400": "int",
    "True": "truth value",
    "float('nan')": "number",
    "-1": "number",
}
#: What the lines of a function may do by mistake, with a part of the reason.
STOPS = {
    "raise KeyError('cost')": "stops with KeyError: 'cost', at `raise KeyError('cost')`",
    "raise SystemExit": "stops with SystemExit, at `raise SystemExit`",
    "return 1 / 0": "stops with ZeroDivisionError: division by zero, at `return 1 / 0`",
    "yield 1": "a generator",
}

WRONG: dict[str, dict[str, list[tuple[str | tuple[str | None, ...], str]]]] = {}

WRONG["00_quickstart"] = {
    "count": [
        ("updated_values = 1", "a radius of 0"),
        ("updated_values = 3", "each knob offers two neighbours: its"),
        ("updated_values = 4", "two neighbours, not one"),
        ("updated_values = 6", "belongs to its own region"),
        ("updated_values = 8", "a cube of two values"),
        ("updated_values = 9", "that is a square"),
        ("updated_values = 19", "the square root of 2 away"),
        ("updated_values = 27", "corners change"),
        ("updated_values = '7'", "'7' is a text"),
        ("updated_values = None", "is nothing"),
        ("updated_values = [7]", "a list of 1 number"),
    ],
    "violations": [
        ("return (episode.latency >= limit_s or not episode.ok)", "write | for `or`"),
        ("return np.mean((episode.latency >= limit_s) | ~episode.ok)", "use >, not >="),
        ("return np.mean(episode.latency > limit_s)", "may be fast because it failed"),
        ("return np.mean(~episode.ok)", "only failed requests"),
        ("return np.mean((episode.latency > limit_s) & ~episode.ok)", "it need not be both"),
        (
            "return np.mean(episode.latency > limit_s) + np.mean(~episode.ok)",
            "counts once: use |",
        ),
        ("return np.mean((episode.latency > limit_s) | episode.ok)", "use ~episode.ok"),
        ("return np.mean((episode.latency <= limit_s) & episode.ok)", "fraction of good requests"),
        ("return np.mean((1e3 * episode.latency > limit_s) | ~episode.ok)", "both in seconds"),
        ("return np.sum((episode.latency > limit_s) | ~episode.ok)", "that is a count"),
        ("return 100 * np.mean((episode.latency > limit_s) | ~episode.ok)", "in percent"),
        ("return (episode.latency > limit_s) | ~episode.ok", "one entry per request"),
        ("np.mean((episode.latency > limit_s) | ~episode.ok)", "is there a `return`?"),
        ("return np.mean(episode.latency > 0.1 | ~episode.ok)", "with brackets"),
        ("return np.mean((episode.latency > 0.1) | ~episode.ok)", "is 0.5, not 0.25"),
        ("return np.mean(episode.latencies > limit_s)", "AttributeError"),
    ],
    "guess": [
        (("pass", None), "tell() keeps nothing"),
        (("self.costs[configuration] = cost", None), "The keys of `self.costs` are numbers"),
        (("self.costs.setdefault(str(configuration), []).append(cost)", None), "the keys of self"),
        (("self.costs[self.space.index(configuration)] = cost", None), "leads to a number"),
        (("self.costs[self.space.index(configuration)] = [cost]", None), "keep every cost"),
        (("self.costs.setdefault(0, []).append(cost)", None), "the keys of self.costs are [0]"),
        (
            ("self.costs.setdefault(self.space.index(configuration), []).append(-cost)", None),
            "self.costs is {5: [-0.2",
        ),
        ((None, "return min(self.costs, key=lambda n: np.mean(self.costs[n]))"), "the number 5"),
        (
            (None, "self.space[min(self.costs, key=lambda n: np.mean(self.costs[n]))]"),
            "best() returns nothing",
        ),
        (
            (None, "return self.space[min(self.costs, key=lambda n: min(self.costs[n]))]"),
            "lowest single cost",
        ),
        (
            (None, "return self.space[max(self.costs, key=lambda n: np.mean(self.costs[n]))]"),
            "the highest mean",
        ),
        ((None, "return self.space[0]"), "index 5 has the lowest mean"),
        ((None, "return self.space[min(self.costs.values())]"), "TypeError"),
        ((None, "return min(self.costs, key=self.cost)"), "AttributeError"),
    ],
}

WRONG["01_region_update"] = {
    "predict": [
        ("four = [4, 4, 4, 8]", "values became the cost"),
        ("four = [5, 5, 3.5, 8]", "the weights are swapped"),
        ("four = [8, 7, 2, 8]", "numbers 0 and 2 are one step"),
        ("four = [7, 7, 2.5, 7]", "number 3 is two steps"),
        ("four = [9, 9, 1.5, 8]", "moved away"),
        ("four = [7, 7, 1.5, 8]", "so it moves up"),
        ("four = [7, 7, 3, 8]", "only 2 below"),
        ("four = [7, 7, 2, 8]", "number 2 is one step"),
        ("four = [8, 7, 2.5, 8]", "number 0 is one step"),
        ("four = [8, 8, 2, 8]", "nothing moved"),
        ("four = [7, 7, 2.5]", "not a list of 4 numbers"),
        ("four = 7, 7, 2.5, 'eight'", "other things than numbers"),
    ],
    "update-exercise": [
        ("values = values[region] + step * (cost - values[region])", "neither array changed"),
        (
            "counts[region] += 1\nvalues = values + np.maximum(step, 1 / counts) * (cost - values)",
            "no value changed",
        ),
        ("values[region] += step * (cost - values[region])", "[9, 8, 8, 9]"),
        (
            "counts += 1\nvalues[region] += np.maximum(step, 1 / counts[region])"
            " * (cost - values[region])",
            "counts outside the region grew",
        ),
        (
            "counts[region] += 1\nvalues += np.maximum(step, 1 / counts) * (cost - values)",
            "values outside the region changed",
        ),
        (
            "counts += 1\nvalues += np.maximum(step, 1 / counts) * (cost - values)",
            "both arrays changed",
        ),
        (
            "counts[region] += 1\nvalues[region] -= np.maximum(step, 1 / counts[region])"
            " * (cost - values[region])",
            "away from the cost",
        ),
        ("counts[region] += 1\nvalues[region] = cost", "the values became the cost"),
        (
            "counts[region] += 1\ng = np.maximum(step, 1 / counts[region])\n"
            "values[region] = g * values[region] + (1 - g) * cost",
            "the weights are swapped",
        ),
        (
            "counts[region] += 1\nvalues[region] += (cost - values[region]) / counts[region]",
            "falls below the learning rate",
        ),
        (
            "counts[region] += 1\nvalues[region] += step * (cost - values[region])",
            "early estimates count no more",
        ),
        (
            "counts[region] += 1\nvalues[region] += np.minimum(step, 1 / counts[region])"
            " * (cost - values[region])",
            "the smaller of the two",
        ),
        (
            "values[region] += np.maximum(step, 1 / counts[region]) * (cost - values[region])\n"
            "counts[region] += 1",
            "before the count grew",
        ),
        (
            "counts[region] += 1\nvalues[region] += max(step, 1 / counts[region])"
            " * (cost - values[region])",
            "use np.maximum, not max",
        ),
        (
            "counts[region] += 1\nvalues[region] += np.maximum(step, 1 / counts)"
            " * (cost - values[region])",
            "ValueError",
        ),
        (
            "counts[region] += 1\nvalues[region] += (step + 1 / counts[region])"
            " * (cost - values[region])",
            "the sum of the two fractions",
        ),
        (
            "counts[region] += 1\nvalues[region] += np.maximum(step, 1 / counts[region]) * cost",
            "update_region(",
        ),
    ],
    "weighted": [
        (
            "counts += 1\nvalues += np.maximum(step, np.exp(-distances / length) / counts)"
            " * (cost - values)",
            "max(...) covers the exponential",
        ),
        (
            "counts += 1\nvalues += np.maximum(step * np.exp(-distances / length), 1 / counts)"
            " * (cost - values)",
            "only the learning rate falls",
        ),
        (
            "counts += 1\nvalues += np.maximum(step, 1 / counts) * (distances <= 1)"
            " * np.exp(-distances / length) * (cost - values)",
            "only near values moved",
        ),
        (
            "near = distances <= 1\ncounts[near] += 1\nwith np.errstate(all='ignore'):\n"
            "    gain = np.maximum(step, 1 / np.maximum(counts, 1))\n"
            "values += gain * np.exp(-distances / length) * (cost - values)",
            "only near counts grew",
        ),
        (
            "counts += 1\nvalues += np.maximum(step, 1 / counts) * np.exp(distances / length)"
            " * (cost - values)",
            "distant values moved more",
        ),
        (
            "counts += 1\nvalues += np.maximum(step, 1 / counts) * (cost - values)",
            "the distance does not count",
        ),
        (
            "counts += 1\nvalues += np.maximum(step, 1 / counts) * np.exp(-distances)"
            " * (cost - values)",
            "`length` does not count",
        ),
        (
            "counts += 1\nvalues += np.maximum(step, 1 / counts) * np.exp(-distances * length)"
            " * (cost - values)",
            "multiplied by the length",
        ),
        (
            "counts += 1\nvalues = values + np.maximum(step, 1 / counts)"
            " * np.exp(-distances / length) * (cost - values)",
            "makes a new array",
        ),
        (
            "counts += 1\nvalues -= np.maximum(step, 1 / counts) * np.exp(-distances / length)"
            " * (cost - values)",
            "moved away",
        ),
        (
            "counts += 1\nvalues += step * np.exp(-distances / length) * (cost - values)",
            "early estimates count no more",
        ),
        (
            "counts += 1\nvalues += np.exp(-distances / length) / counts * (cost - values)",
            "falls below the learning rate",
        ),
        (
            "values += np.maximum(step, 1 / counts) * np.exp(-distances / length)"
            " * (cost - values)\ncounts += 1",
            "before the counts grew",
        ),
        (
            "values += np.maximum(step, 1 / (counts + 1)) * np.exp(-distances / length)"
            " * (cost - values)",
            "update_weighted(",
        ),
        (
            "counts += 1\nvalues += np.maximum(step, 1 / counts) * np.exp(-(distances / length)**2)"
            " * (cost - values)",
            "the distance was squared",
        ),
        ("counts += 1\nvalues += max(step, 1 / counts) * (cost - values)", "ValueError"),
    ],
}

WRONG["02_profiling"] = {
    "exercise-recall": [
        ("for_five, for_one = 8, 400", "the square root of 2"),
        ("for_five, for_one = 12, 400", "how many more are needed"),
        ("for_five, for_one = 5, 400", "the percentage"),
        ("for_five, for_one = 2, 400", "a larger error"),
        ("for_five, for_one = 16, 40", "not ten times"),
        ("for_five, for_one = 16, 396", "how many more"),
        ("for_five, for_one = 16, 100", "more than 100"),
        ("for_five, for_one = 16, 4000", "not 10**3"),
        ("for_five, for_one = None, None", "for_five = None is nothing"),
        ("for_five, for_one = 16, 'many'", "for_one = 'many' is a text"),
    ],
    "exercise-error": [
        ("return np.std(costs, ddof=1) / np.mean(costs)", "the scatter of one episode"),
        ("return np.std(costs, ddof=1) / len(costs) / np.mean(costs)", "not by n"),
        ("return np.std(costs, ddof=1) / np.sqrt(len(costs))", "in the unit of the costs"),
        ("return np.std(costs) / np.sqrt(len(costs)) / np.mean(costs)", "use ddof=1"),
        (
            "return np.std(costs, ddof=1) / np.sqrt(len(costs) - 1) / np.mean(costs)",
            "n - 1 belongs to the standard deviation",
        ),
        ("return np.var(costs, ddof=1) / np.sqrt(len(costs)) / np.mean(costs)", "the variance"),
        (
            "return 100 * np.std(costs, ddof=1) / np.sqrt(len(costs)) / np.mean(costs)",
            "in percent",
        ),
        ("return costs.std(ddof=1) / np.sqrt(len(costs)) / costs.mean()", "may be a list"),
        ("np.std(costs, ddof=1)", "returns nothing"),
        ("return np.mean(costs)", "the mean alone"),
        ("return 0.11736", "is 0.1174, not 0.2887"),
    ],
    "exercise-paired": [
        ("return np.std(np.log(a) - np.log(b), ddof=1)", "`paired=False` gives"),
        (
            "return np.sqrt(np.var(np.log(a), ddof=1) + np.var(np.log(b), ddof=1))",
            "`paired=True` gives",
        ),
        (
            "if not paired:\n    return np.std(np.log(a) - np.log(b), ddof=1)\n"
            "return np.sqrt(np.var(np.log(a), ddof=1) + np.var(np.log(b), ddof=1))",
            "swapped",
        ),
        (
            "if paired:\n    return np.std(a / b, ddof=1)\n"
            "return np.sqrt(np.var(np.log(a), ddof=1) + np.var(np.log(b), ddof=1))",
            "take the logarithm of the ratio",
        ),
        (
            "if paired:\n    return np.std(np.log(a / b))\n"
            "return np.sqrt(np.var(np.log(a), ddof=1) + np.var(np.log(b), ddof=1))",
            "paired: use ddof=1",
        ),
        (
            "if paired:\n    return np.std(np.log(a / b), ddof=1)\n"
            "return np.sqrt(np.var(np.log(a)) + np.var(np.log(b)))",
            "not paired: use ddof=1",
        ),
        (
            "if paired:\n    return np.std(np.log(a / b))\n"
            "return np.sqrt(np.var(np.log(a)) + np.var(np.log(b)))",
            "both cases divide by n",
        ),
        (
            "if paired:\n    return np.std(np.log(a / b), ddof=1)\n"
            "return np.var(np.log(a), ddof=1) + np.var(np.log(b), ddof=1)",
            "take the square root of the sum",
        ),
        (
            "if paired:\n    return np.std(np.log(a / b), ddof=1)\n"
            "return np.std(np.log(a), ddof=1) + np.std(np.log(b), ddof=1)",
            "add the variances",
        ),
        (
            "if paired:\n    return np.std(np.log(a / b), ddof=1)\n"
            "return np.sqrt(np.var(a, ddof=1) + np.var(b, ddof=1))",
            "take the logarithms of the costs first",
        ),
        (
            "if paired:\n    return np.var(np.log(a / b), ddof=1)\n"
            "return np.sqrt(np.var(np.log(a), ddof=1) + np.var(np.log(b), ddof=1))",
            "that is the variance",
        ),
        ("if paired:\n    return np.std(np.log(a / b), ddof=1)", "returns nothing"),
    ],
}

WRONG["11_simulator"] = {
    "exercise-recall": [
        (("return rate_per_s * service_s", None), "the offered load"),
        (("return rate_per_s * service_s * servers", None), "more servers are less busy"),
        (("return rate_per_s / (service_s * servers)", None), "a longer service"),
        (("return 1 - rate_per_s * service_s / servers", None), "without work"),
        (("return 100 * rate_per_s * service_s / servers", None), "in percent"),
        (("rate_per_s * service_s / servers", None), "returns nothing"),
        ((None, "return rate_per_s * service_s**2 / (1 - rate_per_s * service_s)"), "wait alone"),
        ((None, "return 1 / (1 - rate_per_s * service_s)"), "in service times"),
        ((None, "return service_s"), "the service alone"),
        ((None, "return service_s * (1 - rate_per_s * service_s)"), "divide by 1 - utilisation"),
        ((None, "return service_s / (rate_per_s * service_s)"), "ZeroDivisionError"),
        ((None, "rho = rate_per_s * service_s\nreturn rho / (1 - rho)"), "number of requests"),
        ((None, "return service_s / (1 - utilisation(rate_per_s, service_s))"), "TypeError"),
    ],
    "exercise-pooling": [
        ("return 1 / (1 - rho) / (1 + erlang_c(2, rho) / (2 * (1 - rho)))", "2 rho, not rho"),
        ("return (1 + erlang_c(2, 2 * rho) / (2 * (1 - rho))) * (1 - rho)", "upside down"),
        (
            "return 1 / (1 - rho) / (erlang_c(2, 2 * rho) / (2 * (1 - rho)))",
            "the wait and one service time",
        ),
        (
            "return 2 / (1 - rho) / (1 + erlang_c(2, 2 * rho) / (2 * (1 - rho)))",
            "do not add their times",
        ),
        ("return 1 / (1 - rho)", "the separate queue alone"),
        ("return 1 + erlang_c(2, 2 * rho) / (2 * (1 - rho))", "the merged queue alone"),
        ("return 1 / (1 - rho) / (1 + erlang_c(2, 2 * rho) / (1 - rho))", "halve the wait"),
        ("return rho / (erlang_c(2, 2 * rho) / 2)", "compares the waits"),
        (
            "return 1 / (1 - rho) - (1 + erlang_c(2, 2 * rho) / (2 * (1 - rho)))",
            "that is the difference",
        ),
        ("return 2", "gain_of_pooling(0.3) is 2, not 1.3"),
        ("return 1 / (1 - rho) / erlang_c(2, 2 * r)", "NameError"),
    ],
    "exercise-interval": [
        ("return cells.sample(frac=1, replace=True, random_state=rng)", "each with all its cells"),
        (
            "parts = [part for _, part in cells.groupby(list(knobs))]\n"
            "return pd.concat([parts[i] for i in rng.permutation(len(parts))])",
            "draw with replacement",
        ),
        ("return cells", "the table itself"),
        (
            "parts = [part for _, part in cells.groupby(list(knobs))]\n"
            "drawn = rng.integers(len(parts), size=len(parts))\n"
            "return pd.concat([parts[i] for i in sorted(set(drawn))])",
            "keep the repeated ones",
        ),
        (
            "parts = [part for _, part in cells.groupby('rate_per_s')]\n"
            "return pd.concat([parts[i] for i in rng.integers(len(parts), size=len(parts))])",
            "each with all its cells",
        ),
        (
            "parts = [part for _, part in cells.groupby(list(knobs))]\n"
            "return [parts[i] for i in rng.integers(len(parts), size=len(parts))]",
            "return a table",
        ),
        (
            "parts = [part for _, part in cells.groupby(list(knobs))]\n"
            "return pd.concat([parts[i] for i in rng.integers(len(parts), size=len(cells))])",
            "cells, not 12",
        ),
        (
            "parts = [part for _, part in cells.groupby(list(knobs))]\n"
            "return pd.concat([parts[i] for i in rng.integers(len(parts) - 1, size=len(parts))])",
            "drawn more often",
        ),
        (
            "parts = [part for _, part in cells.groupby(list(knobs))]\n"
            "own = np.random.default_rng(5)\n"
            "return pd.concat([parts[i] for i in own.integers(len(parts), size=len(parts))])",
            "draw with `rng`",
        ),
        (
            "parts = [part for _, part in cells.groupby(list(knobs))]\n"
            "own = np.random.default_rng()\n"
            "return pd.concat([parts[i] for i in own.integers(len(parts), size=len(parts))])",
            "draw with `rng` alone",
        ),
        ("return pd.concat(cells.groupby(list(knobs)))", "stops with"),
        ("parts = cells.groupby(list(knobs))", "returns nothing"),
    ],
}

WRONG["03_similarity_and_convergence"] = {
    "exercise-variogram": [
        ("at_one, at_two = 2.5, 9.0", "at_one = 2.5: that is the whole"),
        ("at_one, at_two = 0.75, 4.5", "square each difference first"),
        ("at_one, at_two = 1.5, 4.5", "the mean difference"),
        ("at_one, at_two = 5, 4.5", "the sum of the squares"),
        ("at_one, at_two = 0.5, 4.5", "two pairs have a distance of 1"),
        ("at_one, at_two = 1.25, 9.0", "whole squared difference"),
        ("at_one, at_two = 1.25, 1.5", "square the difference of 3"),
        ("at_one, at_two = 1.25, 2.25", "one pair has a distance of 2"),
        ("at_one, at_two = 4.5, 1.25", "at_one is not 4.5"),
        ("at_one, at_two = 1.25, None", "at_two = None is nothing"),
    ],
    "exercise-radius": [
        (
            "m = table.groupby(['estimator', 'distance'])['error'].median()\n"
            "wins = m['copy'] < m['global mean']\n"
            "return max(wins.index[wins], default=0)",
            "stop at the first loss",
        ),
        (
            "m = table.groupby(['estimator', 'distance'])['error'].median()\n"
            "return int((m['copy'] < m['global mean']).sum())",
            "counts the distances won",
        ),
        (
            "m = table.groupby(['estimator', 'distance'])['error'].mean()\n"
            "wins = m['copy'] < m['global mean']\n"
            "return int(wins.index[wins.cummin()].max()) if wins.iloc[0] else 0",
            "compare the medians",
        ),
        (
            "m = table.groupby(['estimator', 'distance'])['error'].median()\n"
            "wins = m['copy'] <= m['global mean']\n"
            "return int(wins.index[wins.cummin()].max()) if wins.iloc[0] else 0",
            "use <",
        ),
        (
            "m = table.groupby(['estimator', 'distance'])['error'].median()\n"
            "wins = m['copy'] > m['global mean']\n"
            "return int(wins.index[wins.cummin()].max()) if wins.iloc[0] else 0",
            "where the global mean is better",
        ),
        (
            "m = table.groupby(['estimator', 'distance'])['error'].median()\n"
            "wins = m['copy'] < m['global mean']\n"
            "return int((~wins).idxmax()) if (~wins).any() else 0",
            "the first distance that is lost",
        ),
        (
            "m = table.groupby(['estimator', 'distance'])['error'].median()\n"
            "wins = m['copy'] < m['global mean']\n"
            "return int(wins.index[wins.cummin()].max())",
            "stops with ValueError",
        ),
        ("return table['distance'].max()", "the largest distance of all"),
        ("return 0", "is 0, not 2"),
        ("table.groupby('distance')", "returns nothing"),
        ("return table['copy'] < table['global mean']", "The columns are"),
    ],
    "exercise-settle": [
        ("return costs", "these are the true costs"),
        ("return np.convolve(costs, np.ones(2 * radius + 1), 'same')", "is [8, 12, 18"),
        (
            "place = np.arange(len(costs))\n"
            "return (np.abs(place[:, None] - place) <= radius) @ costs",
            "these are sums",
        ),
        (
            "place = np.arange(len(costs))\n"
            "return (np.abs(place[:, None] - place) <= radius) @ costs / (2 * radius + 1)",
            "a region at the border is smaller",
        ),
        (
            "place = np.arange(len(costs))\n"
            "return mean_field(np.abs(place[:, None] - place) <= 1) @ costs",
            "use the argument `radius`",
        ),
        (
            "near = np.abs(np.subtract.outer(*[np.arange(len(costs))] * 2)) <= radius\n"
            "near &= ~np.eye(len(costs), dtype=bool)\n"
            "return near @ costs / near.sum(axis=1)",
            "belongs to its own region",
        ),
        ("return np.full(len(costs), costs.mean())", "the mean of all costs"),
        (
            "return np.array([costs[max(i - radius, 0):i + radius + 1].min()"
            " for i in range(len(costs))])",
            "the lowest cost of each region",
        ),
        (
            "padded = np.pad(costs, radius, mode='edge')\n"
            "return np.array([padded[i:i + 2 * radius + 1].mean() for i in range(len(costs))])",
            "do not repeat the cost of the border",
        ),
        (
            "return [np.mean(costs[max(i - radius, 0):i + radius]) for i in range(len(costs))]",
            "settles_at([6, 2, 4, 12, 3, 9], 1)",
        ),
        (
            "place = np.arange(len(costs))\n"
            "near = np.abs(place[:, None] - place) < radius\n"
            "return near @ costs / near.sum(axis=1)",
            "use <=",
        ),
        ("return mean_field(costs)[0] @ costs[:2]", "the regions have the shape (n, n)"),
        ("mean_field(np.eye(len(costs), dtype=bool))", "returns nothing"),
    ],
}

WRONG["06_recommended_parts"] = {
    "quiz": [
        ("larger_improvement = 'same'\nhigher_price = 'second'", "only a cost below"),
        ("larger_improvement = 'first'\nhigher_price = 'second'", "with an sd of 0.1"),
        ("larger_improvement = 'second'\nhigher_price = 'same'", "contains s, too"),
        ("larger_improvement = 'second'\nhigher_price = 'first'", "s**2 / 2 is positive"),
        (
            "larger_improvement = 0.4\nhigher_price = 'first'",
            "larger_improvement is a number: write",
        ),
        ("larger_improvement = 'second'\nhigher_price = 'higher'", "higher_price is 'higher'"),
        (
            "larger_improvement = ['second']\nhigher_price = 2",
            "larger_improvement is a list of other",
        ),
    ],
    "horizon": [
        (
            "return np.ceil(np.expm1(gap + sd**2 / 2) / expected_improvement(gap, sd))",
            "rounded up",
        ),
        (
            "return np.floor(np.expm1(gap + sd**2 / 2) / expected_improvement(gap, sd))",
            "rounded down",
        ),
        ("return expected_improvement(gap, sd) / np.expm1(gap + sd**2 / 2)", "upside down"),
        ("return np.expm1(gap) / expected_improvement(gap, sd)", "contains the uncertainty"),
        ("return np.expm1(gap + sd**2) / expected_improvement(gap, sd)", "half of the variance"),
        ("return np.exp(gap + sd**2 / 2) / expected_improvement(gap, sd)", "subtract 1"),
        ("return np.expm1(gap + sd**2 / 2)", "the price alone"),
        ("return expected_improvement(gap, sd)", "the improvement alone"),
        ("return np.expm1(gap + sd**2 / 2) * expected_improvement(gap, sd)", "multiplied"),
        ("return np.expm1(gap + sd**2 / 2) - expected_improvement(gap, sd)", "a difference"),
        ("return np.expm1(gap + sd**2 / 2) / expected_improvement(sd, gap)", "in this order"),
        ("price = np.expm1(gap + sd**2 / 2)", "returns nothing"),
        ("return math.exp(gap)", "NameError"),
    ],
    "optimistic": [
        ("return int(table.values.argmin())", "index 0 is not in `cells`"),
        (
            "return int((table.values[cells] * np.exp(-self.width * table.sds[cells])).argmin())",
            "5 is a position",
        ),
        ("return int(cells[table.values[cells].argmin()])", "index 14 has the lowest value"),
        ("return int(cells[table.sds[cells].argmax()])", "index 13 has the largest sd"),
        (
            "return int(cells[(table.values[cells] * np.exp(-self.width * table.sds[cells]))"
            ".argmax()])",
            "the highest optimistic cost",
        ),
        (
            "return int(cells[(table.values[cells] * np.exp(-table.sds[cells])).argmin()])",
            "use self.width",
        ),
        (
            "return int(cells[(table.values[cells] * np.exp(self.width * table.sds[cells]))"
            ".argmin()])",
            "the exponent has a minus",
        ),
        ("return float(cells[0])", "a whole number"),
        ("return cells", "return one index"),
        ("cells[0]", "returns nothing"),
        ("return int(cells[table.value[cells].argmin()])", "AttributeError"),
        (
            "return int(cells[(table.values - self.width * table.sds)[cells].argmin()])",
            "minus width * sd",
        ),
    ],
}

WRONG["04_theory_bound"] = {
    "exercise-recall": [
        ("return eps, (2 - gamma) * eps / (1 - gamma) ** 2", "errors come back"),
        ("return eps / (1 - gamma), 2 * eps / (1 - gamma) ** 2", "theorem 2"),
        ("return eps / (1 - gamma), 2 * eps / (1 - gamma)", "theorem 4"),
        ("return (2 - gamma) * eps / (1 - gamma) ** 2, eps / (1 - gamma)", "swapped"),
        ("return eps / (1 - gamma), (2 - gamma) * eps / (1 - gamma)", "(1 - gamma) squared"),
        ("return eps / (1 - gamma), eps / (1 - gamma)", "larger than the error"),
        ("return eps * (1 - gamma), (2 - gamma) * eps / (1 - gamma) ** 2", "divide by"),
        ("return eps / (1 - gamma)", "is a number, not a list of 2"),
        ("return None", "returns nothing"),
        ("return eps / (1 - gamma), None", "price_limits(0.2, 0.9) is"),
        ("return eps / (gamma - 1), (2 - gamma) * eps / (1 - gamma) ** 2", "is (-2, 22)"),
    ],
    "exercise-partition": [
        ("return k", "k is only near"),
        ("return harmonic_mean_cover(n // k) / harmonic_mean_cover(n)", "upside down"),
        ("return harmonic_mean_cover(n) / harmonic_mean_cover(k)", "the size of a group"),
        ("return harmonic_mean_cover(n)", "with single cells"),
        ("return harmonic_mean_cover(n // k)", "with groups"),
        ("return k * np.log(n) / np.log(n / k)", "harmonic numbers"),
        ("return harmonic_mean_cover(n) / k / harmonic_mean_cover(n // k)", "has k in it"),
        ("return harmonic_mean_cover(n) - harmonic_mean_cover(n // k)", "a difference"),
        ("harmonic_mean_cover(n)", "returns nothing"),
        ("return n / k", "partition_speedup(12, 1) is 12"),
        ("return harmonic(n) / harmonic(n // k)", "NameError"),
    ],
    "exercise-uniform": [
        ("return (1 - 1 / near.sum(axis=1).min()) * eps", "use max"),
        ("return (1 - 1 / near.sum(axis=1).mean()) * eps", "not for the mean one"),
        ("return eps", "the old bound"),
        ("return eps / near.sum(axis=1).max()", "the weight of the own cell"),
        ("return (1 - 1 / len(near)) * eps", "not the number of all cells"),
        ("return (1 - 1 / near.sum()) * eps", "sum along a row"),
        ("return 1 - 1 / near.sum(axis=1).max()", "`eps` does not count"),
        ("return (1 - 1 / near.sum(axis=1)) * eps", "one number per cell"),
        ("return (1 - 1 / (near.sum(axis=1).max() + 1)) * eps", "contains the cell itself already"),
        ("(1 - 1 / near.sum(axis=1).max()) * eps", "returns nothing"),
        ("return 0", "is 0, not"),
    ],
    "exercise-own": [
        ("return near + (own - 1) * np.eye(len(near))", "divide each row by its sum"),
        (
            "w = near + (own - 1) * np.eye(len(near))\nreturn w / w.sum(axis=0, keepdims=True)",
            "the columns add up to 1",
        ),
        ("w = near + (own - 1) * np.eye(len(near))\nreturn w / w.sum()", "the sum of all"),
        (
            "w = near + own * np.eye(len(near))\nreturn w / w.sum(axis=1, keepdims=True)",
            "own + 1 times",
        ),
        ("return near / near.sum(axis=1, keepdims=True)", "`own` does not count"),
        (
            "w = 1 + (own - 1) * np.eye(len(near))\nreturn w / w.sum(axis=1, keepdims=True)",
            "outside the region",
        ),
        (
            "w = near + (1 / own - 1) * np.eye(len(near))\nreturn w / w.sum(axis=1, keepdims=True)",
            "upside down",
        ),
        ("return np.eye(len(near))", "own_counts_more("),
        ("return near[0]", "not numbers of shape (8, 8)"),
        ("near + own", "returns nothing"),
        ("return near - own", "own_counts_more("),
    ],
}

WRONG["05_adaptive_rrl"] = {
    "recall": [
        ("within_1, within_1_5 = 6, 19", "its own region"),
        ("within_1, within_1_5 = 27, 19", "corners change"),
        ("within_1, within_1_5 = 4, 19", "its next and its previous"),
        ("within_1, within_1_5 = 7, 27", "square root of 3"),
        ("within_1, within_1_5 = 7, 7", "1.41"),
        ("within_1, within_1_5 = 7, 18", "the configuration itself"),
        ("within_1, within_1_5 = 7, 13", "four ways: up or down"),
        ("within_1, within_1_5 = 7, 25", "two steps of one knob"),
        ("within_1, within_1_5 = 19, 7", "more than the radius of 1"),
        ("within_1, within_1_5 = 7.5, 19", "within_1 is not 7.5"),
    ],
    "next-radius": [
        ("return np.sqrt(radius**2 + 1)", "from one distance to the next alone"),
        ("return np.sqrt(np.floor(radius**2 + 1e-9) + 1)", "some sums of squares"),
        ("return radius + 1", "diagonals"),
        ("return np.floor(radius) + 1", "before the next integer"),
        (
            "away = np.unique(space.distances(len(space) // 2))\nreturn away[away >= radius][0]",
            "has to be larger",
        ),
        (
            "away = np.unique(space.distances(len(space) // 2))\nreturn away[away > radius][-1]",
            "the whole grid",
        ),
        (
            "away = np.unique(space.distances(0))\nreturn away[away > radius][0]",
            "configuration 0, in a corner",
        ),
        (
            "away = np.unique(space.distances(len(space) // 2))\n"
            "return int(np.flatnonzero(away > radius)[0])",
            "a position in the distances",
        ),
        (
            "away = np.unique(space.distances(len(space) // 2))\n"
            "return away[away > radius][0] - radius",
            "how much the radius grows",
        ),
        ("away = np.unique(space.distances(len(space) // 2))", "returns nothing"),
        ("return space.distance(radius)", "AttributeError"),
        ("return radius", "is 0, not 1"),
    ],
    "halving": [
        ("return 2 ** (1 / (d + 2))", "turned over"),
        ("return d + 2", "a power of t"),
        ("return 2**d", "not -1 / d"),
        ("return 0.5 ** (d + 2)", "above 1"),
        ("return 2 * (d + 2)", "twice the exponent"),
        ("return 0.5 ** (1 / (d + 2))", "the factor of the radius"),
        ("return (d + 2) ** 2", "swapped"),
        ("return np.exp(d + 2)", "not 1 / e"),
        ("2 ** (d + 2)", "returns nothing"),
        ("return 4", "depends on the number of knobs"),
    ],
}

WRONG["07_experiments"] = {
    "recall": [
        ("price_after_100, episodes_until_1_01 = 1, 200", "the first episode counts"),
        ("price_after_100, episodes_until_1_01 = 1.03, 200", "2 more than the best"),
        ("price_after_100, episodes_until_1_01 = 3, 200", "the first episode alone"),
        ("price_after_100, episodes_until_1_01 = 102, 200", "that is the sum"),
        ("price_after_100, episodes_until_1_01 = 0.02, 200", "on top of 1"),
        ("price_after_100, episodes_until_1_01 = 1.02, 300", "not 3 more: 2 / n"),
        ("price_after_100, episodes_until_1_01 = 1.02, 100", "still above"),
        ("price_after_100, episodes_until_1_01 = 1.02, 2", "solve for n"),
        ("price_after_100, episodes_until_1_01 = 1.02, 199", "count it"),
        ("price_after_100, episodes_until_1_01 = '1.02', 200", "'1.02' is a text"),
    ],
    "cells-lost": [
        (
            "rows = duels[(duels['rival'] == rival) & (duels['verdict'] == 'won')]\n"
            "return rows['measure'].value_counts().to_dict()",
            "that ours won",
        ),
        (
            "return duels[duels['rival'] == rival]['measure'].value_counts().to_dict()",
            "counts all duels with the rival",
        ),
        (
            "return duels[duels['verdict'] == 'lost']['measure'].value_counts().to_dict()",
            "with all rivals",
        ),
        (
            "return int(((duels['rival'] == rival) & (duels['verdict'] == 'lost')).sum())",
            "is a number, not a dictionary",
        ),
        (
            "rows = duels[(duels['rival'] == rival) & (duels['verdict'] == 'lost')]\n"
            "return rows['measure'].value_counts()",
            "is a list of 2 numbers, not a dictionary",
        ),
        (
            "rows = duels[(duels['rival'] == rival) & (duels['verdict'] != 'lost')]\n"
            "return rows['measure'].value_counts().to_dict()",
            "all duels but the lost",
        ),
        ("return {}", "cells_lost_to('a') is {}"),
        ("rows = duels[duels['rival'] == rival]", "returns nothing"),
        (
            "return duels[duels['rival'] == rival and duels['verdict'] == 'lost']",
            "stops with ValueError",
        ),
        (
            "rows = duels[(duels['rival'] == rival) & (duels['verdict'] == 'lost')]\n"
            "return rows['verdict'].value_counts().to_dict()",
            "{'lost': 3}",
        ),
        ("return duels['rivals'].value_counts().to_dict()", "KeyError"),
    ],
    "paired-factor": [
        ("return np.median(theirs / ours_)", "not as infinity"),
        (
            "return np.median(np.minimum(theirs, horizon + 1))"
            " / np.median(np.minimum(ours_, horizon + 1))",
            "the ratio of the medians",
        ),
        (
            "return np.mean(np.minimum(theirs, horizon + 1) / np.minimum(ours_, horizon + 1))",
            "take the median",
        ),
        (
            "return np.median(np.minimum(ours_, horizon + 1) / np.minimum(theirs, horizon + 1))",
            "upside down",
        ),
        (
            "return np.median(np.minimum(theirs, horizon) / np.minimum(ours_, horizon))",
            "one more than the horizon",
        ),
        (
            "return np.median(theirs[np.isfinite(theirs)]) / np.median(ours_[np.isfinite(ours_)])",
            "were left out",
        ),
        (
            "return np.median(np.minimum(theirs, horizon + 1) - np.minimum(ours_, horizon + 1))",
            "that is a difference",
        ),
        (
            "return np.minimum(theirs, horizon + 1) / np.minimum(ours_, horizon + 1)",
            "one ratio per seed",
        ),
        (
            "return np.median(np.where(np.isinf(theirs), horizon + 1, theirs) / ours_)",
            "runs of ours",
        ),
        (
            "return np.median(min(theirs, horizon + 1) / min(ours_, horizon + 1))",
            "stops with ValueError",
        ),
        ("np.median(theirs / ours_)", "returns nothing"),
        ("return 4.0", "is 4, not 1"),
    ],
}

WRONG["09_applications"] = {
    "exercise-cost": [
        ("return p99_s / target_s", "one CPU less costs less"),
        ("return cpus / most", "the later one costs more"),
        ("return p99_s / target_s + cpus / most", "cost"),
        (
            "times = p99_s / target_s\n"
            "return times if times >= 1 else (cpus - (1 - times) / 2) / most",
            "a p99 of exactly the target",
        ),
        (
            "times = p99_s / target_s\nreturn times if times > 1 else cpus - (1 - times)",
            "SLO comes first",
        ),
        (
            "return p99_s / target_s if p99_s > target_s else (cpus + p99_s) / 100",
            "in milliseconds the costs differ",
        ),
        (
            "times = p99_s / target_s\n"
            "return cpus / most if times > 1 else (cpus - (1 - times) / 2) / most",
            "cost",
        ),
        (
            "times = p99_s / target_s\n"
            "return -times if times > 1 else (cpus - (1 - times) / 2) / most",
            "later than the target",
        ),
        ("p99_s / target_s", "returns nothing"),
        ("return [cpus, p99_s]", "not a number"),
        ("return cpus / limit", "NameError"),
    ],
    "exercise-front": [
        (
            "return [not any(c < a and t < b for c, t in zip(cpus, latency))"
            " for a, b in zip(cpus, latency)]",
            "equal in one number",
        ),
        (
            "n = range(len(cpus))\nreturn [not any(j != i and cpus[j] <= cpus[i]"
            " and latency[j] <= latency[i] for j in n) for i in n]",
            "two equal configurations",
        ),
        (
            "return [not any(c < a or t < b for c, t in zip(cpus, latency))"
            " for a, b in zip(cpus, latency)]",
            "the best in both numbers",
        ),
        (
            "return [not any(c <= a and t < b for c, t in zip(cpus, latency))"
            " for a, b in zip(cpus, latency)]",
            "as fast with fewer CPUs",
        ),
        (
            "return [not any(c < a and t <= b for c, t in zip(cpus, latency))"
            " for a, b in zip(cpus, latency)]",
            "as many CPUs and faster",
        ),
        ("return ~front(cpus, latency)", "upside down"),
        ("return np.array(latency) == min(latency)", "the fastest one"),
        ("return np.array(cpus) == min(cpus)", "the fewest CPUs"),
        ("return np.flatnonzero(front(cpus, latency))", "those are positions"),
        ("return [True] * len(cpus)", "all are on your front"),
        ("front(cpus, latency)", "returns nothing"),
        ("return cpus <= latency.min()", "AttributeError"),
    ],
    "exercise-charge": [
        (
            "n = rate_per_s * switch_s\nreturn (requests * mean_s + n * switch_s / 2) / requests",
            "divide by the requests of both groups",
        ),
        (
            "n = rate_per_s * switch_s\nreturn (requests * mean_s + n * switch_s) / (requests + n)",
            "half of the restart on average",
        ),
        (
            "return (mean_s + switch_s / 2) / 2",
            "weigh each by its number",
        ),
        (
            "return mean_s + switch_s / 2",
            "only the requests that arrive",
        ),
        (
            "n = rate_per_s * switch_s\nreturn requests * mean_s + n * switch_s / 2",
            "the total latency",
        ),
        (
            "return (requests * mean_s + switch_s / 2) / (requests + 1)",
            "a single waiting request",
        ),
        (
            "n = rate_per_s * switch_s\n"
            "return (requests * mean_s + n * (switch_s / 2 + mean_s)) / (requests + n)",
            "no other latency",
        ),
        (
            "n = rate_per_s * switch_s\n"
            "return ((requests - n) * mean_s + n * switch_s / 2) / requests",
            "come on top",
        ),
        (
            "return mean_s",
            "without the restart",
        ),
        (
            "n = rate_per_s * switch_s\n"
            "return 1000 * (requests * mean_s + n * switch_s / 2) / (requests + n)",
            "in milliseconds",
        ),
        (
            "n = rate_per_s * switch_s\n"
            "if n == 0:\n"
            "    return mean_s\n"
            "return (requests * mean_s + n * switch_s / 2) / (requests + n)",
            "may be arrays",
        ),
        (
            "n = rate_per_s * switch_s\n(requests * mean_s + n * switch_s / 2) / (requests + n)",
            "returns nothing",
        ),
        (
            "return 4.1 / 3",
            "not 0.1",
        ),
        (
            "return mean_s * load",
            "NameError",
        ),
    ],
    "exercise-pay": [
        (
            "if trial < default:\n    return 1\nif after >= default:\n    return None\n"
            "return int(trials * (trial - default) // (default - after)) + 1",
            "add the trials",
        ),
        (
            "if trial < default:\n    return 1\nif after >= default:\n    return None\n"
            "return trials + int(trials * (trial - default) // (default - after))",
            "one episode more",
        ),
        (
            "if trial < default:\n    return 1\nif after >= default:\n    return None\n"
            "return trials + int(np.ceil(trials * (trial - default) / (default - after)))",
            "below, not equal",
        ),
        (
            "if trial < default:\n    return 1\nif after >= default:\n    return None\n"
            "return trials + int(trials * trial // (default - after)) + 1",
            "during the trials, too",
        ),
        (
            "if after >= default:\n    return None\n"
            "return trials + int(trials * (trial - default) // (default - after)) + 1",
            "pay from the first one on",
        ),
        (
            "return trials + int(trials * (trial - default) // (default - after)) + 1",
            "ZeroDivisionError",
        ),
        (
            "if trial < default:\n    return 1\nif after >= default:\n    return None\n"
            "return trials + int((trial - default) // (default - after)) + 1",
            "multiply by their number",
        ),
        (
            "if trial < default:\n    return 1\nif after >= default:\n    return None\n"
            "return trials + trials * (trial - default) / (default - after)",
            "not a whole number",
        ),
        (
            "if trial < default:\n    return 1\nif after >= default:\n    return None\n"
            "return trials + 1",
            "is 11, not 71",
        ),
        ("trials * (trial - default)", "is None, not 71"),
        ("return 71", "is 71, not None"),
    ],
}

WRONG["10_explorer"] = {
    "recall": [
        ("return ratio ** (-1 / temperature)", "turn the fraction over"),
        ("return ratio**temperature", "the power is 1 / T: a low"),
        ("return ratio**-temperature", "has to be turned over"),
        ("return np.exp(ratio / temperature)", "not an exponential"),
        ("return np.exp((ratio - 1) / temperature)", "a power of the cost: q"),
        ("return ratio / temperature", "the temperature is an exponent"),
        ("return ratio", "does not count"),
        ("return np.log(ratio) / temperature", "the logarithm of the odds"),
        ("return 1 / (1 + ratio ** (1 / temperature))", "that is a probability"),
        ("ratio ** (1 / temperature)", "returns nothing"),
        ("return ratio ** (1 / t)", "NameError"),
    ],
    "region": [
        (
            "away = np.linalg.norm(space.positions - space.positions[index], axis=1)\n"
            "return away <= radius",
            "np.flatnonzero gives",
        ),
        (
            "away = np.linalg.norm(space.positions - space.positions[index], axis=1)\n"
            "return set(np.flatnonzero(away <= radius))",
            "a set has no order",
        ),
        (
            "away = np.linalg.norm(space.positions - space.positions[index], axis=1)\n"
            "return np.flatnonzero(away < radius)",
            "at most the radius belongs",
        ),
        (
            "away = np.abs(space.positions - space.positions[index]).max(axis=1)\n"
            "return np.flatnonzero(away <= radius)",
            "too many",
        ),
        (
            "away = np.abs(space.positions - space.positions[index]).sum(axis=1)\n"
            "return np.flatnonzero(away <= radius)",
            "missing",
        ),
        (
            "away = np.linalg.norm(space.positions - space.positions[index], axis=1)\n"
            "return np.flatnonzero(away <= radius)[::-1]",
            "sort the indices",
        ),
        (
            "away = np.linalg.norm(space.positions - space.positions[index], axis=1)\n"
            "near = np.flatnonzero(away <= radius)\nreturn np.sort(np.r_[near, near])",
            "there twice",
        ),
        (
            "away = np.linalg.norm(space.positions - space.positions[index], axis=1)\n"
            "return space.positions[away <= radius]",
            "use one axis",
        ),
        (
            "away = np.linalg.norm(space.positions - space.positions[index])\n"
            "return np.flatnonzero(away <= radius)",
            "needs axis=1",
        ),
        (
            "away = np.linalg.norm(space.positions - space.positions[index], axis=1)\n"
            "return np.argwhere(away <= radius)",
            "the shape (4, 1)",
        ),
        ("return 1.0 * space.ball(index, radius)", "of type float64"),
        ("space.ball(index, radius)", "returns nothing"),
        ("return np.flatnonzero(space.position <= radius)", "AttributeError"),
    ],
    "choice": [
        (
            "logs = np.log(costs)\nweights = np.exp((logs.max() - logs) / temperature)\n"
            "return weights / weights.sum()",
            "the largest log cost was subtracted",
        ),
        (
            "weights = costs ** (-1 / temperature)\nreturn weights / weights.sum()",
            "the weights overflow",
        ),
        (
            "logs = np.log(costs)\nweights = np.exp((logs.mean() - logs) / temperature)\n"
            "return weights / weights.sum()",
            "the mean log cost",
        ),
        (
            "logs = np.log(costs)\nweights = np.exp((np.median(logs) - logs) / temperature)\n"
            "return weights / weights.sum()",
            "the median log cost",
        ),
        (
            "logs = np.log(costs)\nweights = np.exp((logs - logs.max()) / temperature)\n"
            "return weights / weights.sum()",
            "mind the sign",
        ),
        (
            "weights = np.exp((costs.min() - costs) / temperature)\nreturn weights / weights.sum()",
            "take the logarithm first",
        ),
        (
            "logs = np.log(costs)\nreturn np.exp((logs.min() - logs) / temperature)",
            "add up to 1",
        ),
        (
            "logs = np.log(costs)\nweights = np.exp((logs.min() - logs) * temperature)\n"
            "return weights / weights.sum()",
            "multiplied by the temperature",
        ),
        (
            "logs = np.log(costs)\nweights = np.exp(logs.min() - logs)\n"
            "return weights / weights.sum()",
            "does not count",
        ),
        ("weights = costs == costs.min()\nreturn weights / weights.sum()", "temperature of 0"),
        ("return np.full(len(costs), 1 / len(costs))", "all are equally likely"),
        ("return costs.argmin()", "is a number, not"),
        ("logs = np.log(costs)", "returns nothing"),
        (
            "logs = np.log(costs)\nweights = np.exp(np.minimum((0.0 - logs) / temperature, 700))\n"
            "return weights / weights.sum()",
            "choice(",
        ),
    ],
    "loop": [
        ("return []", "gives 0 rewards"),
        (
            "observation, _ = environment.reset()\nrewards, over = [], False\nwhile not over:\n"
            "    action = agent.act(observation)\n"
            "    following, reward, done, cut, _ = environment.step(action)\n"
            "    agent.learn(observation, action, reward)\n    rewards.append(reward)\n"
            "    observation, over = following, done or cut\nreturn rewards",
            "hand it to reset",
        ),
        (
            "observation, _ = environment.reset(seed=seed)\nrewards, over = [], False\n"
            "while not over:\n    action = agent.act(observation)\n"
            "    following, reward, done, cut, _ = environment.step(action)\n"
            "    agent.learn(observation, action, reward)\n    rewards.append(reward)\n"
            "    observation, over = following, done\nreturn rewards",
            "stop at the end",
        ),
        (
            "observation, _ = environment.reset(seed=seed)\nrewards = []\nwhile True:\n"
            "    action = agent.act(observation)\n"
            "    following, reward, done, cut, _ = environment.step(action)\n"
            "    if done or cut:\n        return rewards\n"
            "    agent.learn(observation, action, reward)\n    rewards.append(reward)\n"
            "    observation = following",
            "gives 3 rewards",
        ),
        (
            "observation, _ = environment.reset(seed=seed)\nrewards, over = [], False\n"
            "while not over:\n    action = agent.act(observation)\n"
            "    _, reward, done, cut, _ = environment.step(action)\n"
            "    agent.learn(observation, action, reward)\n    rewards.append(reward)\n"
            "    over = done or cut\nreturn rewards",
            "act() always sees the same",
        ),
        (
            "observation, _ = environment.reset(seed=seed)\nrewards, over = [], False\n"
            "while not over:\n    action = agent.act(observation)\n"
            "    observation, reward, done, cut, _ = environment.step(action)\n"
            "    agent.learn(observation, action, reward)\n    rewards.append(reward)\n"
            "    over = done or cut\nreturn rewards",
            "the observation after the action",
        ),
        (
            "observation, _ = environment.reset(seed=seed)\nrewards, over = [], False\n"
            "while not over:\n    action = agent.act(observation)\n"
            "    observation, reward, done, cut, _ = environment.step(action)\n"
            "    rewards.append(reward)\n    over = done or cut\nreturn rewards",
            "called 0 times",
        ),
        (
            "observation, _ = environment.reset(seed=seed)\nrewards, over = [], False\n"
            "while not over:\n    action = agent.act(observation)\n"
            "    following, reward, done, cut, _ = environment.step(action)\n"
            "    agent.learn(observation, action, -reward)\n    rewards.append(reward)\n"
            "    observation, over = following, done or cut\nreturn rewards",
            "other rewards than those returned",
        ),
        (
            "observation, _ = environment.reset(seed=seed)\nrewards, over = [], False\n"
            "while not over:\n    action = agent.act(observation)\n"
            "    following, reward, done, cut, _ = environment.step(action)\n"
            "    agent.learn(observation, 0, reward)\n    rewards.append(reward)\n"
            "    observation, over = following, done or cut\nreturn rewards",
            "the action that act() returned",
        ),
        (
            "observation = environment.reset(seed=seed)\nrewards, over = [], False\n"
            "while not over:\n    action = agent.act(observation[0])\n"
            "    following, reward, done, cut, _ = environment.step(action)\n"
            "    agent.learn(observation[0], action, reward)\n    rewards.append(reward)\n"
            "    observation, over = following, done or cut\nreturn rewards",
            "reset() returns a pair",
        ),
        (
            "observation, _ = environment.reset(seed=seed)\nrewards, over = [], False\n"
            "while not over:\n    action = agent.act(observation)\n"
            "    following, reward, done, cut, _ = environment.step(action)\n"
            "    agent.learn(observation, action, reward)\n    rewards.append(reward)\n"
            "    observation, over = following, done or cut\nreturn sum(rewards)",
            "a list of rewards",
        ),
        (
            "observation, _ = environment.reset(seed=seed)\nrewards, over = [], False\n"
            "while not over:\n    action = agent.act(observation)\n"
            "    following, reward, done, cut, _ = environment.step(action)\n"
            "    agent.learn(observation, action, reward)\n    rewards.append(reward)\n"
            "    observation, over = following, done or cut",
            "returns nothing",
        ),
    ],
    "method": [
        (
            "index = int(np.ravel_multi_index(tuple(action), self.space.shape))\n"
            "self.total.flat[self.space.ball(index, self.radius)] += reward",
            "does not count",
        ),
        (
            "index = int(np.ravel_multi_index(tuple(action), self.space.shape))\n"
            "self.count.flat[self.space.ball(index, self.radius)] += 1",
            "does not add the rewards",
        ),
        (
            "numbers = self.space.ball(5, self.radius)\nself.total[numbers] += reward\n"
            "self.count[numbers] += 1",
            "np.ravel_multi_index",
        ),
        ("super().learn(observation, action, reward)", "lacks the neighbours"),
        ("self.total += reward\nself.count += 1", "outside the region"),
        (
            "index = int(np.ravel_multi_index(tuple(action), self.space.shape))\n"
            "near = self.space.ball(index, self.radius)\nself.total.flat[near] = reward\n"
            "self.count.flat[near] += 1",
            "the last reward",
        ),
        (
            "super().learn(observation, action, reward)\n"
            "index = int(np.ravel_multi_index(tuple(action), self.space.shape))\n"
            "near = self.space.ball(index, self.radius)\nself.total.flat[near] += reward\n"
            "self.count.flat[near] += 1",
            "the counts of the region go from",
        ),
        (
            "index = int(np.ravel_multi_index(tuple(action), self.space.shape))\n"
            "near = self.space.ball(index, 1.0)\nself.total.flat[near] += reward\n"
            "self.count.flat[near] += 1",
            "use self.radius",
        ),
        (
            "index = int(np.ravel_multi_index(tuple(action), self.space.shape))\n"
            "near = self.space.ball(index, self.radius)\nself.total.flat[near] -= reward\n"
            "self.count.flat[near] += 1",
            "the reward is subtracted",
        ),
        (
            "index = int(np.ravel_multi_index(tuple(action), self.space.shape))\n"
            "near = self.space.ball(index, self.radius)\n"
            "self.total.flat[near] += reward / len(near)\nself.count.flat[near] += 1",
            "the sums of -1 and -3",
        ),
        (
            "index = int(np.ravel_multi_index(tuple(action), self.space.shape))\n"
            "near = self.space.ball(index, self.radius)\nself.total.flat[near] += reward\n"
            "self.count.flat[near] = 1",
            "a count of 1",
        ),
        ("pass", "learn() changes nothing"),
        (
            "index = int(np.ravel_multi_index(tuple(action), self.space.shape))\n"
            "near = self.space.ball(index, self.radius)\nnear = near[near != index]\n"
            "self.total.flat[near] += reward\nself.count.flat[near] += 1",
            "lacks the measured configuration",
        ),
        ("self.totals[tuple(action)] += reward", "AttributeError"),
    ],
}

WRONG["08_claims"] = {
    "zero": [
        ("return 100 * (1 - 0.05 ** (1 / n))", "in percent"),
        ("return 0.05 ** (1 / n)", "fraction of requests in time"),
        ("return 1 - 0.95 ** (1 / n)", "with 95 %, not with 5 %"),
        ("return 0.05 / n", "to the power of n"),
        ("return 1 / n", "about 37 %"),
        ("return 3 / n", "a good approximation"),
        ("return 0", "is ever late"),
        ("return 1 - 0.05 ** n", "not its n-th power"),
        ("return 1 - 0.05 ** (1 / 400)", "use the parameter"),
        ("return 1 - 0.025 ** (1 / n)", "only one side"),
        ("1 - 0.05 ** (1 / n)", "is there a `return`?"),
        ("return 1 - 0.05 ** (1 / m)", "NameError"),
        ("return 0.01", "is 0.01, not"),
    ],
    "largest": [
        ("return rng.normal(0, error, (repeats, loads)).min(axis=1).mean()", "the smallest"),
        (
            "return abs(rng.normal(0, error, (repeats, loads))).max(axis=1).mean()",
            "do not take their size",
        ),
        ("return rng.normal(0, error, (repeats, loads)).mean()", "the mean of all loads"),
        ("return 50 + rng.normal(0, error, (repeats, loads)).max(axis=1).mean()", "saving of 50"),
        ("return rng.normal(0, error, (repeats, loads)).std(axis=1).mean()", "the loads scatter"),
        ("return rng.normal(0, error, loads).sum()", "has to be about"),
        ("return rng.normal(0, error, (repeats, loads)).max(axis=1)", "4000 numbers"),
        ("return rng.normal(0, 1, (repeats, loads)).max(axis=1).mean()", "has to be about"),
        ("rng.normal(0, error, (repeats, loads)).max(axis=1).mean()", "is there a `return`?"),
        ("return rng.normal(0, error, (repeats, loads)).maximum()", "AttributeError"),
    ],
    "never": [
        ("return np.mean(times)", "counts with the horizon"),
        ("return np.mean(times[np.isfinite(times)])", "were left out"),
        ("return np.median(np.minimum(times, horizon))", "that is the median"),
        ("return np.minimum(times, horizon)", "a number per run"),
        ("return np.minimum(times, horizon).sum()", "divide by the number of runs"),
        ("return np.minimum(times, horizon + 1).mean()", "not with one more"),
        ("return np.minimum(times, 300).mean()", "is not always 300"),
        ("return np.maximum(times, horizon).mean()", "take the smaller"),
        ("return min(np.mean(times), horizon)", "limit each run"),
        ("return np.where(np.isinf(times), horizon, times).mean()", "after the horizon"),
        ("return np.where(times <= horizon, times, 0).mean()", "not with 0"),
        ("np.minimum(times, horizon).mean()", "is there a `return`?"),
        ("return min(times, horizon)", "ValueError"),
    ],
}
