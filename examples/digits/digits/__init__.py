"""A model repo in small: handwritten digits, a residual network, transfer learning in two steps."""
