"""Run a training job as SageMaker starts it."""
