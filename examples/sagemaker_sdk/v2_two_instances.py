"""Version 2 of the SDK: one model trained by two instances in local mode, then served by one."""

import sys
from pathlib import Path

from ratings import HYPERPARAMETERS, check_scores, json_instance, make_ratings, write_csv
from sagemaker.deserializers import JSONDeserializer
from sagemaker.estimator import Estimator
from sagemaker.inputs import TrainingInput
from sagemaker.predictor import Predictor
from sagemaker.serializers import JSONSerializer
from session import ROLE, local_session


def main(image: str, folder: Path) -> None:
    """Train and deploy in a working folder."""
    ratings = make_ratings()
    write_csv(folder / "train" / "rows.csv", ratings)
    estimator = Estimator(
        image,
        ROLE,
        2,
        "local",
        output_path=f"file://{folder}/models",
        sagemaker_session=local_session(),
        # mini_batch_size counts the rows per instance and step.
        hyperparameters=HYPERPARAMETERS | {"mini_batch_size": 25},
    )
    estimator.fit({"train": TrainingInput(f"file://{folder}/train", content_type="text/csv")})

    predictor = estimator.deploy(
        1,
        "local",
        serializer=JSONSerializer(),
        deserializer=JSONDeserializer(),
        predictor_cls=Predictor,
    )
    try:
        answer = predictor.predict({"instances": [json_instance(one) for one in ratings]})
    finally:
        predictor.delete_endpoint()
    scores = [prediction["score"] for prediction in answer["predictions"]]
    check_scores("two instances", scores, ratings)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
