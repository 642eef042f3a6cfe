"""Validity and price of the valley's ski passes; days are numbered through the winter."""

PRICES = {1: 46, 2: 88, 3: 126, 4: 160, 5: 190, 6: 216}
AGES = ((6, 0), (15, 50), (19, 75), (65, 100), (200, 90))


def percent_for(age):
    """Share of the full price at that age: free below 6, half below 15, and so on."""
    for below, percent in AGES:
        if age < below:
            return percent
    raise ValueError(f"an age of {age}")


def price(days, age, card=False):
    """Euros for a pass of so many days; from the seventh day each costs 30.

    With the guest card every pass of at least three days is 5 euros cheaper, those of children never.
    Cents are dropped.
    """
    full = PRICES[days] if days <= 6 else PRICES[6] + (days - 6) * 30
    due = full * percent_for(age) // 100
    if card and days >= 3 and percent_for(age) > 50:
        due -= 5
    return due


class Pass:
    """A pass for `days` days of skiing within a window: twice the days from the first use on."""

    def __init__(self, days):
        self.days = days
        self.used = []

    def valid_on(self, day):
        if not self.used:
            return True
        if day in self.used:
            return True
        return len(self.used) < self.days and day < self.used[0] + 2 * self.days

    def scan(self, day):
        """Use the pass at a lift; True where it opens. A day counts once, however often it is scanned."""
        if not self.valid_on(day):
            return False
        if day not in self.used:
            self.used.append(day)
        return True

    def left(self, today):
        """Days that can still be skied from today on."""
        if not self.used:
            return self.days
        window = self.used[0] + 2 * self.days - today
        return max(0, min(self.days - len(self.used), window - (today in self.used)))
