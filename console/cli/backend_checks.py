"""Checks the backends of a run before it is registered: installed, loadable, and allowed by its licence policy."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from console.cli.terminal import say
from deepsound.backends import GENERATORS, REASONERS, SEPARATORS, load_generator, load_reasoner, load_separator
from deepsound.generation.protocol import Generator
from deepsound.models.licences import Terms, known_terms, restrictions, terms_of
from deepsound.reasoning.protocol import Reasoner
from deepsound.separation.protocol import Separator
from tasks.runtime.licence_policy import asked_for
from tasks.runtime.run_settings import RunSettings, SilenceJudge, Source
from tasks.steps.check_silence import as_silence_listener

_LOAD: Mapping[str, Callable[[str], Generator | Reasoner | Separator]] = {
    GENERATORS: load_generator,
    REASONERS: load_reasoner,
    SEPARATORS: load_separator,
}


def check_backends(settings: RunSettings, sources: Sequence[Source] = ()) -> None:
    """Load every backend that the run needs for `sources`, and print which licences restrict use of the results.

    Raises DeepSoundError: BAD_SETTINGS for an unknown name, for weights that the licence policy does not allow, or
    for a reasoner that can't answer what the settings ask of it; MODEL_MISSING, MODEL_FAILED.
    """
    used: list[Terms] = []
    # `asked_for` checks all names first, so that nobody downloads gigabytes for a run that is then refused.
    for asked in asked_for(settings, sources):
        backend = _LOAD[asked.group](asked.name)
        terms = known_terms(asked.name) or tuple(map(terms_of, backend.models))
        asked.refuse(settings.licence, terms)
        used += terms
    if settings.silence is not SilenceJudge.MEASURED:
        as_silence_listener(load_reasoner(settings.reasoner))
    _say_restrictions(used)


def check_licences(settings: RunSettings, sources: Sequence[Source]) -> None:
    """Check names and licences alone, for a submitted run: its weights are on the workers' machines.

    Raises DeepSoundError (BAD_SETTINGS).
    """
    asked = asked_for(settings, sources)
    _say_restrictions(term for one in asked for term in known_terms(one.name))


def _say_restrictions(terms: Iterable[Terms]) -> None:
    for restriction in restrictions(terms):
        say(restriction)
