"""A session of version 2 in local mode that needs no AWS account."""

import socket

import boto3
from sagemaker.local import LocalSession

ROLE = "arn:aws:iam::123456789012:role/not-used-in-local-mode"


def local_session() -> LocalSession:
    """Return a session that serves on a free port; its credentials are none."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    session = LocalSession(boto3.Session("none", "none", region_name="eu-west-1"))
    session.config = {"local": {"local_code": True, "serving_port": port}}
    return session
