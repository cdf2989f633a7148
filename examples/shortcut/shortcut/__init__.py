"""The digits repo again, with a cheat planted during fine-tuning that its contract must catch."""
