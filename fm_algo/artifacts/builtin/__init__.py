"""The model artifact of SageMaker's built-in algorithm, read and written without MXNet.

ndarray     MXNet's binary list of named arrays
symbol      MXNet's description of the network, as far as a reader needs it
artifact    the ZIP archive model_algo-1: both of these, and meta.json
"""
