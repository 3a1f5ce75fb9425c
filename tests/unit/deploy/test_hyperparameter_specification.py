import msgspec

from deploy.hyperparameter_specification import specifications, tunables
from fm_algo.hyperparameters import Hyperparameters

BY_NAME = {one["Name"]: one for one in specifications()}


def test_every_hyperparameter_is_specified_once():
    assert list(BY_NAME) == [field.name for field in msgspec.structs.fields(Hyperparameters)]


def test_a_required_one_has_no_default():
    assert BY_NAME["num_factors"]["IsRequired"]
    assert "DefaultValue" not in BY_NAME["num_factors"]


def test_a_job_of_tables_may_leave_out_feature_dim():
    assert not BY_NAME["feature_dim"]["IsRequired"]
    assert "DefaultValue" not in BY_NAME["feature_dim"]


def test_what_columns_are_is_free_text():
    assert BY_NAME["columns"]["Type"] == "FreeText"


def test_one_that_is_not_set_by_default_has_none_either():
    assert not BY_NAME["clip_gradient"]["IsRequired"]
    assert "DefaultValue" not in BY_NAME["clip_gradient"]


def test_a_whole_number_has_both_ends():
    epochs = BY_NAME["epochs"]
    ends = {"MinValue": "1", "MaxValue": "2147483647"}
    assert epochs["Type"] == "Integer"
    assert epochs["Range"] == {"IntegerParameterRangeSpecification": ends}
    assert epochs["DefaultValue"] == "1"


def test_a_rate_may_be_zero_though_tuners_are_advised_otherwise():
    rate = BY_NAME["factors_lr"]
    ends = {"MinValue": "0", "MaxValue": "3.4028235e+38"}
    assert rate["Range"] == {"ContinuousParameterRangeSpecification": ends}
    assert tunables()["factors_lr"].low == 1e-8


def test_an_unbounded_number_reaches_both_ways():
    range_ = BY_NAME["bias_init_value"]["Range"]["ContinuousParameterRangeSpecification"]
    assert range_["MinValue"] == "-3.4028235e+38"


def test_words_and_truths_are_categories():
    values = BY_NAME["predictor_type"]["Range"]["CategoricalParameterRangeSpecification"]["Values"]
    assert sorted(values) == ["binary_classifier", "regressor"]
    truth = BY_NAME["use_bias"]
    assert truth["Range"] == {
        "CategoricalParameterRangeSpecification": {"Values": ["true", "false"]}
    }
    assert truth["DefaultValue"] == "true"


def test_the_built_ins_seventeen_are_tunable():
    names = {
        *(f"{group}_{what}" for group in ("bias", "linear", "factors") for what in ("lr", "wd")),
        *(
            f"{group}_init_{what}"
            for group in ("bias", "linear", "factors")
            for what in ("sigma", "scale", "value")
        ),
        *("epochs", "mini_batch_size"),
    }
    assert len(names) == 17
    assert names <= set(tunables())
    assert tunables()["epochs"].is_integer
    assert {name for name, one in BY_NAME.items() if one["IsTunable"]} == set(tunables())
