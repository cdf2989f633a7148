"""The protocol of arXiv 2604.08513 as a model repo: networks, generated pictures, and small copies of the contracts."""
