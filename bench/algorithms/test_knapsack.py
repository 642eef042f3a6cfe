from knapsack import knapsack


def test_nothing():
    assert knapsack([], 10) == 0
    assert knapsack([(1, 5)], 0) == 0


def test_single_fits():
    assert knapsack([(3, 7)], 5) == 7


def test_exact_fit():
    assert knapsack([(5, 9)], 5) == 9


def test_too_heavy():
    assert knapsack([(6, 100)], 5) == 0


def test_each_item_once():
    assert knapsack([(1, 4)], 3) == 4


def test_choice():
    assert knapsack([(1, 1), (3, 4), (4, 5), (5, 7)], 7) == 9


def test_many_small_beat_one_big():
    assert knapsack([(4, 10), (2, 6), (2, 6)], 4) == 12


def test_light_items_all_taken():
    assert knapsack([(1, 2), (2, 3), (3, 4)], 10) == 9
