"""Version 2 of the SDK, its FactorizationMachines class as it is, on our image in local mode.

The class looks up its image by the built-in's name, and run.sh gives that name to our image.
"""

import sys
from pathlib import Path

import numpy as np
from ratings import FEATURE_DIM, HYPERPARAMETERS, MIDDLE, make_ratings
from sagemaker import FactorizationMachines
from sagemaker.amazon.amazon_estimator import RecordSet
from sagemaker.amazon.common import write_numpy_to_dense_tensor
from sagemaker.inputs import TrainingInput
from session import ROLE, local_session


class LocalRecords(RecordSet):
    """Records in a local folder: local mode takes no sharded data, and RecordSet has no other."""

    def records_s3_input(self) -> TrainingInput:
        """Return the same place, unsharded."""
        return TrainingInput(self.s3_data, distribution="FullyReplicated")


def main(folder: Path) -> None:
    """Fit, deploy and predict in a working folder."""
    ratings = make_ratings()
    rows = np.zeros((len(ratings), FEATURE_DIM), dtype="float32")
    for row, (_, user, item) in zip(rows, ratings, strict=True):
        row[[user, item]] = 1
    labels = np.array([label > MIDDLE for label, _, _ in ratings], dtype="float32")
    data = folder / "data" / "train.pbr"
    data.parent.mkdir(parents=True)
    with data.open("wb") as file:
        write_numpy_to_dense_tensor(file, rows, labels)

    given = HYPERPARAMETERS | {"predictor_type": "binary_classifier"}
    feature_dim, mini_batch_size = given.pop("feature_dim"), given.pop("mini_batch_size")
    estimator = FactorizationMachines(
        ROLE,
        1,
        "local",
        output_path=f"file://{folder}/models",
        data_location="s3://not-used/in-local-mode",
        sagemaker_session=local_session(),
        **given,
    )
    print(f"the class runs {estimator.training_image_uri()}")
    records = LocalRecords(f"file://{data.parent}", len(ratings), feature_dim=feature_dim)
    estimator.fit(records, mini_batch_size=mini_batch_size)

    predictor = estimator.deploy(1, "local")
    try:
        answers = predictor.predict(rows)  # RecordIO there and back
    finally:
        predictor.delete_endpoint()
    scores = np.array([answer.label["score"].float32_tensor.values[0] for answer in answers])
    predicted = np.array(
        [answer.label["predicted_label"].float32_tensor.values[0] for answer in answers]
    )
    accuracy = np.mean(predicted == labels)
    print(f"FactorizationMachines: {len(answers)} answers, accuracy {accuracy:.3f}")
    if len(answers) != len(ratings) or accuracy < 0.9 or any(predicted != (scores >= 0.5)):
        raise SystemExit("the answers are not those of a model that has learned")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
