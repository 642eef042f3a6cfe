"""Controls the roof vents of a greenhouse, a step of ten per cent at a time."""


class Vents:
    """Opens above `warm` and closes below `cool` degrees; in between the vents stay as they are."""

    def __init__(self, warm=26, cool=22):
        if cool >= warm:
            raise ValueError("cool must lie below warm")
        self.warm = warm
        self.cool = cool
        self.opening = 0
        self.locked_until = 0
        self.log = []

    def limit(self, wind):
        """Widest opening that the wind (km/h) allows: all to 30, half to 50, a fifth to 70, none above."""
        for speed, widest in ((30, 100), (50, 50), (70, 20)):
            if wind <= speed:
                return widest
        return 0

    def tick(self, minute, temperature, wind=0, rain=False):
        """Take one reading and move; returns the opening in per cent.

        Far above warm (six degrees or more) it opens by three steps at once. Rain counts as the next
        stronger wind. A storm that shuts the vents keeps them shut for 20 minutes.
        """
        if minute < self.locked_until:
            return self.opening
        wanted = self.opening
        if temperature > self.warm:
            wanted += 30 if temperature - self.warm >= 6 else 10
        elif temperature < self.cool:
            wanted -= 10
        if rain:
            wind += 20
        widest = self.limit(wind)
        if widest == 0 and self.opening > 0:
            self.locked_until = minute + 20
        wanted = max(0, min(wanted, widest))
        if wanted != self.opening:
            self.log.append((minute, self.opening, wanted))
            self.opening = wanted
        return self.opening
