from allotment_rent import Plot, invoice, rent


def test_plain():
    assert rent(Plot(150), 3) == 5250


def test_at_two_hundred():
    assert rent(Plot(200), 3) == 7000


def test_further_metres_cost_more():
    assert rent(Plot(210), 3) == 7500


def test_least_rent():
    assert rent(Plot(50), 3) == 3000


def test_water():
    assert rent(Plot(200, water=True), 3) == 7700


def test_water_on_least_rent():
    assert rent(Plot(50, water=True), 3) == 3300


def test_shed():
    assert rent(Plot(200, shed=True), 9) == 8800


def test_old_shed_is_free():
    assert rent(Plot(200, shed=True), 10) == 7000


def test_shed_costs_no_water():
    assert rent(Plot(200, water=True, shed=True), 1) == 9500


def test_first_year_is_half():
    assert rent(Plot(200, shed=True), 0) == 4400
    assert rent(Plot(200), 1) == 7000


def test_hours():
    assert rent(Plot(200, hours_worked=2), 3) == 6200


def test_six_hours_at_most():
    assert rent(Plot(200, hours_worked=9), 3) == 4600


def test_never_below_twelve_euros():
    assert rent(Plot(50, hours_worked=6), 3) == 1200


def test_invoice():
    assert invoice([Plot(100), Plot(200), Plot(150)], 3) == 7000 + 4725 + 3150


def test_empty_invoice():
    assert invoice([], 3) == 0
