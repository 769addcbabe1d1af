"""Where the work runs: device, precision, threads, progress. The only room that reads the environment."""
