"""Factorization machines: formats, model, kernels and training.

    read_recordio(source) -> rows, labels       RecordIO-protobuf to a scipy matrix
    write_recordio(target, rows, labels)        and back

Import the other public names from their own modules:

    fm_algo.sparse               CSRBatch.of(X, y), rows in sparse form, checked
    fm_algo.model                FMModel, which scores them
    fm_algo.hyperparameters      Hyperparameters and parse_hyperparameters
    fm_algo.answers.uncertainty  score_uncertainty, how sure a model with samples is
    fm_algo.artifacts.artifact   load_model and save_model
    fm_algo.data.formats         bytes to rows and scores to bytes
    fm_algo.errors               UserError, AlgorithmError and PlatformError, all FMError
"""

from fm_algo.data.recordio_file import read_recordio, write_recordio

__all__ = ["read_recordio", "write_recordio"]
