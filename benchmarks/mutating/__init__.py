"""Explainers that are wrong on purpose, and which kinds of check reject them."""
