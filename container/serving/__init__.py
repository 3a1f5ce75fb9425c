"""A server of models, as SageMaker asks for it."""
