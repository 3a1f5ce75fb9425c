"""The SageMaker contract: paths, environment, channels, exit codes, log lines and HTTP."""
