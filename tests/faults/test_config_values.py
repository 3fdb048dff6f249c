"""Values that a config file may hold by mistake: flags as numbers, NaN, numbers far out of range, YAML gone wild."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any, get_args

import pytest
from pydantic import BaseModel, ValidationError

import skyfold.config
import skyfold.tuning
from skyfold import plugins
from skyfold.config.errors import explain
from skyfold.config.fields import Strict
from skyfold.training.losses.forecasting import FORECAST_LOSSES
from skyfold.training.losses.named import options_of
from skyfold.training.losses.segmentation import MASK_LOSSES, PRESENCE_LOSSES


def tables() -> dict[str, type[BaseModel]]:
    """Every table that a config file may have: those of configs and studies, and the options of every plug-in."""
    found: dict[str, type[BaseModel]] = {}
    for package in (skyfold.config, skyfold.tuning):
        for module in pkgutil.iter_modules(package.__path__):
            values = vars(importlib.import_module(f"{package.__name__}.{module.name}")).values()
            found |= {v.__name__: v for v in values if isinstance(v, type) and issubclass(v, BaseModel)}
    for package in ("competitions", "models", "forecasting.baselines", "forecasting.frame_adapters"):
        found |= {f"{package}.{name}": plugins.load(package, name).PLUGIN for name in plugins.names(package)}
    found |= {
        f"loss.{name}": options_of(loss) for name, loss in {**MASK_LOSSES, **PRESENCE_LOSSES, **FORECAST_LOSSES}.items()
    }
    del found["BaseModel"], found["Strict"], found["Options"]
    return found


def kinds(annotation: Any) -> set[Any]:
    parts = get_args(annotation)
    return {annotation} if not parts else {kind for part in parts for kind in kinds(part)}


FIELDS = [
    (table, name, kinds(field.annotation)) for table in tables().values() for name, field in table.model_fields.items()
]


def refused(table: type[BaseModel], name: str, value: object) -> str:
    """What is said of a value under a key; '' where nothing is said of this key."""
    try:
        table.model_validate({name: value})
    except ValidationError as error:
        return "\n".join(line for line in explain(table, error) if line.startswith(f"'{name}"))
    return ""


def test_the_tables_are_found():
    assert len(tables()) > 50
    assert len(FIELDS) > 200
    assert all(issubclass(table, Strict) for table in tables().values())


def test_true_is_a_number_under_no_key():
    numbers = [(table, name) for table, name, own in FIELDS if own & {int, float} and not own & {bool, Any}]
    assert len(numbers) > 120
    for wrong in (True, [True, True], [1, False]):
        missed = [(table.__name__, name) for table, name in numbers if not refused(table, name, wrong)]
        assert missed == []
    one = refused(*next((table, name) for table, name in numbers if name == "learning_rate"), True)
    assert one == "'learning_rate': true and false are no values of this option; got True."


def test_a_number_is_a_flag_under_no_key():
    flags = [(table, name) for table, name, own in FIELDS if own == {bool}]
    assert len(flags) > 10
    for wrong in (0, 1, 1.0, "yes", "true", [True]):
        assert [(table.__name__, name) for table, name in flags if not refused(table, name, wrong)] == []


def test_no_key_takes_nan_infinity_or_a_number_without_bounds():
    numbers = [(table, name, own) for table, name, own in FIELDS if own & {int, float}]
    for wrong in (float("nan"), float("inf"), float("-inf"), 10**30, -(10**30), "nan", "1e999", "9" * 30):
        for value in (wrong, [wrong, wrong]):
            missed = [
                (table.__name__, name)
                for table, name, own in numbers
                if not refused(table, name, value) and not (isinstance(wrong, str) and own & {str, Any})
            ]
            assert missed == [], wrong


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("optimizer: {learning_rate: true}", "'optimizer.learning_rate': true and false are no values"),
        ("optimizer: {learning_rate: yes}", "'optimizer.learning_rate': true and false are no values"),
        ("optimizer: {learning_rate: .nan}", "'optimizer.learning_rate': "),
        ("optimizer: {learning_rate: .inf}", "'optimizer.learning_rate': "),
        ("training: {seeds: [true]}", "'training.seeds': true and false are no values"),
        ("training: {bagging: 1}", "'training.bagging': expected true or false; got 1"),
        ("training: {deterministic: 'no'}", "'training.deterministic': expected true or false; got 'no'"),
        ("training: {epochs: 1.0e+18}", "'training.epochs': "),
        ("training: {epochs: 1000000000}", "'training.epochs': "),
        ("training: {batch_size: 1000000000}", "'training.batch_size': "),
        ("training: {patience: 99999999999999999999}", "'training.patience': expected a number of 4294967295"),
        ("data: {folds: {k: 1000000000}}", "'data.folds.k': "),
        ("data: {folds: {k: true}}", "'data.folds.k': true and false are no values"),
        ("data: {options: {classes: {blob: true}}}", "mask value True of class 'blob': expected a grey value"),
        ("image: {size: [true, 48]}", "'image.size': true and false are no values"),
        ("augment: [{name: HorizontalFlip, p: .nan}]", "HorizontalFlip.p: expected a finite number; got nan"),
    ],
)
def test_a_run_with_such_a_value_is_refused_before_anything_is_done(tiny, change, expected):
    path = tiny.write_config("odd", f"base: bright.yaml\nname: odd\n{change}\n")
    before = tiny.files()
    code, out, err = tiny.run("train", path)
    assert (code, out) == (2, "")
    assert str(path) in err
    assert expected in err
    assert tiny.files() == before


def test_a_flag_as_an_argument_of_an_augmentation_is_refused(tiny):
    path = tiny.write_config("odd", "base: network.yaml\nname: odd\naugment: [{name: HorizontalFlip, p: true}]\n")
    code, _, err = tiny.run("train", path)
    assert code == 2
    assert "augment.0: HorizontalFlip.p: true and false are no values of this option; got True" in err
    assert not (tiny.oof / "odd" / "models").exists()


def test_true_on_the_command_line_is_no_number_either(tiny):
    code, _, err = tiny.run("train", "bright", "--set", "training.batch_size=yes")
    assert code == 2
    assert "'training.batch_size': true and false are no values of this option; got True" in err


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{own}: &{own} [{', '.join([f'*{before}'] * 10)}]\n" for before, own in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (BOMB, "more than 100000 values, with those that aliases repeat"),
        ("name: " + "[" * 100_000, "tables and lists in each other, more than 50 of them"),
        ("name: " + "{a: " * 5000, "tables and lists in each other, more than 50 of them"),
        ("name: &a [*a]", "an alias stands for the table or list that it is in"),
        ("name: 2014-13-45", "month must be in 1..12"),
        ("name: " + "9" * 5000, "Exceeds the limit"),
        ("name: !!bool maybe", "does not fit its tag"),
        ("name: !!timestamp maybe", "does not fit its tag"),
        ("name: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("name: \x00", "special characters are not allowed"),
        ("#" * (5 << 20), "more than 4 MB, which no config has"),
    ],
)
def test_wild_yaml_is_refused_at_once(tiny, text, expected):
    path = tiny.write_config("wild", text)
    code, out, err = tiny.run("train", path)
    assert (code, out) == (2, "")
    assert str(path) in err
    assert expected in err


def test_wild_yaml_on_the_command_line_is_refused(tiny):
    code, _, err = tiny.run("train", "bright", "--set", "tta=" + "[" * 1000)
    assert code == 2
    assert "the value is not valid YAML" in err


def test_aliases_as_people_write_them_are_read(tiny):
    text = "base: bright.yaml\nname: again\ndata: &d {folds: &f {k: 2}}\nimage: {size: &s [40, 48]}\n"
    path = tiny.write_config("again", text)
    assert tiny.run("train", path)[0] == 0


def test_a_sweep_of_too_many_combinations_is_refused_before_it_is_expanded(tiny):
    values = list(range(100))
    text = (
        f"name: wide\nmodels:\n- model: m\n  sweep: {{run.a.b: {values}, run.a.c: {values}, run.a.d: {values}}}\n"
        "  run: {name: 'm{b}'}\n"
    )
    path = tiny.write_config("wide", text)
    code, _, err = tiny.run("leaderboard", path)
    assert code == 2
    assert f"{path}: sweep: more than 1000 combinations of values. Give fewer" in err
