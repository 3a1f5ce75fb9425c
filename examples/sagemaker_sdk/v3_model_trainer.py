"""Version 3 of the SDK: train with ModelTrainer, then deploy and transform, all in local mode."""

import json
import socket
import sys
from pathlib import Path

import boto3
from ratings import (
    HYPERPARAMETERS,
    Rating,
    check_scores,
    json_instance,
    make_ratings,
    write_csv,
    write_json_lines,
)
from sagemaker.core.local import LocalSession
from sagemaker.train.configs import Compute, InputData
from sagemaker.train.model_trainer import Mode, ModelTrainer

ROLE = "arn:aws:iam::123456789012:role/not-used-in-local-mode"


def main(image: str, folder: Path) -> None:
    """Train, deploy and transform in a working folder."""
    ratings = make_ratings()
    session = local_session()
    train(session, image, folder, ratings)
    check_endpoint(session, ratings)

    write_json_lines(folder / "in" / "rows.jsonl", ratings)
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"file://{folder}/in"}}
    session.sagemaker_client.create_transform_job(
        TransformJobName="fm",
        ModelName="fm",
        TransformInput={
            "DataSource": source,
            "ContentType": "application/jsonlines",
            "SplitType": "Line",
        },
        TransformOutput={
            "S3OutputPath": f"file://{folder}/out",
            "Accept": "application/jsonlines",
        },
        TransformResources={"InstanceType": "local", "InstanceCount": 1},
    )
    lines = (folder / "out" / "rows.jsonl.out").read_text(encoding="utf-8").splitlines()
    scores = [json.loads(line)["score"] for line in lines]
    check_scores("create_transform_job", scores, ratings)


def train(
    session: LocalSession, image: str, folder: Path, ratings: list[Rating], num_instances: int = 1
) -> None:
    """Train in a working folder; make a model, fm, of what comes out."""
    write_csv(folder / "train" / "rows.csv", ratings)
    # mini_batch_size counts the rows per instance and step.
    mini_batch_size = HYPERPARAMETERS["mini_batch_size"] // num_instances
    trainer = ModelTrainer(
        training_image=image,
        training_mode=Mode.LOCAL_CONTAINER,
        sagemaker_session=session,
        role=ROLE,
        base_job_name="fm",
        compute=Compute(instance_type="local_cpu", instance_count=num_instances),
        hyperparameters=HYPERPARAMETERS | {"mini_batch_size": mini_batch_size},
        local_container_root=str(folder / "job"),
    )
    (folder / "job").mkdir()
    data = InputData(
        channel_name="train", data_source=str(folder / "train"), content_type="text/csv"
    )
    trainer.train(input_data_config=[data], wait=True)
    container = {
        "Image": image,
        "ModelDataUrl": f"file://{folder}/job/compressed_artifacts/model.tar.gz",
        "Environment": {},
    }
    session.sagemaker_client.create_model(ModelName="fm", PrimaryContainer=container)


def check_endpoint(session: LocalSession, ratings: list[Rating]) -> None:
    """Ask the model at an endpoint."""
    aws = session.sagemaker_client  # boto3's calls, done by Docker
    variant = {"ModelName": "fm", "InstanceType": "local", "InitialInstanceCount": 1}
    aws.create_endpoint_config(EndpointConfigName="fm", ProductionVariants=[variant])
    aws.create_endpoint(EndpointName="fm", EndpointConfigName="fm")
    try:
        body = json.dumps({"instances": [json_instance(one) for one in ratings]})
        answer = session.sagemaker_runtime_client.invoke_endpoint(
            EndpointName="fm", Body=body, ContentType="application/json"
        )
        predictions = json.loads(answer["Body"].read())["predictions"]
    finally:
        aws.delete_endpoint(EndpointName="fm")
    scores = [prediction["score"] for prediction in predictions]
    check_scores("create_endpoint", scores, ratings)


def local_session() -> LocalSession:
    """Return a session that serves on a free port; its credentials are none."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    session = LocalSession(boto3.Session("none", "none", region_name="eu-west-1"))
    session.config = {"local": {"local_code": True, "serving_port": port}}
    return session


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
