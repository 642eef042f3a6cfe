from euclid import extended_gcd, gcd, lcm


def test_gcd():
    assert gcd(48, 36) == 12
    assert gcd(17, 5) == 1


def test_gcd_zero():
    assert gcd(0, 9) == 9
    assert gcd(9, 0) == 9
    assert gcd(0, 0) == 0


def test_gcd_negative():
    assert gcd(-12, 18) == 6
    assert gcd(12, -18) == 6


def test_lcm():
    assert lcm(4, 6) == 12
    assert lcm(7, 3) == 21


def test_lcm_zero():
    assert lcm(0, 5) == 0
    assert lcm(5, 0) == 0


def test_lcm_negative():
    assert lcm(-4, 6) == 12


def test_extended_gives_gcd():
    assert extended_gcd(240, 46)[0] == 2


def test_extended_identity():
    for a, b in [(240, 46), (46, 240), (17, 5), (9, 0)]:
        g, x, y = extended_gcd(a, b)
        assert a * x + b * y == g == gcd(a, b)
