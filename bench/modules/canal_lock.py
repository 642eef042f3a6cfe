"""A canal lock: one chamber between an upper and a lower gate."""


class Refused(Exception):
    """What the keeper must not do now."""


class Lock:
    """The chamber holds `level` from 0 (low) to `lift` (high) decimetres, and at most two boats."""

    def __init__(self, lift, level=0):
        self.lift = lift
        self.level = level
        self.open_gate = None
        self.boats = []

    def open(self, gate):
        """Open "upper" or "lower": never both, and only with the water level on both of its sides."""
        if self.open_gate is not None:
            raise Refused(f"the {self.open_gate} gate is open")
        wanted = self.lift if gate == "upper" else 0
        if self.level != wanted:
            raise Refused("the water is not level")
        self.open_gate = gate

    def close(self):
        self.open_gate = None

    def fill(self, decimetres):
        """Let water in (or out, if negative); returns what really moved. With boats, 12 at a time."""
        if self.open_gate:
            raise Refused("a gate is open")
        if self.boats:
            decimetres = max(-12, min(12, decimetres))
        before = self.level
        self.level = min(self.lift, max(0, self.level + decimetres))
        return self.level - before

    def enter(self, boat, gate):
        if self.open_gate != gate:
            raise Refused(f"the {gate} gate is closed")
        if len(self.boats) >= 2:
            raise Refused("the chamber is full")
        self.boats.append(boat)

    def leave(self, gate):
        """The boat that came first leaves first."""
        if self.open_gate != gate or not self.boats:
            raise Refused("nothing can leave there")
        return self.boats.pop(0)
