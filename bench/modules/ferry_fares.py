"""Fares of the sound ferry, in cents."""

FOOT = 420
BICYCLE = 150
PER_HALF_METRE = 95


def vehicle_fare(length_cm):
    """A vehicle pays for each half metre begun; one longer than 7 m pays a quarter more."""
    halves = (length_cm + 49) // 50
    fare = halves * PER_HALF_METRE
    if length_cm > 700:
        fare += fare // 4
    return fare


def crossing(adults, children=0, bicycles=0, length_cm=0, islander=False):
    """Fare of a party for one crossing.

    Every adult takes one child along free, the other children pay half. With a vehicle its driver, one
    of the adults, is included in the vehicle's fare. Islanders pay a third of all that, rounded down to
    10 cents, but bicycles always cost the full price.
    """
    if adults == 0 and length_cm:
        raise ValueError("a vehicle needs a driver")
    paying_adults = adults - 1 if length_cm else adults
    paying_children = max(0, children - adults)
    total = paying_adults * FOOT + paying_children * FOOT // 2
    if length_cm:
        total += vehicle_fare(length_cm)
    if islander:
        total = total // 3 // 10 * 10
    return total + bicycles * BICYCLE
