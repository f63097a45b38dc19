"""Every fault of a manifest is told with file, field and remedy, and no text makes anything else happen."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from service.errors import PackageError
from service.package.manifest import Manifest, parse

FILE = Path("some") / "package.yaml"
Content = dict[str, Any]


@pytest.fixture(scope="module")
def content(colours: Path) -> Content:
    """A valid manifest as a mapping."""
    return dict(yaml.safe_load((colours / "package.yaml").read_text()))


def parsed(content: Content) -> Manifest:
    return parse(yaml.safe_dump(content), FILE)


def refusal(text: str) -> PackageError:
    with pytest.raises(PackageError) as caught:
        parse(text, FILE)
    assert str(caught.value).startswith(f"{FILE}: ")
    assert caught.value.remedy
    return caught.value


def test_a_valid_manifest_is_read(content: Content) -> None:
    manifest = parsed(content)
    assert (manifest.name, manifest.version, manifest.router.name) == ("colours", "1.0.0", "early-exit")
    assert [stage.answer for stage in manifest.stages] == ["logits0", "logits1", "logits2"]
    assert manifest.stages[0].glimpses["image"].height == 8
    assert manifest.stages[1].glimpses == {}
    assert manifest.precision == "float32"


@pytest.mark.parametrize("precision", ["int4", 8, None])
def test_only_known_precisions_are_read(content: Content, precision: Any) -> None:
    assert parsed(content | {"precision": "int8"}).precision == "int8"
    assert refusal(yaml.safe_dump(content | {"precision": precision})).field == "precision"


def set_in(path: str, value: Any) -> Callable[[Content], None]:
    """Set a value at a dotted path."""

    def change(content: Content) -> None:
        *way, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        place: Any = content
        for part in way:
            place = place[part]
        place[last] = value

    return change


@pytest.mark.parametrize(
    "field", ["format", "name", "version", "modality", "task", "family", "description", "labels", "stages", "router"]
)
def test_every_field_is_asked_for(content: Content, field: str) -> None:
    error = refusal(yaml.safe_dump({key: value for key, value in content.items() if key != field}))
    assert (error.field, error.problem) == (field, "Field required")
    assert "add it" in error.remedy


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("format", 2),
        ("format", "1"),
        ("name", "Colours"),
        ("name", "../colours"),
        ("name", "x" * 65),
        ("name", "colours\n"),
        ("version", 1.0),
        ("version", "latest"),
        ("modality", "smell"),
        ("description", ""),
        ("labels", "/etc/passwd"),
        ("labels", "../labels.txt"),
        ("labels", ".labels"),
        ("labels", "more/labels.txt"),
        ("labels", "more\\labels.txt"),
        ("stages", []),
        ("stages", {}),
        ("stages.0.graph", "../glance.onnx"),
        ("stages.0.graph", "https://example.org/glance.onnx"),
        ("stages.0.sha256", "0" * 63),
        ("stages.0.sha256", "G" * 64),
        ("stages.0.macs_per_row", -1),
        ("stages.0.macs_per_row", 1e6),
        ("stages.0.macs_per_row", True),
        ("stages.0.inputs", {}),
        ("stages.0.outputs", {}),
        ("stages.1.next.0", 2),
        ("calibration.file", "../calibration.npz"),
        ("router.name", ""),
    ],
)
def test_a_wrong_value_is_refused_by_its_field(content: Content, field: str, value: Any) -> None:
    changed = copy.deepcopy(content)
    set_in(field, value)(changed)
    error = refusal(yaml.safe_dump(changed))
    assert error.field == field
    assert "docs/packages.md" in error.remedy


def test_a_tensor_of_no_known_role_is_refused(content: Content) -> None:
    changed = copy.deepcopy(content)
    changed["stages"][0]["outputs"]["seen0"] = "logits"
    assert refusal(yaml.safe_dump(changed)).field.startswith("stages.0.outputs.seen0")


@pytest.mark.parametrize(("height", "width"), [(0, 8), (8, 4097), (8, 8.0)])
def test_a_glimpse_of_no_size_is_refused(content: Content, height: Any, width: Any) -> None:
    changed = copy.deepcopy(content)
    changed["stages"][0]["inputs"]["image"] |= {"height": height, "width": width}
    assert refusal(yaml.safe_dump(changed)).field.startswith("stages.0.inputs.image")


@pytest.mark.parametrize("where", ["", "stages.2.", "calibration.", "router."])
def test_an_unknown_field_is_refused_by_its_name(content: Content, where: str) -> None:
    changed = copy.deepcopy(content)
    set_in(f"{where}colour", "red")(changed)
    error = refusal(yaml.safe_dump(changed))
    assert error.field == f"{where}colour"
    assert "spelling" in error.remedy


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"stages.1.name": "stare"}, "stage name 'stare' is used twice"),
        ({"stages.1.exit": "early"}, "exit name 'early' is used twice"),
        ({"stages.1.next": ["gaze"]}, "next names 'gaze', which is no later stage"),
        ({"stages.1.next": ["look"]}, "a next leads back to an earlier stage"),
        ({"stages.2.next": ["glance"]}, "a next leads back to an earlier stage"),
        ({"laps": 2}, "laps says that there is a loop, but no next leads back"),
        # The second lap of look would be read by nobody: the first leads to stare.
        ({"laps": 2, "stages.2.next": ["stare"], "stages.2.exit": None}, "'stare2' has neither next nor exit"),
        ({"laps": 127, "stages.0.next": ["glance", "look"]}, "129 exits; there may be 127: lower laps"),
        ({"stages.2.exit": None}, "'stare' has neither next nor exit"),
        ({"stages.1.exit": None}, "'look': an exit needs exactly one output marked 'answer'"),
        ({"stages.1.outputs.logits1": "state"}, "'look': an exit needs exactly one output marked 'answer'"),
        ({"stages.1.outputs.seen1": "answer"}, "'look': an exit needs exactly one output marked 'answer'"),
        (
            {"stages.0.inputs.image": {"glimpse": "crop", "height": 8, "width": 8}},
            "'glance' is the first: no router can have said where it shall look",
        ),
        (
            {"stages.1.inputs.text": {"glimpse": "chunks", "chars": 8}},
            "'text' is a glimpse of text, but image",
        ),
        ({"stages.1.ragged": 4}, "'look' is ragged: it needs exactly one next and no exit"),
        ({"stages.1.inputs.rows": "rows"}, "'look' reads or writes rows, but isn't ragged"),
        ({"stages.0.inputs.before": "state"}, "'glance': state 'before' is made by no earlier stage"),
        ({"stages.1.inputs.seen1": "state"}, "'look': state 'seen1' is made by no earlier stage"),
        ({"stages.1.inputs.logits0": "state"}, "'look': state 'logits0' is made by no earlier stage"),
        ({"stages.0.next": ["stare"]}, "'look' comes after no other"),
        # stare would read seen1, which a walk that skips look has not made: another walker's would lie there.
        ({"stages.0.next": ["look", "stare"]}, "'stare': state 'seen1' is made by no earlier stage of some walk"),
    ],
)
def test_stages_that_can_t_be_walked_are_refused(content: Content, changes: Content, problem: str) -> None:
    changed = copy.deepcopy(content)
    for field, value in changes.items():
        set_in(field, value)(changed)
    error = refusal(yaml.safe_dump(changed))
    assert error.field == "stages"
    assert problem in error.problem


def test_a_stage_may_be_skipped_where_nothing_of_it_is_asked_for(content: Content) -> None:
    changed = copy.deepcopy(content)
    changed["stages"][0]["next"] = ["look", "stare"]
    changed["stages"][2]["inputs"] = {"rows": "state", "seen0": "state"}
    assert parsed(changed).stages[0].next == ("look", "stare")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "just words",
        "- a\n- list",
        "{",
        "a: b: c",
        "\t",
        "!!python/object/apply:os.system [exit]",
        "a: !!bool perhaps",
        "a: !!int ''",
        "a: !!timestamp soon",
        "a: 2001-13-45",
        "a: &loop [*loop]\n",
        "[" * 1500,
        "? [1, 2]\n: 3",
        "1: 2",
        'name: "\\ud800"',
        "a: \0",
    ],
)
def test_what_is_no_manifest_is_refused(text: str) -> None:
    refusal(text)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3),
    max_leaves=8,
)


@given(text=st.text() | st.text(alphabet="ab:-[]{}!&*?|>'\"%#,\n \t0~"))
def test_no_text_raises_anything_but_a_package_error(text: str) -> None:
    with pytest.raises(PackageError):
        parse(text, FILE)


@given(data=st.data())
def test_no_value_anywhere_raises_anything_but_a_package_error(content: Content, data: st.DataObject) -> None:
    changed = copy.deepcopy(content)
    place, key = data.draw(st.sampled_from(list(places(changed))))
    place[key] = data.draw(values)
    with suppress(PackageError):
        assert parsed(changed).stages[-1].exit


def places(value: Any) -> Any:
    """Every container in a value with every key of it."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from places(value[key])
