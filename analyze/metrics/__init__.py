"""The numbers of one set of predictions: accuracy, calibration, temperature."""
