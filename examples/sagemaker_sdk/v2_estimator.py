"""Version 2 of the SDK, its Estimator: train, deploy and transform on our image in local mode."""

import json
import sys
from pathlib import Path

from ratings import (
    HYPERPARAMETERS,
    check_scores,
    json_instance,
    make_ratings,
    write_csv,
    write_json_lines,
)
from sagemaker.deserializers import JSONDeserializer
from sagemaker.estimator import Estimator
from sagemaker.inputs import TrainingInput
from sagemaker.predictor import Predictor
from sagemaker.serializers import JSONSerializer
from session import ROLE, local_session


def main(image: str, folder: Path) -> None:
    """Train, deploy and transform in a working folder."""
    ratings = make_ratings()
    write_csv(folder / "train" / "rows.csv", ratings)
    write_json_lines(folder / "in" / "rows.jsonl", ratings)
    estimator = Estimator(
        image,
        ROLE,
        1,
        "local",
        output_path=f"file://{folder}/models",
        sagemaker_session=local_session(),
        hyperparameters=HYPERPARAMETERS,
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
    check_scores("Estimator.deploy", scores, ratings)

    transformer = estimator.transformer(
        1, "local", output_path=f"file://{folder}/out", accept="application/jsonlines"
    )
    transformer.transform(
        f"file://{folder}/in",
        content_type="application/jsonlines",
        split_type="Line",
        logs=False,  # the SDK would look for them in CloudWatch
    )
    lines = (folder / "out" / "rows.jsonl.out").read_text(encoding="utf-8").splitlines()
    check_scores("Estimator.transformer", [json.loads(line)["score"] for line in lines], ratings)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
