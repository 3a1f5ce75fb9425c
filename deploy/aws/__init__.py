"""Work with AWS: calls, waiting, jobs, their logs, names and uploads."""
