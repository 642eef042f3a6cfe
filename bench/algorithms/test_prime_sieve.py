from prime_sieve import factorise, primes_up_to


def test_below_two():
    assert primes_up_to(1) == []
    assert primes_up_to(-5) == []


def test_two():
    assert primes_up_to(2) == [2]


def test_thirty():
    assert primes_up_to(30) == [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]


def test_limit_is_prime():
    assert primes_up_to(13)[-1] == 13


def test_limit_is_square_of_prime():
    assert primes_up_to(49)[-1] == 47
    assert 25 not in primes_up_to(25)


def test_count_to_thousand():
    assert len(primes_up_to(1000)) == 168


def test_factors_of_one():
    assert factorise(1) == []


def test_factors_with_repetition():
    assert factorise(360) == [2, 2, 2, 3, 3, 5]


def test_factors_of_prime():
    assert factorise(97) == [97]


def test_factors_of_square():
    assert factorise(49) == [7, 7]
