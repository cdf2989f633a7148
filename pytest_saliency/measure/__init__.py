"""Maps and scores in, one number per image out: torch tensors, no models, no decisions.

NaN is the only word for "undefined here": a blank or non-finite map makes its image undefined; nothing raises.
"""
