"""Model and images in, maps out. Knows torch; knows no statistics and no pytest."""
