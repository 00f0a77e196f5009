"""Experiments of many runs, in one command each: comparisons, tuning, the papers' tables."""
