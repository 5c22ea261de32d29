"""MMAudio's networks: sizes, precision, seeds, batches, lengths, and files that are not what they should be."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.generation.mmaudio.bigvgan import (
    BIGVGAN_16K,
    BigVGAN,
    BigVGANConfig,
    fold_weight_norm,
    load_bigvgan,
)
from deepsound.generation.mmaudio.clip import load_clip
from deepsound.generation.mmaudio.flow import EXACT, Conditions, FlowNetwork, load_flow
from deepsound.generation.mmaudio.flow_matching import GUIDANCE, draw_noise, euler, guided_flow, unnormalise
from deepsound.generation.mmaudio.preprocessing import clip_frames, sync_frames
from deepsound.generation.mmaudio.sequence_config import AUDIO_16K, AUDIO_44K, VARIANTS, FlowConfig, lengths_for
from deepsound.generation.mmaudio.vae import VAE, VAE_16K, VAEConfig, load_vae
from deepsound.models.checkpoints import load_strict, move_to_device
from tests.mmaudio_checkpoints import small_sizes, write_small_files
from tests.parity.filling import fill, floating_shapes, rand

TINY = FlowConfig(8, 64, 4, 2, 2, clip_dim=24, sync_dim=16, text_dim=20)
TINY_V2 = FlowConfig(8, 64, 4, 2, 2, second=True, clip_dim=24, sync_dim=16, text_dim=20)
LATENTS, FRAMES, TOKENS = 25, 6, 16


def tiny_flow(config: FlowConfig = TINY) -> FlowNetwork:
    with torch.device("meta"):
        network = FlowNetwork(config)
    load_strict(network, fill(floating_shapes(network.state_dict())).tensors, network="tiny", where=Path("tiny"))
    return network.eval()


def seen(network: FlowNetwork, names: list[str], latents: int = LATENTS) -> tuple[Conditions, Conditions]:
    """Conditions of several requests, and what guidance moves them away from."""

    def features(kind: str, length: int, width: int) -> Tensor:
        made = [rand(f"{name}/{kind}", (length, width)) for name in names]
        return torch.stack(made).to(network.sync_pos_emb.dtype)

    config = network.config
    clip, text = features("clip", FRAMES, config.clip_dim), features("text", 77, config.text_dim)
    wanted = network.conditions(clip, features("sync", TOKENS, config.sync_dim), text, latents)
    empty = network.empty_text(len(names))
    return wanted, network.empty_conditions(FRAMES, TOKENS, empty, latents)


def sampled(network: FlowNetwork, names: list[str], seeds: list[int], guidance: float = GUIDANCE) -> Tensor:
    with torch.inference_mode():
        conditions, empty = seen(network, names)
        noise = draw_noise(seeds, LATENTS, network.config.latent_dim)
        both = conditions.joined(empty) if guidance > 1 else conditions
        return euler(noise, lambda x, now: guided_flow(network, x, now, both, guidance), steps=5)


def relative(ours: Tensor, expected: Tensor) -> float:
    return float((ours.float() - expected).norm() / expected.norm())


@pytest.mark.parametrize(
    ("variant", "entries", "numbers"),
    [
        ("small-16k", 251, 157_283_644),
        ("small-44k", 251, 157_409_144),
        ("medium-44k", 251, 621_805_944),
        ("large-44k", 416, 1_030_002_168),
        ("large-44k-v2", 416, 1_030_575_608),
    ],
)
def test_each_variant_has_the_published_number_of_weights(variant: str, entries: int, numbers: int) -> None:
    with torch.device("meta"):
        state = FlowNetwork(VARIANTS[variant].flow).state_dict()
    assert len(state) == entries
    assert sum(value.numel() for value in state.values()) == numbers


@pytest.mark.parametrize(
    ("seconds", "latents", "frames", "tokens"), [(8.0, 345, 64, 192), (10.0, 431, 80, 240), (0.3, 13, 2, 8)]
)
def test_lengths_follow_the_published_rates(seconds: float, latents: int, frames: int, tokens: int) -> None:
    lengths = lengths_for(seconds, AUDIO_44K)
    assert (lengths.latent, lengths.clip, lengths.sync) == (latents, frames, tokens)
    assert lengths_for(8.0, AUDIO_16K).latent == 250


def test_a_seed_gives_the_same_noise_in_any_batch() -> None:
    together = draw_noise([3, 4, 5], LATENTS, 8)
    assert torch.equal(draw_noise([4], LATENTS, 8)[0], together[1])
    assert together.dtype == torch.float32
    assert not torch.equal(together[0], together[1])


def test_the_same_request_twice_gives_the_same_samples() -> None:
    network = tiny_flow()
    assert torch.equal(sampled(network, ["a"], [1]), sampled(network, ["a"], [1]))


def test_a_request_does_not_depend_on_its_batch() -> None:
    network = tiny_flow()
    alone, together = sampled(network, ["b"], [2]), sampled(network, ["a", "b", "c"], [1, 2, 3])
    assert relative(together[1:2], alone) <= 1e-4


def test_without_guidance_only_the_wanted_flow_counts() -> None:
    network = tiny_flow()
    weak = sampled(network, ["a"], [1], guidance=1.0)
    just_above = sampled(network, ["a"], [1], guidance=1.0001)
    assert relative(just_above, weak) < 1e-2
    assert relative(sampled(network, ["a"], [1]), weak) > 1e-2


def test_any_length_of_window_goes() -> None:
    network = tiny_flow()
    with torch.inference_mode():
        for latents in (1, 13, 400):
            conditions, _ = seen(network, ["a"], latents)
            flow = network(draw_noise([1], latents, 8), torch.tensor([0.3]), conditions)
            assert flow.shape == (1, latents, 8)
            assert flow.isfinite().all()


@pytest.mark.parametrize("config", [TINY, TINY_V2])
def test_bfloat16_stays_near_float32(config: FlowConfig) -> None:
    exact = sampled(tiny_flow(config), ["a"], [1])
    half = move_to_device(tiny_flow(config), torch.device("cpu"), torch.bfloat16, exact=EXACT)
    assert relative(sampled(half, ["a"], [1]), exact) < 0.1


@pytest.mark.parametrize("config", [TINY, TINY_V2])
def test_times_are_embedded_in_float32_beside_bfloat16(config: FlowConfig) -> None:
    exact, half = (
        tiny_flow(config),
        move_to_device(tiny_flow(config), torch.device("cpu"), torch.bfloat16, exact=EXACT),
    )
    times = torch.linspace(0, 1, 26)
    with torch.inference_mode():
        assert torch.equal(half.t_embed(times), exact.t_embed(times))
    kinds = {name: parameter.dtype for name, parameter in half.named_parameters()}
    assert {name.split(".")[0] for name, kind in kinds.items() if kind == torch.float32} == {"t_embed"}


def test_networks_work_where_their_weights_are() -> None:
    """Anything they made on the CPU in between would not meet what is on a device without storage."""
    with torch.device("meta"):
        network, decoder = FlowNetwork(TINY), VAE(VAEConfig(80, 16, TINY.latent_dim))
        vocoder = BigVGAN(BigVGANConfig(80, (4, 4), second=True, width=64))
        clip, sync = torch.ones(2, 6, TINY.clip_dim), torch.ones(2, 16, TINY.sync_dim)
        with torch.inference_mode():
            wanted = network.conditions(clip, sync, network.empty_text(2), LATENTS)
            empty = network.empty_conditions(6, 16, network.empty_text(2), LATENTS)
    with torch.inference_mode():
        noise, both = draw_noise([1, 2], LATENTS, TINY.latent_dim).to("meta"), wanted.joined(empty)
        latents = euler(noise, lambda x, now: guided_flow(network, x, now, both, GUIDANCE))
        latents = unnormalise(network, latents)
        sound = torch.cat(list(vocoder.in_pieces(decoder.decode(latents.transpose(1, 2)))), dim=-1)
    assert sound.device.type == "meta"
    assert sound.shape == (2, 1, 2 * LATENTS * vocoder.hop)


def test_vocoding_in_pieces_gives_the_same_sound() -> None:
    torch.manual_seed(0)
    generator = BigVGAN(BigVGANConfig(80, (4, 4, 2, 2, 2, 2), second=False, width=64)).eval()
    mel = rand("voice/mel", (1, 80, 800))
    with torch.inference_mode():
        whole, pieces = generator(mel), torch.cat(list(generator.in_pieces(mel)), dim=-1)
    assert whole.shape == pieces.shape == (1, 1, 800 * 256)
    assert (whole - pieces).abs().max() < 1e-6


@pytest.mark.parametrize(
    "names", [("weight_g", "weight_v"), ("parametrizations.weight.original0", "parametrizations.weight.original1")]
)
def test_weight_norm_is_folded_under_either_name(names: tuple[str, str]) -> None:
    direction = rand("v", (4, 3, 5))
    folded = fold_weight_norm({f"conv.{names[0]}": torch.full((4, 1, 1), 2.0), f"conv.{names[1]}": direction})
    assert folded.keys() == {"conv.weight"}
    assert torch.allclose(folded["conv.weight"].flatten(1).norm(dim=1), torch.full((4,), 2.0))


@pytest.mark.parametrize(("height", "width"), [(17, 400), (400, 17), (224, 224), (97, 131)])
def test_pictures_of_any_shape_are_prepared(height: int, width: int) -> None:
    frames = (rand("picture", (2, 3, height, width)) * 40 + 128).clamp(0, 255).byte()
    assert clip_frames(frames).shape == (2, 3, 384, 384)
    assert sync_frames(frames).shape == (2, 3, 224, 224)


def test_a_published_flow_file_loads_without_its_tables(tmp_path: Path) -> None:
    network = tiny_flow()
    path = tmp_path / "tiny.pth"
    torch.save(network.state_dict() | {"latent_rot": torch.ones(3), "t_embed.freqs": torch.ones(3)}, path)
    loaded = load_flow(path, TINY)
    assert loaded.state_dict().keys() == network.state_dict().keys()
    assert torch.equal(sampled(loaded, ["a"], [1]), sampled(network, ["a"], [1]))


def test_a_file_of_another_variant_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mmaudio_tiny.pth"
    torch.save(tiny_flow().state_dict(), path)
    with pytest.raises(DeepSoundError, match=r"mmaudio_tiny\.pth.*clip_input_proj\.2\.w1\.weight") as raised:
        load_flow(path, TINY_V2)
    assert raised.value.code is ErrorCode.MODEL_FAILED


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "v1-16.pth"
    torch.save({"data_mean": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DeepSoundError, match=r"v1-16\.pth.*truncated"):
        load_vae(path, VAE_16K)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeepSoundError, match=r"best_netG\.pt") as raised:
        load_bigvgan(tmp_path / "best_netG.pt", BIGVGAN_16K)
    assert raised.value.code is ErrorCode.MODEL_MISSING


def test_the_sampled_position_moves_with_the_flow() -> None:
    """Along a constant flow, Euler steps arrive exactly at start + flow."""
    network = tiny_flow()
    with torch.no_grad():
        for name, value in network.named_parameters():
            if name.startswith("final_layer"):
                value.zero_()
        network.final_layer.conv.bias.fill_(0.5)
    noise = draw_noise([1], LATENTS, 8)
    assert torch.allclose(sampled(network, ["a"], [1]), noise + 0.5, atol=1e-5)
    assert math.isclose(float(noise.std()), 1.0, abs_tol=0.2)


TINY_VOCODER = BigVGANConfig(80, (16, 16), second=False, width=64)


@pytest.mark.parametrize(
    ("half", "value"),
    [
        ("weight_g", torch.ones(3)),
        ("weight_g", torch.tensor(1.0)),
        ("weight_v", torch.ones(2, dtype=torch.int8)),
        ("weight_v", torch.tensor(1.0)),
    ],
)
def test_halves_of_a_weight_that_do_not_fit_are_named(tmp_path: Path, half: str, value: Tensor) -> None:
    path = write_small_files(tmp_path).vocoder.path
    state = torch.load(path)["generator"] | {f"conv_pre.{half}": value}
    torch.save({"generator": state}, path)
    with pytest.raises(DeepSoundError, match=r"best_netG\.pt.*missing: conv_pre\.weight") as raised:
        load_bigvgan(path, TINY_VOCODER)
    assert raised.value.code is ErrorCode.MODEL_FAILED


def test_whole_numbers_in_the_decoder_are_named(tmp_path: Path) -> None:
    path, config = write_small_files(tmp_path).vae.path, small_sizes().vae
    state = torch.load(path)
    name = next(name for name, value in state.items() if name.startswith("decoder.") and value.ndim > 1)
    torch.save(state | {name: state[name].to(torch.int8)}, path)
    with pytest.raises(DeepSoundError, match=rf"v1-16\.pth.*of another type: {name} int8 for float32"):
        load_vae(path, config)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("transformer.resblocks.0.attn.in_proj_bias", torch.ones(2), r"of another shape: .*in_proj_bias \[2\]"),
        ("visual.proj", torch.ones(3), r"of another shape: visual\.proj \[3\] for \[16, 24\]"),
        ("visual.conv1.weight", None, r"missing: visual\.conv1\.weight"),
        ("visual.transformer.resblocks.0.attn.in_proj_weight", None, r"missing: visual.*0\.attn\.in_proj_weight"),
        ("visual.blocks.0.norm1.weight", torch.ones(1), r"not part of it: visual\.blocks\.0\.norm1\.weight"),
    ],
)
def test_a_wrong_clip_file_is_told_in_the_names_that_stand_in_it(
    tmp_path: Path, name: str, value: Tensor | None, told: str
) -> None:
    path = write_small_files(tmp_path).clip.path
    state = torch.load(path) | {name: value}
    torch.save({name: value for name, value in state.items() if value is not None}, path)
    with pytest.raises(DeepSoundError, match=told) as raised:
        load_clip(path, small_sizes().clip)
    assert str(path) in str(raised.value)
    assert "self_attn" not in str(raised.value)
