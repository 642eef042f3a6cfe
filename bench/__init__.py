"""Benchmarks of Ostro: tasks with one known bug each, the demonstration, and what judges them."""
