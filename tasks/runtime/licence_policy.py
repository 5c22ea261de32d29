"""What a run may use: its backends by name before anything is registered, their weights before each step."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from deepsound.backends import (
    EMBEDDED,
    GENERATORS,
    REASONERS,
    SEPARATORS,
    check_known,
    kind_of,
    load_reasoner,
    reasoners_named,
    regenerates,
)
from deepsound.errors import BadSettingsError, DeepSoundError
from deepsound.models.identity import ModelIdentity
from deepsound.models.licences import LicencePolicy, Terms, known_terms, refuse_restricted, terms_of
from deepsound.pipeline import Fallback, Step
from tasks.runtime.backend_choice import choose_generator
from tasks.runtime.run_settings import RunSettings, Source

_ROWS_NAMED = 3


@dataclass(frozen=True, slots=True)
class Asked:
    """A backend that items of a run are made with; `rows` of a list name it, where the run itself does not."""

    group: str
    name: str
    rows: tuple[str, ...] = ()

    def refuse(self, policy: LicencePolicy, terms: Iterable[Terms]) -> None:
        """Raise DeepSoundError (BAD_SETTINGS) where the policy does not let a run use it under these terms."""
        if policy is LicencePolicy.COMMERCIAL:
            kind, embedded = kind_of(self.group), EMBEDDED[self.group]
            instead = f"name {embedded} there" if self.rows else f"choose --{kind} {embedded}"
            named = f"{self._place}: " if self.rows else ""
            where = f"{named}--licence commercial: {kind} {self.name}"
            refuse_restricted(terms, where=where, remedy=f"{instead}, or --licence any for other uses")

    def fault(self) -> DeepSoundError | None:
        """Why there is no such backend, saying which rows ask for it; None where there is one."""
        try:
            check_known(self.group, self.name)
        except DeepSoundError as fault:
            if not self.rows:
                return fault
            return fault.renamed(f"{self._place}: {fault.where}")
        return None

    @property
    def _place(self) -> str:
        more = f" and {len(self.rows) - _ROWS_NAMED} more rows" if len(self.rows) > _ROWS_NAMED else ""
        return "; ".join(self.rows[:_ROWS_NAMED]) + more


def asked_for(settings: RunSettings, sources: Iterable[Source]) -> Sequence[Asked]:
    """The run's backends, the generators that rows ask for, and who answers the `neg` fallback of each of these.

    No weights are needed. Raises DeepSoundError (BAD_SETTINGS) for a name that no backend has, and under the
    policy `commercial` for one whose known weights do not allow that.
    """
    rows: dict[str, tuple[str, ...]] = {settings.generator: ()}
    for source in sources:
        name = str(source.overrides.get("generator", settings.generator))
        if name != settings.generator:
            rows[name] = (*rows.get(name, ()), source.row)
    asked = [
        *(Asked(GENERATORS, name, named) for name, named in rows.items()),
        *(Asked(REASONERS, name) for name in reasoners_named(settings.reasoner)),
        Asked(SEPARATORS, settings.separator),
    ]
    _check(settings, asked)
    if settings.fallback is Fallback.NEG:
        # Whoever the catalogue knows answers for itself, and takes seconds to import.
        others = {name: named for name, named in rows.items() if not known_terms(name)}
        again = {regenerates(name): named for name, named in others.items()}
        answering = [Asked(GENERATORS, name, named) for name, named in again.items() if name and name not in rows]
        _check(settings, answering)
        asked += answering
    return asked


def _check(settings: RunSettings, asked: Sequence[Asked]) -> None:
    faults = [fault for one in asked if (fault := one.fault()) is not None]
    if len(faults) == 1:
        raise faults[0]
    if faults:
        what = "; ".join(f"{fault.where} {fault.what}" for fault in faults)
        raise BadSettingsError(what, remedy=faults[0].remedy)
    for one in asked:
        one.refuse(settings.licence, known_terms(one.name))


def check_weights(settings: RunSettings, step: Step, models: Sequence[ModelIdentity]) -> None:
    """Raise DeepSoundError (BAD_SETTINGS) where the run's policy forbids the weights that a step uses.

    Each step asks this on the worker, since the name of a third party's backend says nothing of its weights.
    """
    if settings.licence is not LicencePolicy.COMMERCIAL:
        return
    used = [*models]
    if step is Step.PLAN:
        # Its observers are those of the generator and of the reasoner.
        used += [*choose_generator(settings, 1).models, *load_reasoner(settings.reasoner).models]
        used += choose_generator(settings, 2).models if settings.fallback is Fallback.NEG else ()
    remedy = "submit the video again with other backends, or with --licence any for other uses"
    refuse_restricted(map(terms_of, used), where=f"--licence commercial: {step}", remedy=remedy)
