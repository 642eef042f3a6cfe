"""Results of a sled dog relay; times are seconds."""


def leg_time(start, finish, dogs_out, dogs_in, missed_gates=0):
    """Seconds counted for a leg, or None where it does not count.

    Each missed gate adds 45 seconds, the third and every further one 90. A dog carried home adds 120;
    more than two, or more dogs home than went out, and the leg does not count.
    """
    carried = dogs_out - dogs_in
    if carried < 0 or carried > 2:
        return None
    penalty = min(missed_gates, 2) * 45 + max(0, missed_gates - 2) * 90
    return finish - start + penalty + carried * 120


def standings(teams):
    """[(place, name, seconds or None)] of teams, given as name -> list of leg times.

    The slowest leg of a team with four legs or more is left out. Teams with a leg that does not count
    come last, those with more good legs first, and have no time. Equal times share a place.
    """
    table = []
    for name, legs in teams.items():
        good = [leg for leg in legs if leg is not None]
        if len(good) < len(legs):
            table.append((1, -len(good), name, None))
            continue
        total = sum(good)
        if len(good) >= 4:
            total -= max(good)
        table.append((0, total, name, total))
    table.sort()
    result = []
    for i, (group, rank, name, seconds) in enumerate(table):
        same = i > 0 and (group, rank) == table[i - 1][:2]
        place = result[-1][0] if same else i + 1
        result.append((place, name, seconds))
    return result


def clock(seconds):
    """Seconds as "1:02:03", as "2:03" below an hour, and None as "out"."""
    if seconds is None:
        return "out"
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
