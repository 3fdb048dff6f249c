"""The inner loop of the k nearest neighbours."""

import numpy as np

from skyfold.compiled import compiled


@compiled
def mean_of_nearest(lists, halves, sums, count, total, queries, own_halves, own_sums, k, answers):  # type: ignore[no-untyped-def]
    """Fill answers (q,) with the weighted mean of the k nearest of `lists` to each of `queries`.

    lists: uint8 (n, F) in the order of sums (n,), halves (n,) the sums of their first F // 2 values; each stands for
    count (n,) examples with values of total (n,);
    queries: uint8 (q, F), with own_halves and own_sums (q,).
    """
    n, features = lists.shape
    farthest = features * 255
    many = np.zeros(farthest + 1, dtype=np.int64)
    values = np.zeros(farthest + 1)
    edge = farthest
    for q in range(len(queries)):
        query, own_sum, first_half = queries[q], own_sums[q], own_halves[q]
        many[:] = 0
        values[:] = 0.0
        # No example beyond the edge is among the k nearest. Those of the query before are no farther away than that.
        if q > 0:
            for f in range(features):
                edge += abs(np.int32(queries[q - 1, f]) - np.int32(query[f]))
        edge = min(edge, farthest)
        within = 0  # examples up to the edge
        above = np.searchsorted(sums, own_sum)
        below = above - 1
        while below >= 0 or above < n:
            gap_below = own_sum - sums[below] if below >= 0 else farthest + 1
            gap_above = sums[above] - own_sum if above < n else farthest + 1
            if min(gap_below, gap_above) > edge:
                break
            if gap_below < gap_above:
                i = below
                below -= 1
            else:
                i = above
                above += 1
            rest = sums[i] - halves[i] - (own_sum - first_half)
            if abs(halves[i] - first_half) + abs(rest) > edge:
                continue
            distance = 0
            for f in range(features):
                distance += abs(np.int32(lists[i, f]) - np.int32(query[f]))
            if distance > edge:
                continue
            many[distance] += count[i]
            values[distance] += total[i]
            within += count[i]
            while within - many[edge] >= k:
                within -= many[edge]
                edge -= 1
        answers[q] = _weighted(many, values, edge, k)


@compiled
def _weighted(many, values, edge, k):  # type: ignore[no-untyped-def]
    """The mean by 1 / distance of the k nearest, read off how many there are at each distance."""
    if many[0] > 0:
        return values[0] / many[0]
    left = k
    weight = 0.0
    weighted = 0.0
    for distance in range(1, edge + 1):
        if many[distance] > 0:
            taken = min(left, many[distance])
            weight += taken / distance
            weighted += taken / distance * (values[distance] / many[distance])
            left -= taken
            if left == 0:
                break
    return weighted / weight
