"""Weights and labels of boxes within boxes, in grams.

A box is a dict: "tare", optional "items" (name -> grams) and optional "boxes" (a list of boxes). A box
with "fragile" must not be stacked.
"""


def weight(box):
    """Everything in the box and the box itself."""
    total = box["tare"] + sum(box.get("items", {}).values())
    for inner in box.get("boxes", []):
        total += weight(inner)
    return total


def depth(box):
    """How many boxes lie within one another: 1 for a box without boxes."""
    return 1 + max((depth(inner) for inner in box.get("boxes", [])), default=0)


def is_fragile(box):
    """A box is fragile if it is marked so, or more than half of the boxes directly in it are fragile."""
    if box.get("fragile"):
        return True
    inner = box.get("boxes", [])
    return sum(is_fragile(b) for b in inner) * 2 > len(inner)


def find(box, name):
    """Path to an item as the positions of boxes, () for the outer one; None where it is not there.

    The nearest box to the outside wins.
    """
    if name in box.get("items", {}):
        return ()
    paths = []
    for i, inner in enumerate(box.get("boxes", [])):
        path = find(inner, name)
        if path is not None:
            paths.append((i, *path))
    return min(paths, key=len, default=None)


def shipping_class(box):
    """How to send it: "bulky" above 30 kg or three levels, else "careful" if it is fragile.

    What is left goes as "letter" up to 1 kg, and as "plain" beyond.
    """
    grams = weight(box)
    if grams > 30_000 or depth(box) > 3:
        return "bulky"
    if is_fragile(box):
        return "careful"
    return "letter" if grams <= 1000 else "plain"
