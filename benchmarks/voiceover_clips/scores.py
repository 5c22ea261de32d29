"""How well a reasoner did on labelled clips: precision, recall, F1, span overlap, calibration, time. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from benchmarks.voiceover_clips.recipes import Recipe
from deepsound.cot import Verdict
from deepsound.spans import Span, intersect, merge, total

BINS = 10


@dataclass(frozen=True, slots=True)
class Judged:
    """One clip: its recipe, what the reasoner said, and how long it took to look, listen and say so.

    `overlap` is intersection over union of the spans it called voice-over with those that are; None for a clip
    without. `probability` is None where the reasoner has none.
    """

    recipe: Recipe
    verdict: Verdict
    probability: float | None
    overlap: float | None
    seconds: float
    cpu_seconds: float

    @property
    def is_right(self) -> bool:
        return self.verdict is (Verdict.YES if self.recipe.voice_over else Verdict.NO)


def overlap(found: Sequence[Span], truth: Sequence[Span]) -> float | None:
    """Intersection over union in time; None where there is nothing to find."""
    return total(intersect(found, truth)) / total(merge([*found, *truth])) if truth else None


def measures(judged: Sequence[Judged]) -> dict[str, float | None]:
    """The figures of a set of clips; None where they have no meaning. An undecided clip is no yes."""
    yes = [one for one in judged if one.verdict is Verdict.YES]
    true = [one for one in judged if one.recipe.voice_over]
    hits = sum(one.is_right for one in yes)
    precision, recall = _share(hits, len(yes)), _share(hits, len(true))
    overlaps = [one.overlap for one in judged if one.overlap is not None]
    return {
        "clips": len(judged),
        "right": _share(sum(one.is_right for one in judged), len(judged)),
        "undecided": _share(sum(one.verdict is Verdict.UNDECIDED for one in judged), len(judged)),
        "precision": precision,
        "recall": recall,
        "f1": _share(2 * hits, len(yes) + len(true)),
        "span_iou": fmean(overlaps) if overlaps else None,
        "ece": calibration_error(judged),
        "seconds": median(one.seconds for one in judged),
        "cpu_seconds": median(one.cpu_seconds for one in judged),
    }


def calibration_error(judged: Sequence[Judged]) -> float | None:
    """Expected calibration error: over ten bins of probability, the mean gap between what was said and what is

    (Naeini and others, "Obtaining well calibrated probabilities using Bayesian binning", 2015). None where no
    clip has a probability.
    """
    bins: dict[int, list[tuple[float, bool]]] = {}
    for one in judged:
        if one.probability is not None:
            place = min(int(one.probability * BINS), BINS - 1)
            bins.setdefault(place, []).append((one.probability, one.recipe.voice_over))
    said = sum(map(len, bins.values()))
    gaps = [abs(sum(p for p, _ in held) - sum(label for _, label in held)) for held in bins.values()]
    return sum(gaps) / said if said else None


def by(judged: Sequence[Judged], condition: Callable[[Recipe], str]) -> Mapping[str, dict[str, float | None]]:
    """The figures for each value of a condition, in the order they come up."""
    groups: dict[str, list[Judged]] = {}
    for one in judged:
        groups.setdefault(condition(one.recipe), []).append(one)
    return {name: measures(group) for name, group in groups.items()}


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None
