"""Yearly rent of allotment gardens, in cents."""

from dataclasses import dataclass


@dataclass
class Plot:
    square_metres: int
    water: bool = False
    shed: bool = False
    hours_worked: int = 0
    """Hours that the tenant gave to the common grounds last year."""


def rent(plot, tenancy_years):
    """Rent of a plot.

    35 cents a square metre up to 200, and 50 for every further one; a plot has to pay 30 euros at
    least. Water adds a tenth of that, a shed 18 euros, unless it has stood through ten years. In the
    first year half of everything is due. Each hour worked takes off 4 euros, six hours at most, but
    rent never falls below 12 euros.
    """
    size = plot.square_metres
    ground = min(size, 200) * 35 + max(0, size - 200) * 50
    ground = max(ground, 3000)
    due = ground
    if plot.water:
        due += ground // 10
    if plot.shed and tenancy_years < 10:
        due += 1800
    if tenancy_years == 0:
        due //= 2
    due -= min(plot.hours_worked, 6) * 400
    return max(due, 1200)


def invoice(plots, tenancy_years):
    """Rents of a tenant's plots, the dearest in full and every other one at nine tenths."""
    rents = sorted((rent(plot, tenancy_years) for plot in plots), reverse=True)
    return sum(rents[:1]) + sum(r * 9 // 10 for r in rents[1:])
