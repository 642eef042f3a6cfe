from __future__ import annotations

from agent.search.candidates import Sieve
from agent.search.localise import Suspect
from agent.search.missing import gaps, imports, propose_bindings, unbound
from tests.agent.search.knowing_engine import KnowingEngine

RIGHT = """\
import math


class Box:
    def __init__(self, items):
        self.items = items
        self.count = len(items)

    def area(self, r):
        half = r / 2
        if r:
            return math.pi * half * half
        return 0
"""
OUTPUT = """\
E   NameError: name 'half' is not defined
E       UnboundLocalError: cannot access local variable 'total' where it is not associated with a value
E   AttributeError: 'Box' object has no attribute 'count'
E   NameError: name 'half' is not defined. Did you mean: 'hash'?
"""


def test_names_from_errors():
    assert unbound(OUTPUT) == ["half", "total", "Box.count"]
    assert unbound("UnboundLocalError: local variable 'x' referenced before assignment") == ["x"]


def test_places_before_the_first_use_the_nearest_first():
    source = RIGHT.replace("        half = r / 2\n", "")
    area = Suspect("box.py", "Box.area", 9, 12, 1.0)
    (gap,) = gaps("NameError: name 'half' is not defined", [area], {"box.py": source})
    assert (gap.target, gap.lines) == ("half", (11, 10))


def test_an_attribute_is_missing_in_the_initialiser():
    source = RIGHT.replace("        self.count = len(items)\n", "")
    init = Suspect("box.py", "Box.__init__", 5, 6, 1.0)
    (gap,) = gaps("AttributeError: 'Box' object has no attribute 'count'", [init], {"box.py": source})
    assert gap.target == "self.count"


def test_an_import_of_the_standard_library():
    source = RIGHT.replace("import math\n", "import os\n")
    suspect = Suspect("box.py", "Box.area", 9, 13, 1.0)
    (edit,) = imports("NameError: name 'math' is not defined", [suspect], {"box.py": Sieve("box.py", source)})
    assert "import math\n" in edit.source
    assert imports("NameError: name 'mth' is not defined", [suspect], {"box.py": Sieve("b", source)}) == []


async def test_the_model_says_what_the_name_is_bound_to():
    source = RIGHT.replace("        half = r / 2\n", "")
    area = Suspect("box.py", "Box.area", 9, 12, 1.0, classes=(4,))
    batches = propose_bindings(
        KnowingEngine(RIGHT),
        "NameError: name 'half' is not defined",
        [area],
        {"box.py": source},
        [],
        {"box.py": Sieve("box.py", source)},
    )
    proposed = [edit.source for batch in [batch async for batch in batches] for edit in batch.edits]
    assert RIGHT in proposed
