"""The tool's environment settings. Only this module of deploy reads the environment, once.

boto3 finds credentials, profile and endpoints itself: it reads AWS_PROFILE, AWS_ENDPOINT_URL,
AWS_MAX_ATTEMPTS and similar variables.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Settings:
    """The values used if flags are not given.

    Attributes
    ----------
    region : str or None
        AWS_REGION or AWS_DEFAULT_REGION; without either, the region of the AWS profile.
    role : str or None
        FM_ROLE_ARN: the role that SageMaker assumes.
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
