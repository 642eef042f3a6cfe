"""Repair by search: where the code surprises the model, with the tests as the judge (docs/repair.md)."""
