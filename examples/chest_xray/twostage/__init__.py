"""Transfer learning in two stages on a folder of images, and the contract that its explanations are held to."""
