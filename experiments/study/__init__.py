"""Studies: which runs they consist of, the status of each, and the launchers that train them."""
