"""The loop and what it decides: effort, context, goal check, candidates, sessions."""
