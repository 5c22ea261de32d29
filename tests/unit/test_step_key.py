"""The step key: whatever a step's result depends on changes it, and nothing else does."""

from dataclasses import replace

from hypothesis import assume, given
from hypothesis import strategies as st

from deepsound.models.identity import ModelIdentity
from deepsound.pipeline import Step
from deepsound.storage.protocol import Artifact
from tasks.steps.contract import StepInputs

texts = st.text(max_size=12)
hashes = st.text("0123456789abcdef", min_size=64, max_size=64)
json_values = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts
models = st.builds(ModelIdentity, texts, texts, texts, st.dictionaries(texts, hashes, max_size=3))
artifacts = st.builds(Artifact, hashes, st.integers(0, 2**40), texts)

INGREDIENTS = {
    "backend": texts,
    "version": texts,
    "models": st.lists(models, max_size=3, unique_by=lambda model: model.name),
    "parameters": st.dictionaries(texts, json_values, max_size=3),
    "seed": st.none() | st.integers(0, 2**63 - 1),
    "video": st.none() | hashes,
    "artifacts": st.dictionaries(texts, artifacts, max_size=3),
}
inputs = st.builds(StepInputs, **INGREDIENTS)
steps = st.sampled_from(Step)


def what_counts(kept: StepInputs) -> tuple[object, ...]:
    """The ingredients as far as a result can depend on them: of models their weights, of artifacts their bytes."""
    weights = {model.name: dict(model.files) for model in kept.models}
    read = {role: artifact.sha256 for role, artifact in kept.artifacts.items()}
    typed = {name: (type(value), value) for name, value in kept.parameters.items()}
    return (kept.backend, kept.version, weights, typed, kept.seed, kept.video, read)


@given(inputs, steps, st.data())
def test_each_ingredient_changes_the_key(one: StepInputs, step: Step, data: st.DataObject):
    name = data.draw(st.sampled_from(sorted(INGREDIENTS)))
    other = replace(one, **{name: data.draw(INGREDIENTS[name])})
    assume(what_counts(one) != what_counts(other))
    assert one.key(step) != other.key(step)


@given(inputs, st.lists(steps, min_size=2, max_size=2, unique=True))
def test_so_does_the_step(one: StepInputs, two_steps: list[Step]):
    first, second = two_steps
    assert one.key(first) != one.key(second)


@given(inputs, steps)
def test_the_order_of_what_has_names_does_not(one: StepInputs, step: Step):
    turned = replace(
        one,
        models=one.models[::-1],
        parameters=dict(reversed(one.parameters.items())),
        artifacts=dict(reversed(one.artifacts.items())),
    )
    assert turned.key(step) == one.key(step)


@given(inputs, steps, texts, st.integers(0, 2**40))
def test_nor_do_media_types_sizes_and_licences(one: StepInputs, step: Step, word: str, size: int):
    described = replace(
        one,
        models=[replace(model, revision=word, licence=word) for model in one.models],
        artifacts={role: Artifact(artifact.sha256, size, word) for role, artifact in one.artifacts.items()},
    )
    assert described.key(step) == one.key(step)


def test_a_number_and_its_spelling_are_different_parameters():
    number, spelling = StepInputs("b", "1", parameters={"a": 1}), StepInputs("b", "1", parameters={"a": "1"})
    assert number.key(Step.PLAN) != spelling.key(Step.PLAN)
