from deploy.settings import Settings


def test_an_empty_environment_gives_nothing():
    assert Settings.from_environment({}) == Settings(None, None, None, None)


def test_each_variable_is_read():
    environment = {
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "FM_ROLE_ARN": "role",
        "FM_BUCKET": "bucket",
        "FM_IMAGE_URI": "image",
    }
    expected = Settings(region="eu-west-1", role="role", bucket="bucket", image="image")
    assert Settings.from_environment(environment) == expected


def test_the_older_name_of_the_region_is_read_too():
    assert Settings.from_environment({"AWS_DEFAULT_REGION": "us-east-1"}).region == "us-east-1"


def test_an_empty_variable_is_not_set():
    assert Settings.from_environment({"FM_BUCKET": "", "AWS_REGION": ""}).bucket is None
