"""Measurements side by side with their yardstick, as ratios (DESIGN section 12)."""
