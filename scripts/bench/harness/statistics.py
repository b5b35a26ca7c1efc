"""Medians, spreads, and ratios that are paired by round."""


def quantile(values, share):
    """The quantile of a list, linear between its neighbours."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def median(values):
    return quantile(values, 0.5)


def summary(values):
    """(median, 10th percentile, 90th percentile)."""
    return median(values), quantile(values, 0.1), quantile(values, 0.9)


def ratios(ours, theirs, higher_is_better):
    """How many times as good as theirs ours is, round by round: medians of the same round against each other."""
    pairs = [(median(a), median(b)) for a, b in zip(ours, theirs) if a and b]
    return [a / b if higher_is_better else b / a for a, b in pairs]


def moved(before, after):
    """Whether two lists of figures differ by more than the spread (p10 to p90) of either."""
    m1, low1, high1 = summary(before)
    m2, low2, high2 = summary(after)
    return abs(m2 - m1) > max(high1 - low1, high2 - low2)
