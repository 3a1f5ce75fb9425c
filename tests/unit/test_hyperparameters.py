import msgspec
import numpy as np
import pytest

from fm_algo.errors import UserError
from fm_algo.hyperparameters import (
    Hyperparameters,
    describe_range,
    parse_hyperparameters,
    shapes_model,
)

REQUIRED = {"feature_dim": "2625", "num_factors": "64", "predictor_type": "regressor"}

# The built-in's documentation, pages "hyperparameters" and "tuning".
DEFAULTS = {
    "epochs": 1,
    "mini_batch_size": 1000,
    "bias_init_method": "normal",
    "bias_init_scale": None,
    "bias_init_sigma": 0.01,
    "bias_init_value": None,
    "bias_lr": 0.1,
    "bias_wd": 0.01,
    "clip_gradient": None,
    "eps": None,
    "factors_init_method": "normal",
    "factors_init_scale": None,
    "factors_init_sigma": 0.001,
    "factors_init_value": None,
    "factors_lr": 0.0001,
    "factors_wd": 0.00001,
    "linear_init_method": "normal",
    "linear_init_scale": None,
    "linear_init_sigma": 0.01,
    "linear_init_value": None,
    "linear_lr": 0.001,
    "linear_wd": 0.001,
    "rescale_grad": None,
}
UNDOCUMENTED_DEFAULTS = {
    "use_bias": True,
    "use_linear": True,
    "batch_metrics_publish_interval": 500,
}
TUNABLE = {
    "epochs": (1, 1000),
    "mini_batch_size": (100, 10_000),
} | {
    f"{group}_{name}": (1e-8, 512)
    for group in ("bias", "linear", "factors")
    for name in ("lr", "wd", "init_sigma", "init_scale", "init_value")
}


def parse(**changes):
    return parse_hyperparameters(REQUIRED | changes)


def problem(**changes):
    with pytest.raises(UserError) as caught:
        parse(**changes)
    assert "\n" not in caught.value.message
    return caught.value.message


def declared(name):
    """Return the text and the tuning range of a hyperparameter."""
    (field,) = [each for each in msgspec.structs.fields(Hyperparameters) if each.name == name]
    info = msgspec.inspect.type_info(field.type)
    return info.extra_json_schema["description"], info.extra["tunable"]


def ours():
    return [name for name in Hyperparameters.__struct_fields__ if declared(name)[0][:5] == "Ours."]


def test_the_names_and_defaults_are_the_built_ins():
    parsed = msgspec.to_builtins(parse())

    assert {name: value for name, value in parsed.items() if name not in ours()} == (
        {"feature_dim": 2625, "num_factors": 64, "predictor_type": "regressor"}
        | DEFAULTS
        | UNDOCUMENTED_DEFAULTS
    )


def test_what_the_built_in_does_not_document_is_said():
    undocumented = [
        name
        for name in Hyperparameters.__struct_fields__
        if declared(name)[0].endswith("Undocumented in the built-in.")
    ]

    assert undocumented == list(UNDOCUMENTED_DEFAULTS)


def test_what_is_ours_has_defaults():
    parsed = parse()

    assert (parsed.seed, parsed.shuffle, parsed.num_threads) == (0, True, None)
    assert {"seed", "shuffle", "num_threads"} <= set(ours())


def test_the_tunable_ones_and_their_ranges_are_the_built_ins():
    names = [name for name in Hyperparameters.__struct_fields__ if name not in ours()]

    assert {name: declared(name)[1] for name in names if declared(name)[1]} == TUNABLE


# Three clients write the same values differently.
@pytest.mark.parametrize(
    ("predictor_type", "true", "false", "unset"),
    [
        ("binary_classifier", "True", "False", ""),
        ('"binary_classifier"', "true", "false", "null"),
        ("binary_classifier", "true", "false", "null"),
        (" binary_classifier\n", '"True"', " false ", "None"),
    ],
    ids=["python_sdk", "script_mode", "model_trainer", "with_blanks"],
)
def test_values_come_in_the_encodings_of_every_client(predictor_type, true, false, unset):
    parsed = parse(
        predictor_type=predictor_type,
        epochs=" 5 ",
        use_bias=true,
        use_linear=false,
        clip_gradient=unset,
        bias_lr=unset,
    )

    assert parsed == parse(predictor_type="binary_classifier", epochs="5", use_linear="false")
    assert (parsed.use_bias, parsed.use_linear, parsed.bias_lr) == (True, False, 0.1)


def test_json_numbers_and_booleans_are_taken_too():
    parsed = parse(epochs=5, bias_lr=1e-3, use_bias=False, eps=None)

    assert parsed == parse(epochs="5", bias_lr="0.001", use_bias="False")


@pytest.mark.parametrize(
    ("text", "number"),
    [("1000", 1000), ("1e3", 1000), ("1000.0", 1000), ("+7", 7), ("007", 7), ("1.5E2", 150)],
)
def test_whole_numbers_may_have_a_point_or_an_exponent(text, number):
    assert parse(epochs=text).epochs == number


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("1e-8", 1e-8), (".5", 0.5), ("+0.5", 0.5), ("512", 512), ("1E-05", 1e-5)],
)
def test_numbers_are_written_in_many_ways(text, number):
    value = parse(bias_lr=text).bias_lr

    assert value == number
    assert isinstance(value, float)


def test_a_large_seed_is_not_rounded():
    assert parse(seed=str(2**63 - 1)).seed == 2**63 - 1


def test_names_of_the_platform_are_passed_over():
    assert parse(_tuning_objective_metric="test:rmse", sagemaker_program="x.py", _x="") == parse()


def test_the_spelling_of_the_tuning_page_is_taken():
    assert parse(epoch="7").epochs == 7


def test_one_value_in_both_spellings_is_refused():
    assert "epochs is given twice, once as epochs and once as epoch" in problem(
        epochs="7", epoch="7"
    )


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("feature_dim", "0", "a whole number >= 1 and <= 2147483647"),
        ("feature_dim", "2147483648", "a whole number >= 1 and <= 2147483647"),
        ("num_factors", "-1", "a whole number >= 1 and <= 1000000"),
        ("num_factors", "1" + "0" * 30, "a whole number >= 1 and <= 1000000"),
        ("epochs", "2.5", "a whole number >= 1 and <= 2147483647"),
        ("epochs", "1_000", "a whole number >= 1 and <= 2147483647"),
        ("epochs", "٣", "a whole number >= 1 and <= 2147483647"),
        ("mini_batch_size", "many", "a whole number >= 1 and <= 2147483647"),
        ("predictor_type", "Regressor", "one of binary_classifier, regressor"),
        ("bias_lr", "-0.1", "a finite number >= 0"),
        ("bias_lr", "1_0.5", "a finite number >= 0"),
        ("linear_wd", "nan", "a finite number >= 0"),
        ("factors_wd", "inf", "a finite number >= 0"),
        ("factors_lr", "1e400", "a finite number >= 0"),
        ("clip_gradient", "-inf", "a finite number"),
        ("eps", "0", "a finite number > 0"),
        ("bias_init_method", "zeros", "one of constant, mean, normal, uniform"),
        ("use_bias", "yes", "true or false"),
        ("seed", "-1", "a whole number >= 0 and <= 9223372036854775807"),
        ("num_threads", "0", "a whole number >= 1 and <= 1024"),
    ],
)
def test_a_value_out_of_range_is_told_with_the_range(name, value, allowed):
    expected = f"1 problem in the hyperparameters: {name}={value!r} is not {allowed}"

    assert problem(**{name: value}) == expected


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("value", [None, "", "null"])
def test_a_missing_one_is_told(name, value):
    raw = {key: given for key, given in REQUIRED.items() if key != name}
    if value is not None:
        raw[name] = value

    with pytest.raises(UserError, match=f"1 problem.*: {name} is required: "):
        parse_hyperparameters(raw)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("mini_batchsize", "mini_batch_size"),
        ("factor_lr", "factors_lr"),
        ("num_factor", "num_factors"),
        ("Epochs", "epochs"),
    ],
)
def test_for_an_unknown_name_the_nearest_is_proposed(name, nearest):
    assert f"{name} is not a hyperparameter; did you mean {nearest}?" in problem(**{name: "1"})


def test_for_a_name_like_no_other_nothing_is_proposed():
    assert problem(qwxyz="1").endswith("qwxyz is not a hyperparameter")


@pytest.mark.parametrize("group", ["bias", "linear", "factors"])
@pytest.mark.parametrize(("method", "needed"), [("uniform", "scale"), ("constant", "value")])
def test_an_initialiser_needs_its_number(group, method, needed):
    name = f"{group}_init_{needed}"
    given = {f"{group}_init_method": method}

    assert f"{name} is required when {group}_init_method is {method}" in problem(**given)
    assert getattr(parse(**given, **{name: "0.5"}), name) == 0.5


def test_one_mistake_is_told_once():
    message = problem(bias_init_method="uniform", bias_init_scale="wide")

    assert message.startswith("1 problem in the hyperparameters: bias_init_scale='wide'")


def test_every_mistake_is_told_at_once():
    with pytest.raises(UserError) as caught:
        parse_hyperparameters(
            {
                "feature_dim": "wide",
                "predictor_type": "ranker",
                "epochs": "0",
                "learning_rate": "1",
                "factors_init_method": "constant",
                "use_bias": "perhaps",
            }
        )
    message = caught.value.message

    assert message.startswith("7 problems in the hyperparameters: ")
    for part in (
        "feature_dim='wide'",
        "predictor_type='ranker'",
        "epochs='0'",
        "learning_rate is not a hyperparameter",
        "num_factors is required",
        "factors_init_value is required",
        "use_bias='perhaps'",
    ):
        assert part in message


TYPED = {"feature_dim": 2625, "num_factors": 64, "predictor_type": "regressor"}


def test_typed_values_make_what_their_texts_make():
    made = Hyperparameters(**TYPED, bias_lr=1, epochs=np.int64(3), linear_lr=np.float32(0.5))

    assert made == parse(bias_lr="1", epochs="3", linear_lr="0.5")
    assert [type(value) for value in (made.bias_lr, made.epochs, made.linear_lr)] == [
        float,
        int,
        float,
    ]


MISTAKES = {"num_factors": -3, "epochs": 2.5, "use_bias": 1, "factors_init_method": "uniform"}
TOLD = (
    "4 problems in the hyperparameters: "
    "num_factors=-3 is not a whole number >= 1 and <= 1000000; "
    "epochs=2.5 is not a whole number >= 1 and <= 2147483647; "
    "use_bias=1 is not true or false; "
    "factors_init_scale is required when factors_init_method is uniform"
)


@pytest.mark.parametrize(
    "make",
    [
        lambda values: Hyperparameters(**TYPED | values),
        lambda values: msgspec.structs.replace(parse(), **values),
    ],
    ids=["made", "changed"],
)
def test_wrong_ones_can_neither_be_made_nor_come_of_a_change(make):
    with pytest.raises(UserError) as caught:
        make(MISTAKES)

    assert caught.value.message == TOLD


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite_are_refused_decoded_ones_too(value):
    told = f"1 problem in the hyperparameters: clip_gradient={value} is not a finite number"
    for make in (lambda **values: msgspec.convert(values, Hyperparameters), Hyperparameters):
        with pytest.raises(UserError) as caught:
            make(**TYPED, clip_gradient=value)
        assert caught.value.message == told


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("feature_dim", True),
        ("feature_dim", "5"),
        ("feature_dim", 2**31),
        ("epochs", None),
        ("eps", 0.0),
        ("optimizer", "lbfgs"),
        ("seed", -1),
        ("validation_split", 1.0),
    ],
)
def test_a_typed_value_out_of_range_is_told_with_the_range(name, value):
    with pytest.raises(UserError, match=f"1 problem.*: {name}={value!r} is not (a|one of) "):
        Hyperparameters(**TYPED | {name: value})


def test_positive_weight_is_for_classes():
    assert Hyperparameters(**TYPED).positive_weight == 1
    classes = TYPED | {"predictor_type": "binary_classifier", "positive_weight": 10}
    assert Hyperparameters(**classes).positive_weight == 10
    with pytest.raises(UserError, match=r"positive_weight=10.0 needs predictor_type=binary_class"):
        Hyperparameters(**classes | {"predictor_type": "regressor"})
    with pytest.raises(UserError, match="positive_weight=0 is not a finite number > 0"):
        Hyperparameters(**classes | {"positive_weight": 0})


@pytest.mark.parametrize("artifact", ["ours", "both"])
def test_what_the_built_ins_artifact_cannot_hold_goes_with_ours(artifact):
    parse(artifact=artifact, optimizer="mcmc", posterior_samples=9)


def test_all_that_the_built_ins_artifact_cannot_hold_is_told_before_training():
    with pytest.raises(UserError) as told:
        parse(
            artifact="builtin",
            optimizer="mcmc",
            posterior_samples=9,
            columns='{"rating": "label", "user": "category"}',
        )

    cannot = (
        "artifact=builtin holds w0, w and V alone, not what {} adds to a model: use both, whose "
        "model.safetensors holds it, or ours"
    )
    assert cannot.format("posterior_samples") in told.value.message
    assert cannot.format("columns") in told.value.message


def test_these_do_not_shape_the_model():
    assert {name for name in Hyperparameters.__struct_fields__ if not shapes_model(name)} == {
        "epochs",
        "device",
        "num_threads",
        "memory_budget_mb",
        "batch_metrics_publish_interval",
        "checkpoint_interval",
        "checkpoint_keep",
        "early_stopping_patience",
        "early_stopping_tolerance",
        "artifact",
        "report",
        "tensorboard",
    }


def test_every_range_has_words():
    for field in msgspec.structs.fields(Hyperparameters):
        assert describe_range(field.type).startswith(("a ", "one of ", "true or false"))
    with pytest.raises(TypeError, match="no words for"):
        describe_range(bytes)
