"""Reads what runs left: metrics, temperature, paired comparisons, reports. Needs no torch."""
