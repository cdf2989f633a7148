"""The experiments of the CASE paper (arXiv 2506.07327): data in, contracts run, tables out."""
