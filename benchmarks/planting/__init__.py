"""What ``benchmarks/planted.py`` is made of: data, networks, failures, their effects, verdicts and tables."""
