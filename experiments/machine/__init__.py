"""The machine of a run: processes, devices, threads, locks, signals and progress."""
