"""What one host's kernel is told of the job."""

from fm_algo.hyperparameters import parse_hyperparameters
from fm_algo.training.distributed.host_kernel import of_part


def test_a_part_may_be_less_or_more_than_a_job_may_ask_for():
    job = parse_hyperparameters(
        {
            "feature_dim": 1,
            "num_factors": 2,
            "predictor_type": "regressor",
            "mini_batch_size": 2**31 - 1,
        }
    )

    part = of_part(job, 3, feature_dim=0, num_factors=1)

    assert (part.feature_dim, part.num_factors) == (0, 1)
    assert part.mini_batch_size == 3 * (2**31 - 1)
    assert (job.feature_dim, job.mini_batch_size) == (1, 2**31 - 1)
