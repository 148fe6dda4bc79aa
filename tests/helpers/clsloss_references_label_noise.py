"""Reference losses in NumPy and float64, as in `clsloss_references`: label noise.

SETTINGS names what to draw for each loss: {loss: {setting: [values]}}.
"""

SETTINGS = {}
