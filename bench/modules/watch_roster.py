"""Fire watch roster: who sleeps at the station on which night; nights are numbered from 0."""

from itertools import pairwise


def rotation(crew, nights, per_night=2):
    """Names for each night, taken in turns; the first of a night is its leader.

    Where the same two would meet again at once, the second changes places with the next in turn.
    """
    line = list(crew)
    roster = []
    for _ in range(nights):
        tonight = line[:per_night]
        if roster and set(tonight) == set(roster[-1]) and len(line) > per_night:
            line[per_night - 1], line[per_night] = line[per_night], line[per_night - 1]
            tonight = line[:per_night]
        line = line[per_night:] + tonight
        roster.append(tonight)
    return roster


def swap(roster, a, night_a, b, night_b):
    """A new roster in which `a` and `b` have exchanged their nights; ValueError where that cannot be."""
    if a not in roster[night_a] or b not in roster[night_b]:
        raise ValueError("both must have that watch")
    if night_a != night_b and (b in roster[night_a] or a in roster[night_b]):
        raise ValueError("nobody can watch twice in a night")
    changed = [list(names) for names in roster]
    changed[night_a][roster[night_a].index(a)] = b
    changed[night_b][roster[night_b].index(b)] = a
    return changed


def tired(roster, name):
    """Nights of `name` that follow on a watch with only one free night, or none, in between."""
    nights = [i for i, names in enumerate(roster) if name in names]
    return [later for earlier, later in pairwise(nights) if later - earlier <= 2]


def points(roster, feasts=()):
    """Points of everybody: 2 a watch, 1 more for the leader, and all doubled on a feast."""
    total = {}
    for night, names in enumerate(roster):
        for i, name in enumerate(names):
            worth = 3 if i == 0 else 2
            if night in feasts:
                worth *= 2
            total[name] = total.get(name, 0) + worth
    return total
