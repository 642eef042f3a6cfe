from deposit_ledger import Ledger


def ledger():
    return Ledger({"bottle": 8, "crate": 150, "keg": 3000}, {"crate": ("bottle", 20)})


def test_deliver_bottles():
    assert ledger().deliver("Inn", "bottle", 5) == 40


def test_deliver_crate_with_bottles():
    assert ledger().deliver("Inn", "crate") == 310


def test_deliver_crates():
    book = ledger()
    assert book.deliver("Inn", "crate", 3) == 930
    assert book.out["Inn"] == {"crate": 3, "bottle": 60}


def test_deliveries_add_up():
    book = ledger()
    book.deliver("Inn", "bottle", 5)
    book.deliver("Inn", "bottle")
    assert book.owed("Inn") == 48


def test_bring_back_in_full():
    book = ledger()
    book.deliver("Inn", "bottle", 5)
    assert book.bring_back("Inn", "bottle", 3) == 24
    assert book.owed("Inn") == 16


def test_bring_back_all():
    book = ledger()
    book.deliver("Inn", "bottle", 5)
    book.bring_back("Inn", "bottle", 5)
    assert book.out["Inn"] == {}


def test_strange_bottles_pay_less():
    book = ledger()
    assert book.bring_back("Inn", "keg") == 2400
    assert book.bring_back("Inn", "bottle", 10) == 70
    assert book.owed("Inn") == 0


def test_partly_strange():
    book = ledger()
    book.deliver("Inn", "bottle", 2)
    assert book.bring_back("Inn", "bottle", 5) == 16 + 21
    assert book.owed("Inn") == 0


def test_empty_crate_leaves_bottles_out():
    book = ledger()
    book.deliver("Inn", "crate")
    assert book.bring_back("Inn", "crate") == 150
    assert book.owed("Inn") == 160


def test_unknown_customer_owes_nothing():
    assert ledger().owed("Nobody") == 0


def test_customers_are_apart():
    book = ledger()
    book.deliver("Inn", "keg")
    book.deliver("Pub", "bottle")
    assert book.owed("Pub") == 8


def test_reminders():
    book = ledger()
    for customer, kegs in [("Inn", 2), ("Pub", 1), ("Bar", 2), ("Cafe", 3)]:
        book.deliver(customer, "keg", kegs)
    assert book.reminders(3000) == ["Cafe", "Bar", "Inn"]
