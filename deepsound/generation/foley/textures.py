"""The beds: endless textures of unit level that breathe slowly and follow how much moves in the picture.

No texture has resonances that move at the speed of syllables, so that none is taken for a voice.
"""

from collections.abc import Callable

import numpy as np

from deepsound.generation.foley.filters import Filter, Sound, band_pass, pink_band
from deepsound.generation.foley.grains import Grains, bubble, crackle, drop, leaf
from deepsound.generation.foley.prompt_words import ROOM_TONE
from deepsound.generation.foley.synthesis import Drift, amplitude, noise, random_stream

Texture = Callable[[Sound], Sound]
"""Takes the activity of the coming block, (BLOCK,) in 0..1, and returns the sound of it, (2, BLOCK)."""

_WIND_BANDS = ((45, 140), (130, 320), (300, 700), (650, 1700))  # Hz
_WIND_LEVELS = (1.2, 0.96, 0.64, 0.4)
_WIND_POWERS = (0.6, 1.1, 1.8, 2.6)  # a gust lifts the higher bands more


def _layer(seed: int, name: str, colour: Filter, width: float) -> Callable[[], Sound]:
    """Filtered noise in two channels, block after block."""
    rng = random_stream(seed, name)
    return lambda: colour.next(noise(rng, width))


def _drift(seed: int, name: str, period: float) -> Callable[[], Sound]:
    return Drift(random_stream(seed, name), period).next


def room_tone(seed: int) -> Texture:
    """The floor under everything: soft pink noise, never quite still."""
    air = _layer(seed, "room air", pink_band(60, 1100), 0.6)
    hiss = _layer(seed, "room hiss", band_pass(1500, 7000), 0.9)
    drift = _drift(seed, "room drift", 3.1)

    def block(_activity: Sound) -> Sound:
        return amplitude(1.5 * drift() - 0.75) * (0.97 * air() + 0.24 * hiss())

    return block


def wind(seed: int) -> Texture:
    """Bands of noise under gusts that differ a little from side to side."""
    layers = [_layer(seed, f"wind {low}", pink_band(low, high), 0.8) for low, high in _WIND_BANDS]
    left, right, both = (_drift(seed, f"gust {side}", 2.6) for side in ("left", "right", "both"))
    flutter = _drift(seed, "flutter", 0.9)

    def block(activity: Sound) -> Sound:
        common = 0.52 * both() + 0.12 * flutter() + 0.16 * activity
        strength = 0.2 + 0.8 * (common + 0.2 * np.stack([left(), right()]))
        parts = zip(layers, _WIND_LEVELS, _WIND_POWERS, strict=True)
        return np.sum([level * strength**power * layer() for layer, level, power in parts], axis=0)

    return block


def water(seed: int) -> Texture:
    """A lapping wash with bubbles in it."""
    deep = _layer(seed, "water deep", pink_band(90, 500), 0.5)
    wash = _layer(seed, "water wash", pink_band(500, 4500), 0.9)
    drift = _drift(seed, "swell", 1.9)
    bubbles = Grains(random_stream(seed, "bubbles"), 60.0, bubble)

    def block(activity: Sound) -> Sound:
        swell = 0.25 + 0.75 * drift() ** 1.5 * (0.6 + 0.4 * activity)
        rising = bubbles.next(0.35 + 0.65 * activity)
        return 0.45 * deep() + 0.8 * swell * wash() + 4.5 * (0.4 + 0.6 * swell) * rising

    return block


def rain(seed: int) -> Texture:
    """A hiss of far drops and the patter of near ones."""
    far = _layer(seed, "rain far", band_pass(1800, 9000), 1.0)
    roof = _layer(seed, "rain roof", pink_band(250, 1200), 0.8)
    drift = _drift(seed, "shower", 4.3)
    drops = Grains(random_stream(seed, "drops"), 130.0, drop)

    def block(_activity: Sound) -> Sound:
        shower = 0.7 + 0.3 * drift()
        return shower * (0.7 * far() + 0.4 * roof() + 1.6 * drops.next(shower))

    return block


def foliage(seed: int) -> Texture:
    """Leaves and grass: a thin rustle that thickens with what moves."""
    air = _layer(seed, "foliage air", band_pass(2500, 8000), 1.0)
    breeze = _drift(seed, "breeze", 1.7)
    leaves = Grains(random_stream(seed, "leaves"), 55.0, leaf)

    def block(activity: Sound) -> Sound:
        density = np.clip(0.15 + 0.5 * breeze() + 0.6 * activity, 0.0, 1.0)
        return density * (0.45 * air() + 1.8 * leaves.next(density))

    return block


def traffic(seed: int) -> Texture:
    """A far road: engines below, tyres that swell and pass."""
    engines = _layer(seed, "engines", pink_band(35, 170), 0.5)
    tyres = _layer(seed, "tyres", pink_band(350, 1800), 0.4)
    passing = _drift(seed, "passing", 2.8)
    side = _drift(seed, "side", 3.7)

    def block(_activity: Sound) -> Sound:
        near = 0.3 + 0.7 * passing() ** 2
        angle = side() * np.pi / 2
        sides = np.sqrt(2.0) * np.stack([np.cos(angle), np.sin(angle)])
        return (0.75 + 0.25 * near) * engines() + 0.8 * near * sides * tyres()

    return block


def rumble(seed: int) -> Texture:
    """Something heavy moving: low noise that grows with the motion."""
    low = _layer(seed, "rumble low", pink_band(25, 90), 0.3)
    mid = _layer(seed, "rumble mid", pink_band(90, 320), 0.6)
    drift = _drift(seed, "rumble drift", 1.3)

    def block(activity: Sound) -> Sound:
        strength = 0.55 + 0.2 * drift() + 0.25 * activity
        return strength * (0.9 * low() + 0.5 * (0.5 + 0.5 * activity) * mid())

    return block


def fire(seed: int) -> Texture:
    """A low roar and crackling."""
    roar = _layer(seed, "roar", pink_band(70, 600), 0.6)
    drift = _drift(seed, "flicker", 0.8)
    crackles = Grains(random_stream(seed, "crackles"), 22.0, crackle)

    def block(_activity: Sound) -> Sound:
        flicker = drift()
        return (0.55 + 0.3 * flicker) * roar() + 2.5 * crackles.next(0.3 + 0.7 * flicker)

    return block


def movement(seed: int) -> Texture:
    """The air and cloth of whatever moves: silent where nothing does, brighter the faster it goes."""
    slow = _layer(seed, "movement slow", pink_band(150, 700), 0.3)
    fast = _layer(seed, "movement fast", pink_band(700, 4500), 0.5)

    def block(activity: Sound) -> Sound:
        return activity**1.2 * (0.8 * slow() + 0.6 * activity * fast())

    return block


TEXTURES: dict[str, Callable[[int], Texture]] = {
    ROOM_TONE: room_tone,
    "wind": wind,
    "water": water,
    "rain": rain,
    "foliage": foliage,
    "traffic": traffic,
    "rumble": rumble,
    "fire": fire,
    "movement": movement,
}
"""By bed, what makes it from a seed."""
