"""The backends of a run, looked at before anything is registered: are they here, and may they be used?"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from console.cli.settings import Settings
from console.cli.terminal import say
from deepsound.backends import GENERATORS, REASONERS, SEPARATORS, load_generator, load_reasoner, load_separator
from deepsound.generation.protocol import Generator
from deepsound.models.licences import Terms, known_terms, restrictions, terms_of
from deepsound.reasoning.protocol import Reasoner
from deepsound.separation.protocol import Separator
from tasks.runtime.licence_policy import asked_for
from tasks.runtime.run_settings import SilenceJudge, Source
from tasks.steps.check_silence import as_silence_listener

_LOAD: Mapping[str, Callable[[str], Generator | Reasoner | Separator]] = {
    GENERATORS: load_generator,
    REASONERS: load_reasoner,
    SEPARATORS: load_separator,
}


def check_backends(settings: Settings, sources: Sequence[Source] = ()) -> None:
    """Say which licences restrict the use of what the run will make of `sources`.

    Raises DeepSoundError: BAD_SETTINGS for an unknown name, or under the policy `commercial` for weights whose
    licence does not state that commercial use is allowed, or for a reasoner that can't be asked what the run
    wants to ask it; MODEL_MISSING, MODEL_FAILED.
    """
    used: list[Terms] = []
    # All are refused by name before the weights of one are asked for: nobody should fetch gigabytes to be told so.
    for asked in asked_for(settings.for_run(), sources):
        backend = _LOAD[asked.group](asked.name)
        terms = known_terms(asked.name) or tuple(map(terms_of, backend.models))
        asked.refuse(settings.licence, terms)
        used += terms
    if settings.silence is not SilenceJudge.MEASURED:
        as_silence_listener(load_reasoner(settings.reasoner))
    _say_restrictions(used)


def check_licences(settings: Settings, sources: Sequence[Source]) -> None:
    """What of `check_backends` needs no weights: those are on the workers' machines, and checked there.

    Raises DeepSoundError (BAD_SETTINGS).
    """
    asked = asked_for(settings.for_run(), sources)
    _say_restrictions(term for one in asked for term in known_terms(one.name))


def _say_restrictions(terms: Iterable[Terms]) -> None:
    for restriction in restrictions(terms):
        say(restriction)
