"""Simulations on the limit: how often a decision is wrong where it is hardest to be right."""
