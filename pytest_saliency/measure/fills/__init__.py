"""What removed positions of an image become."""
