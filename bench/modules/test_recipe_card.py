from recipe_card import amount, card, scale


def test_amounts():
    assert [amount(q) for q in (1, 2, 3, 4, 9, 20)] == ["1/4", "1/2", "3/4", "1", "2 1/4", "5"]


def test_scale_same():
    assert scale(6, "flour", 100) == 6


def test_scale_rounds_half_up():
    assert scale(3, "flour", 50) == 2
    assert scale(5, "flour", 50) == 3


def test_scale_rounds_down_below_half():
    assert scale(3, "flour", 49) == 1


def test_scale_never_nothing():
    assert scale(1, "yeast", 20) == 1


def test_counted_are_whole():
    assert scale(8, "egg", 80) == 8
    assert scale(12, "lemon", 100) == 12


def test_counted_half_goes_down():
    assert scale(12, "egg", 50) == 4
    assert scale(12, "egg", 51) == 8


def test_counted_at_least_one():
    assert scale(4, "onion", 25) == 4


def test_card():
    assert card("Flat bread", [(8, "cup", "flour"), (1, "tsp", "yeast")]) == [
        "FLAT BREAD",
        "  2 cup  flour",
        "1/4 tsp  yeast",
    ]


def test_card_without_unit():
    assert card("Omelette", [(12, "", "egg")]) == ["OMELETTE", "3  egg"]


def test_card_scaled():
    assert card("Omelette", [(12, "", "egg"), (2, "cup", "milk")], 200) == [
        "OMELETTE",
        "    6  egg",
        "1 cup  milk",
    ]


def test_salt_comes_last():
    assert card("Soup", [(1, "tsp", "salt"), (4, "l", "water")]) == ["SOUP", "1 l  water", "salt to taste"]


def test_salt_alone():
    assert card("Brine", [(1, "tsp", "salt")]) == ["BRINE", "salt to taste"]
