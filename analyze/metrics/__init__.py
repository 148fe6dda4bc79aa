"""Metrics of one set of predictions: accuracy, proper scores, calibration, ranking."""
