"""Version 3 of the SDK: one model trained by two instances in local mode, then served by one."""

import sys
from pathlib import Path

from ratings import make_ratings
from v3_model_trainer import check_endpoint, local_session, train


def main(image: str, folder: Path) -> None:
    """Train and deploy in a working folder."""
    ratings = make_ratings()
    session = local_session()
    train(session, image, folder, ratings, num_instances=2)
    check_endpoint(session, ratings)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
