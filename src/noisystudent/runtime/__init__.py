"""Where the work runs: device, precision, processes, threads, progress. Only this package reads the environment."""
