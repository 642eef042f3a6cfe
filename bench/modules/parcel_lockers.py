"""Puts parcels into the boxes of a parcel station."""

SIZES = {"S": (10, 35, 60), "M": (20, 35, 60), "L": (40, 40, 60)}


def fits(parcel, size):
    """Whether a parcel (three edges in cm) goes into a box of that size, turned any way."""
    return all(edge <= room for edge, room in zip(sorted(parcel), sorted(SIZES[size]), strict=True))


class Station:
    """`boxes` maps a box number to its size; numbers from 100 on are at wheelchair height."""

    def __init__(self, boxes):
        self.boxes = dict(boxes)
        self.held = {}

    def free(self, size):
        return [n for n in sorted(self.boxes) if self.boxes[n] == size and n not in self.held]

    def store(self, code, parcel, day, low=False):
        """Number of the box taken: the smallest size that fits and is free, its lowest number.

        With `low` only boxes at wheelchair height. None where there is no box; a code in use is an error.
        """
        if any(code == kept for kept, _ in self.held.values()):
            raise ValueError(f"{code} is already stored")
        for size in SIZES:
            if not fits(parcel, size):
                continue
            for number in self.free(size):
                if number >= 100 or not low:
                    self.held[number] = (code, day)
                    return number
        return None

    def collect(self, code, today):
        """(box, fee): the third day after storing is still free, each later one costs 70 cents."""
        for number, (kept, day) in self.held.items():
            if kept == code:
                del self.held[number]
                return number, max(0, today - day - 3) * 70
        raise KeyError(code)

    def overdue(self, today):
        """Codes to send back, those stored for more than nine days, longest first."""
        late = [(day, code) for code, day in self.held.values() if today - day > 9]
        return [code for _, code in sorted(late)]
