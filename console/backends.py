"""The backends of a run, looked at before anything is registered: are they here, and may they be used?"""

from collections.abc import Callable, Iterable

from console.settings import Settings
from console.terminal import say
from deepsound.backends import (
    GENERATORS,
    REASONERS,
    SEPARATORS,
    check_known,
    load_generator,
    load_reasoner,
    load_separator,
    reasoners_named,
)
from deepsound.generation.protocol import Generator
from deepsound.licences import LicencePolicy, Terms, known_terms, refuse_restricted, restrictions, terms_of
from deepsound.reasoning.protocol import Reasoner
from deepsound.separation.protocol import Separator
from tasks.check_silence import hearing
from tasks.settings import SilenceJudge


def check_backends(settings: Settings) -> None:
    """Say which licences restrict the use of what the run will make.

    Raises DeepSoundError: BAD_SETTINGS for an unknown name, or under the policy `commercial` for weights whose
    licence does not state that commercial use is allowed, or for a reasoner that can't be asked what the run
    wants to ask it; MODEL_MISSING, MODEL_FAILED.
    """
    terms = [
        *_terms(settings, "generator", settings.generator, load_generator),
        *(
            term
            for member in reasoners_named(settings.reasoner)
            for term in _terms(settings, "reasoner", member, load_reasoner)
        ),
        *_terms(settings, "separator", settings.separator, load_separator),
    ]
    regenerates_with = load_generator(settings.generator).regenerates_with
    if regenerates_with is not None:
        terms += _terms(settings, "generator", regenerates_with, load_generator)
    reasoner = load_reasoner(settings.reasoner)
    if settings.silence is not SilenceJudge.MEASURED:
        hearing(reasoner)
    for restriction in restrictions(terms):
        say(restriction)


def check_licences(settings: Settings) -> None:
    """What of `check_backends` needs no weights: those are on the workers' machines, and checked there.

    Raises DeepSoundError (BAD_SETTINGS).
    """
    for kind, name, group in (
        ("generator", settings.generator, GENERATORS),
        *(("reasoner", member, REASONERS) for member in reasoners_named(settings.reasoner)),
        ("separator", settings.separator, SEPARATORS),
    ):
        check_known(group, name)
        terms = known_terms(name)
        _refuse(settings, kind, name, terms)
        for restriction in restrictions(terms):
            say(restriction)


def _terms(
    settings: Settings, kind: str, name: str, load: Callable[[str], Generator | Reasoner | Separator]
) -> Iterable[Terms]:
    known = known_terms(name)
    # Refused before its weights are asked for: nobody should fetch gigabytes to be told so.
    _refuse(settings, kind, name, known)
    backend = load(name)
    terms = known or tuple(map(terms_of, backend.models))
    _refuse(settings, kind, name, terms)
    return terms


def _refuse(settings: Settings, kind: str, name: str, terms: Iterable[Terms]) -> None:
    if settings.licence is LicencePolicy.COMMERCIAL:
        embedded = Settings.model_fields[kind].default
        remedy = f"choose --{kind} {embedded}, or --licence any for other uses"
        refuse_restricted(terms, where=f"--licence commercial: {kind} {name}", remedy=remedy)
