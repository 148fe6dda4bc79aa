"""Beyond accuracy and calibration: detection, failures, conformal sets, other recalibrations."""
