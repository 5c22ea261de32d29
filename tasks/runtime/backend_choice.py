"""Chooses the backends of an item from its settings. Each backend is loaded once a process."""

from deepsound.backends import load_generator, load_reasoner
from deepsound.generation.protocol import Generator
from deepsound.media.observers import Observer
from deepsound.pipeline import Fallback
from deepsound.reasoning.protocol import Reasoner
from deepsound.reasoning.windowed import with_windows
from tasks.runtime.run_settings import RunSettings


def choose_generator(settings: RunSettings, round_number: int) -> Generator:
    """The generator of a round. Round 2 may need another one that can generate against a negative prompt.

    Raises DeepSoundError where the backend cannot be loaded.
    """
    generator = load_generator(settings.generator)
    if round_number == 1 or generator.regenerates_with is None:
        return generator
    return load_generator(generator.regenerates_with)


def choose_judge(settings: RunSettings) -> Reasoner:
    """The reasoner that judges; window by window as well where the run asks for that. Raises DeepSoundError."""
    reasoner = load_reasoner(settings.reasoner)
    return with_windows(reasoner) if settings.windows else reasoner


def make_observers(settings: RunSettings) -> list[Observer]:
    """New observers for every backend that may read the footage, one of each name. Raises DeepSoundError."""
    observers = [*choose_generator(settings, 1).observers(), *choose_judge(settings).observers()]
    if settings.fallback is Fallback.NEG:
        observers += choose_generator(settings, 2).observers()
    return list({observer.name: observer for observer in observers}.values())
