"""Record what version 2 of the AWS SDK sends for the built-in: this made sdk_requests.json.

    python -m venv sdk && sdk/bin/pip install 'sagemaker==2.257.7'
    AWS_REGION=eu-west-1 sdk/bin/python record_sdk_requests.py > sdk_requests.json

The SDK's FactorizationMachines class, unmodified, fits and is tuned against a server that takes
down each request's body and says yes. Nothing leaves the machine.
"""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
import sagemaker
from sagemaker.amazon.amazon_estimator import RecordSet
from sagemaker.tuner import ContinuousParameter, HyperparameterTuner, IntegerParameter

ARN = "arn:aws:sagemaker:eu-west-1:123456789012:training-job/fm-1"
requests = {}


class Recorder(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        requests[self.headers["X-Amz-Target"].partition(".")[2]] = json.loads(body)
        answer = json.dumps({"TrainingJobArn": ARN, "HyperParameterTuningJobArn": ARN}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


server = ThreadingHTTPServer(("127.0.0.1", 0), Recorder)
threading.Thread(target=server.serve_forever, daemon=True).start()
aws = boto3.Session("test", "test", region_name="eu-west-1")
client = aws.client("sagemaker", endpoint_url=f"http://127.0.0.1:{server.server_port}")
session = sagemaker.Session(aws, sagemaker_client=client, default_bucket="bucket")


def estimator():
    return sagemaker.FactorizationMachines(
        "arn:aws:iam::123456789012:role/fm",
        1,
        "ml.c5.2xlarge",
        output_path="s3://bucket/models",
        data_location="s3://bucket/data",
        sagemaker_session=session,
        num_factors=64,
        predictor_type="binary_classifier",
        epochs=20,
        factors_lr=0.001,
    )


records = [
    RecordSet(f"s3://bucket/data/{name}.manifest", 90570, feature_dim=2625, channel=name)
    for name in ("train", "test")
]
estimator().fit(records, mini_batch_size=200, wait=False, job_name="fm-1")
ranges = {"factors_lr": ContinuousParameter(1e-8, 512), "epochs": IntegerParameter(1, 1000)}
tuner = HyperparameterTuner(
    estimator(), "test:binary_classification_accuracy", ranges, max_jobs=4, max_parallel_jobs=2
)
tuner.fit(records, mini_batch_size=200, wait=False, job_name="fm-tune")
json.dump(requests, sys.stdout, indent=2)
sys.stdout.write("\n")
