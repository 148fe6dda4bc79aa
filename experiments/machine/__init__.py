"""What a run needs of its machine: processes, devices, threads, locks, signals, progress."""
