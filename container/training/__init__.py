"""A training job, as SageMaker runs it."""
