"""What a test author writes: one assertion a check kind.

Each measures, decides and records; it returns the ``Result`` when the verdict is PASS and raises
``ExplanationAssertionError`` for FAIL and INCONCLUSIVE. Given a list of methods, all must hold, and a tuple of
results comes back.
"""
