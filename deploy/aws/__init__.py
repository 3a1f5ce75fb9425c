"""AWS: how it is called and waited for, and what jobs, names and uploads are there."""
