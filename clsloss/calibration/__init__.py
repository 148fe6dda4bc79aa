"""Losses for calibration."""
