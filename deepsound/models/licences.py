"""What the licences of weights allow, and refusing those that do not allow what the results are for."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

from deepsound.errors import BadSettingsError
from deepsound.models.catalogue import KNOWN_MODELS, KnownModel
from deepsound.models.identity import ModelIdentity
from deepsound.models.local import permission, with_needs

# SPDX names of licences that allow commercial use of what they cover, as weights are published under them.
_OPEN = frozenset(
    {"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC-BY-4.0", "CC-BY-SA-4.0", "CC0-1.0", "ISC", "MIT"}
    | {"MIT-0", "MPL-2.0", "Unlicense", "Zlib"}
)


class LicencePolicy(StrEnum):
    """Which weights a run may use: `commercial` are those whose licence states that commercial use is allowed."""

    ANY = "any"
    COMMERCIAL = "commercial"


@dataclass(frozen=True, slots=True)
class Terms:
    """A set of weights and its licence; `commercial_use` is None where no licence says."""

    name: str
    licence: str
    commercial_use: bool | None


def terms_of(weights: KnownModel | ModelIdentity) -> Terms:
    """The terms of known weights from the catalogue, those of a third party's from the name of their licence."""
    if isinstance(weights, KnownModel):
        return Terms(weights.name, weights.licence, weights.commercial_use)
    known = (model for model in KNOWN_MODELS if (model.name, model.licence) == (weights.name, weights.licence))
    found = next(known, None)
    allowed = _commercial_use(weights.licence) if found is None else found.commercial_use
    return Terms(weights.name, weights.licence, allowed)


def known_terms(backend: str) -> tuple[Terms, ...]:
    """Terms of all weights of a backend that the catalogue knows by its name, less what follows
    a colon; none for any other backend.

    Nothing is loaded, so it can be asked before the weights are there.
    """
    return tuple(terms_of(model) for model in with_needs(backend.partition(":")[0]))


def refuse_restricted(terms: Iterable[Terms], *, where: str, remedy: str) -> None:
    """Raise DeepSoundError (BAD_SETTINGS) for the first terms that do not state that commercial use is allowed."""
    for term in terms:
        if not term.commercial_use:
            says = "forbids" if term.commercial_use is False else "does not state"
            what = f"the licence of {term.name} ({term.licence}) {says} commercial use"
            raise BadSettingsError(what, where=where, remedy=remedy)


def restrictions(terms: Iterable[Terms]) -> Iterator[str]:
    """One line for each licence that restricts use, naming the weights under it."""
    restricted = sorted({(t.licence, t.name, t.commercial_use) for t in terms if not t.commercial_use}, key=str)
    for licence, group in groupby(restricted, key=lambda term: term[0]):
        _, names, uses = zip(*group, strict=True)
        yield f"licence {licence}: {permission(uses[0])} ({', '.join(names)})"


def _commercial_use(licence: str) -> bool | None:
    if any(choice.strip("() ") in _OPEN for choice in licence.split(" OR ")):
        return True
    return False if "-NC" in licence else None
