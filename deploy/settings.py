"""The environment of the tool, read once. Nothing else in deploy reads the environment.

Credentials, profile and end points are boto3's own matter: it reads AWS_PROFILE, AWS_ENDPOINT_URL,
AWS_MAX_ATTEMPTS and their sisters itself.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Settings:
    """What flags fall back to.

    Attributes
    ----------
    region : str or None
        AWS_REGION or AWS_DEFAULT_REGION; without either, the region of the AWS profile.
    role : str or None
        FM_ROLE_ARN: the role that SageMaker takes on.
    bucket : str or None
        FM_BUCKET: where data, models and checkpoints go.
    image : str or None
        FM_IMAGE_URI: the image in ECR.
    """

    region: str | None
    role: str | None
    bucket: str | None
    image: str | None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Read the settings from the process's environment, or from `environment`."""
        env = os.environ if environment is None else environment
        return cls(
            region=env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION") or None,
            role=env.get("FM_ROLE_ARN") or None,
            bucket=env.get("FM_BUCKET") or None,
            image=env.get("FM_IMAGE_URI") or None,
        )
