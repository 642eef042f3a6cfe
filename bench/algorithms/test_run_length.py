from run_length import decode, encode


def test_empty():
    assert encode("") == ""
    assert decode("") == ""


def test_single():
    assert encode("a") == "1a"


def test_run():
    assert encode("aaab") == "3a1b"


def test_alternating():
    assert encode("abab") == "1a1b1a1b"


def test_last_run():
    assert encode("abbb") == "1a3b"


def test_long_run():
    assert encode("x" * 12) == "12x"


def test_decode():
    assert decode("3a1b2c") == "aaabcc"


def test_decode_several_digits():
    assert decode("12x2y") == "x" * 12 + "yy"


def test_round_trip():
    text = "aabbbbcdddddddddddde"
    assert decode(encode(text)) == text
