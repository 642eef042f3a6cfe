from box_inventory import depth, find, is_fragile, shipping_class, weight

SMALL = {"tare": 50, "items": {"cup": 200}}
GLASS = {"tare": 80, "items": {"vase": 900}, "fragile": True}
TRUNK = {"tare": 1000, "items": {"coat": 1500}, "boxes": [SMALL, {"tare": 100, "boxes": [GLASS]}]}


def test_weight_of_one():
    assert weight(SMALL) == 250


def test_weight_of_empty():
    assert weight({"tare": 70}) == 70


def test_weight_of_nested():
    assert weight(TRUNK) == 1000 + 1500 + 250 + 100 + 980


def test_depth():
    assert depth(SMALL) == 1
    assert depth(TRUNK) == 3
    assert depth({"tare": 1, "boxes": [TRUNK, SMALL]}) == 4


def test_fragile_by_mark():
    assert is_fragile(GLASS)
    assert not is_fragile(SMALL)


def test_fragile_by_most():
    assert is_fragile({"tare": 1, "boxes": [GLASS, GLASS, SMALL]})
    assert is_fragile({"tare": 1, "boxes": [{"tare": 1, "boxes": [GLASS]}]})


def test_half_is_not_most():
    assert not is_fragile({"tare": 1, "boxes": [GLASS, SMALL]})


def test_find_outside():
    assert find(TRUNK, "coat") == ()


def test_find_inside():
    assert find(TRUNK, "cup") == (0,)
    assert find(TRUNK, "vase") == (1, 0)


def test_find_nothing():
    assert find(TRUNK, "hat") is None


def test_find_nearest():
    deep = {"tare": 1, "boxes": [SMALL]}
    assert find({"tare": 1, "boxes": [deep, SMALL]}, "cup") == (1,)


def test_shipping_by_weight():
    assert shipping_class({"tare": 1000}) == "letter"
    assert shipping_class({"tare": 1001}) == "plain"
    assert shipping_class({"tare": 30_000}) == "plain"
    assert shipping_class({"tare": 30_001}) == "bulky"


def test_shipping_by_depth():
    assert shipping_class(TRUNK) == "plain"
    assert shipping_class({"tare": 1, "boxes": [TRUNK]}) == "bulky"


def test_shipping_fragile():
    assert shipping_class(GLASS) == "careful"
    assert shipping_class({"tare": 40_000, "fragile": True}) == "bulky"
