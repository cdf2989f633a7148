"""From runs at hand to runs to come: how many images they need, and which limits clean ones keep. Torch stays out."""
