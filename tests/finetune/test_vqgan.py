"""Training the VQGAN: it learns, it resumes, its command writes what the pipeline loads."""

from __future__ import annotations

import functools
import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from finetune import training
from finetune import vqgan as command
from finetune.data.bank import STYLES, Crops, PictureBank
from finetune.data.pages import PageSet, read_pages
from finetune.data.scenes import SceneSet
from finetune.losses import reconstruction_loss
from finetune.perceptual import LPIPS, CLIPDistance
from finetune.sharpen import adaptive_weight, sharpen
from finetune.training import TrainStep, report
from finetune.vqgan import train
from pipelines.errors import InvalidInput
from pipelines.painter import GRID, SIZE
from pipelines.vqgan_clip import VQGANCLIPPipeline
from pipelines.vqgan_clip.vqgan import LARGE_CHANNELS, VQGAN, enlarged
from pipelines.weights import save_model
from tests.tiny import CPU, FOX, QUICK, VQGAN_CONFIG, clip, vqgan
from tests.tiny_pictures import folder, picture


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> SceneSet:
    return SceneSet(tmp_path_factory.mktemp("scenes") / "train", 12, workers=1)


@pytest.fixture(scope="module")
def bank(scenes: SceneSet) -> PictureBank:
    return PictureBank(scenes, None, CPU)


def begin(bank: PictureBank, runs: Path, steps: int, **changed: Any) -> Iterator[TrainStep | VQGAN]:
    options: dict[str, Any] = {
        "config": VQGAN_CONFIG, "batch": 4, "side": 32, "unquantised": 0.2, "save_every": 3,
        "report_every": 1,
    }  # fmt: skip
    return train(steps, bank, runs, CPU, **(options | changed))


def cut(bank: PictureBank, seed: int, count: int, side: int) -> Crops:
    return bank.crops(torch.Generator().manual_seed(seed), count, side)


def test_crops_lie_on_the_grid_and_show_clip_art(scenes: SceneSet, bank: PictureBank) -> None:
    pixels, _, weights, styles = cut(bank, 1, 60, 64)
    assert pixels.shape == (60, 3, 64, 64)
    assert weights.shape == (60, 1, 64, 64)
    assert pixels.min() >= -1
    assert pixels.max() <= 1
    assert weights.min() == 1  # background
    assert weights.max() == 3  # clip art
    shows = (weights.flatten(1).amax(1) > 1).float().mean()
    assert shows > 0.6  # two of three are drawn around a piece of clip art
    found = ((pixels[:6] + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    looks = ("storybook", *STYLES)
    # cut at multiples of GRID
    for crop, weight, style in zip(found, weights[:6, 0], styles[:6].tolist(), strict=True):
        spots = [
            (n, y, x)
            for n in range(len(scenes))
            for y in range(0, SIZE - 63, GRID)
            for x in range(0, SIZE - 63, GRID)
            if (crop == scenes.pictures[n, y : y + 64, x : x + 64]).all()
        ]
        cells = [
            scenes.labels[n, y // GRID : y // GRID + 4, x // GRID : x // GRID + 4] >= 0
            for n, y, x in spots
        ]
        assert any(((weight[::GRID, ::GRID] == 3).numpy() == c).all() for c in cells)
        assert looks[style] in {scenes.records[n].style for n, _, _ in spots}


def test_crops_of_whole_pages_and_the_same_for_the_same_seed(bank: PictureBank) -> None:
    a, b, c = (cut(bank, seed, 2, SIZE).pixels for seed in (1, 1, 2))
    assert a.shape == (2, 3, SIZE, SIZE)
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_real_pages_join(scenes: SceneSet, tmp_path: Path) -> None:
    Image.new("RGB", (300, 200), (200, 10, 10)).save(tmp_path / "red.png")
    (tmp_path / "pages.jsonl").write_text(
        '{"image": "red.png", "text": "It is red.", "split": "train"}\n'
        '{"image": "red.png", "text": "no", "split": "test"}\n'
        '{"image": "red.png", "text": "no", "gray": true, "split": "train"}\n'
        '{"image": "gone.png", "text": "no", "split": "train"}\n'
    )
    pages = PageSet(list(read_pages(tmp_path, "train")))
    assert [p.text for p in pages.pages] == ["It is red."]
    pixels, _, weights, styles = cut(PictureBank(scenes, pages, CPU), 1, 20, 64)
    red = (pixels - torch.tensor([200, 10, 10])[:, None, None] / 127.5 + 1).abs().amax((1, 2, 3))
    assert ((red < 0.03).tolist()) == [False] * 17 + [True] * 3
    assert weights[17:].max() == 1
    assert styles[17:].tolist() == [0, 0, 0]


def test_a_folder_without_pages(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"pages\.jsonl"):
        list(read_pages(tmp_path, "train"))
    with pytest.raises(InvalidInput, match="no usable"):
        PageSet([])


def test_reconstruction_loss() -> None:
    real = torch.zeros(1, 3, 8, 8)
    weight = torch.ones(1, 1, 8, 8)
    assert reconstruction_loss(real, real, weight) == 0
    assert reconstruction_loss(real + 0.5, real, weight) == pytest.approx(0.5)  # no edges moved
    assert reconstruction_loss(real + 0.5, real, 3 * weight) == pytest.approx(1.5)
    edge = real.clone()
    edge[..., 4:] = 0.5  # one column of differences, 8 of 56
    assert reconstruction_loss(edge, real, weight) == pytest.approx(0.25 + 0.5 * 0.5 / 7)


class OneBatch(PictureBank):
    """Always the same crops."""

    def __init__(self, batch: Crops, scale: int = 1) -> None:
        self.batch, self.scale = batch, scale

    def crops(self, generator: torch.Generator, count: int, side: int, step: int = 0) -> Crops:
        return self.batch


def test_one_batch_can_be_overfitted(bank: PictureBank, tmp_path: Path) -> None:
    batch = cut(bank, 1, 4, 32)
    events = begin(OneBatch(batch), tmp_path, 120, unquantised=0.5, peak=0.05, save_every=1000)
    *steps, model = events
    losses = [e.metrics["loss"] for e in steps if isinstance(e, TrainStep)]
    assert len(losses) == 120
    assert min(losses[50:60]) < 0.6 * losses[0]
    assert losses[-1] < 0.5 * losses[0]  # with codes, too
    assert isinstance(model, VQGAN)
    with torch.no_grad():  # what is shipped is the average, with codes
        fake = model.decode(model.quantizer(model.encode(batch.pixels))[0])
    assert reconstruction_loss(fake, batch.pixels, batch.weights) < 0.6 * losses[0]
    used = [e.metrics["codes"] for e in steps if isinstance(e, TrainStep)]
    assert max(used[:60]) == 0
    assert used[-1] > 4


@pytest.mark.parametrize("interrupted", ["by close", "after the checkpoint"])
def test_resuming_equals_no_interruption(
    bank: PictureBank, tmp_path: Path, interrupted: str
) -> None:
    *_, straight = begin(bank, tmp_path / "straight", 5)
    events = begin(bank, tmp_path / "resumed", 5)
    for event in events:
        assert isinstance(event, TrainStep)
        if event.step == (3 if interrupted == "by close" else 4):  # saved at 3
            break
    events.close()  # type: ignore[attr-defined]
    torch.manual_seed(99)  # nothing may hang on the process's own random state
    # Activations that are computed twice are the same ones.
    *told, resumed = begin(bank, tmp_path / "resumed", 5, checkpointing=True)
    assert [e.step for e in told if isinstance(e, TrainStep)] == [4, 5]
    assert isinstance(straight, VQGAN)
    assert isinstance(resumed, VQGAN)
    for key, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


def test_a_run_that_is_asked_to_stop_ends_after_its_step_with_a_checkpoint(
    bank: PictureBank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "_asked", threading.Event())
    events = tmp_path / "events.jsonl"
    monkeypatch.setattr(training, "_followed", events)

    def stopped_at_three() -> Iterator[TrainStep | VQGAN]:
        for event in begin(bank, tmp_path, 100, report_every=1, save_every=50):
            if isinstance(event, TrainStep) and event.step == 3:
                training.ask_to_stop(15, None)
            yield event

    with pytest.raises(KeyboardInterrupt):
        report(stopped_at_three(), "codes")
    told = [json.loads(line) for line in events.read_text().splitlines()]
    assert [(e["event"], e["phase"], e["step"]) for e in told] == [
        ("step", "codes", n) for n in (1, 2, 3, 4)
    ]
    assert torch.load(tmp_path / "vqgan.pt", weights_only=True)["step"] == 4
    with pytest.raises(KeyboardInterrupt):  # asked once more, it ends at once
        training.ask_to_stop(15, None)


@pytest.mark.usefixtures("ticking")
def test_a_run_ends_with_its_minutes(bank: PictureBank, tmp_path: Path) -> None:
    *steps, model = begin(bank, tmp_path, 1_000_000, minutes=0.02)
    assert isinstance(model, VQGAN)
    last = steps[-1]
    assert isinstance(last, TrainStep)
    assert last.step < 10_000
    assert last.metrics["codes"] > 0  # the schedule went by


def test_sharpening_leaves_the_codes_alone(bank: PictureBank, tmp_path: Path) -> None:
    before = vqgan()
    batch = OneBatch(cut(bank, 1, 2, 128))
    *steps, after = sharpen(
        15, before, batch, tmp_path, CPU, side=128, peak=0.01, report_every=1, save_every=100
    )
    assert isinstance(after, VQGAN)
    for part in ("encoder", "quantizer"):
        mine, theirs = getattr(after, part).state_dict(), getattr(before, part).state_dict()
        assert all(torch.equal(mine[k], theirs[k]) for k in mine)
    losses = [e.metrics["loss"] for e in steps if isinstance(e, TrainStep)]
    assert losses[-1] < 0.9 * losses[0]
    hinges = [e.metrics["hinge"] for e in steps if isinstance(e, TrainStep)]
    assert hinges[-1] < hinges[0]  # the discriminator learns, too


def test_sharpening_resumes_to_the_same_decoder(bank: PictureBank, tmp_path: Path) -> None:
    def begin_again(runs: Path, again: bool = False) -> Iterator[TrainStep | VQGAN]:
        return sharpen(4, vqgan(), bank, runs, CPU, batch=1, side=64, adversary_from=0.2,
                       save_every=2, report_every=1, facts={"data": 1},
                       checkpointing=again)  # fmt: skip

    *straight, one = begin_again(tmp_path / "straight")
    events = begin_again(tmp_path / "resumed")
    while next(events).step < 3:  # type: ignore[union-attr]
        pass
    events.close()  # type: ignore[attr-defined]
    torch.manual_seed(99)  # nothing may hang on the process's own random state
    *told, two = begin_again(tmp_path / "resumed", again=True)
    curve = [(e.step, e.metrics) for e in straight if isinstance(e, TrainStep)]
    assert [(e.step, e.metrics) for e in told if isinstance(e, TrainStep)] == curve[2:]
    assert isinstance(one, VQGAN)
    assert isinstance(two, VQGAN)
    for key, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[key]), key


def test_sharpening_on_larger_pages_teaches_to_draw_them(tmp_path: Path) -> None:
    before = vqgan()
    scenes = SceneSet(tmp_path / "large", 2, scale=2, workers=1)
    assert scenes.pictures.shape == (2, 2 * SIZE, 2 * SIZE, 3)
    bank = PictureBank(scenes, None, CPU)
    target, small, weights, _ = cut(bank, 1, 2, SIZE)
    assert target.shape == (2, 3, 2 * SIZE, 2 * SIZE)
    kept = ((small + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    assert all(any((page == own).all() for own in scenes.small) for page in kept)
    shown = torch.nn.functional.max_pool2d(weights, 32)[:, 0] == 3
    found = {tuple(s.flatten().tolist()) for s in shown}
    assert found <= {tuple((scenes.labels[n] >= 0).flatten().tolist()) for n in (0, 1)}
    part = OneBatch(cut(bank, 1, 2, 64), bank.scale)
    *steps, after = sharpen(12, before, part, tmp_path, CPU, side=64, peak=0.01, report_every=1)
    assert isinstance(after, VQGAN)
    assert after.config.large
    losses = [e.metrics["loss"] for e in steps if isinstance(e, TrainStep)]
    assert losses[-1] < 0.95 * losses[0]
    latents = after.encode(torch.zeros(1, 3, 64, 48))
    assert after.decode_large(latents).shape == (1, 3, 128, 96)


def test_codes_that_have_learned_more_are_sharpened_anew(bank: PictureBank, tmp_path: Path) -> None:
    def sharpened(of: VQGAN, facts: dict[str, int]) -> tuple[list[int], VQGAN]:
        *steps, model = sharpen(2, of, bank, tmp_path, CPU, batch=1, side=32, adversary_from=1,
                                report_every=1, facts=facts)  # fmt: skip
        assert isinstance(model, VQGAN)
        return [e.step for e in steps if isinstance(e, TrainStep)], model

    first = vqgan()
    assert sharpened(first, {"data": 1})[0] == [1, 2]
    save_model(first, first.config, tmp_path / "written")
    assert sharpened(VQGAN.from_pretrained(tmp_path / "written", CPU), {"data": 1})[0] == []
    more = vqgan()
    more.quantizer.codebook += 0.1
    with pytest.raises(InvalidInput, match="another run"):
        sharpened(more, {"data": 2})  # no other run's checkpoint is thrown away
    steps, model = sharpened(more, {"data": 1})
    assert steps == [1, 2]
    assert torch.equal(model.quantizer.codebook, more.quantizer.codebook)


def test_the_large_picture_begins_as_the_small_one() -> None:
    model = VQGAN(replace(VQGAN_CONFIG, large_channels=8, finest_channels=8))
    latents = torch.randn(1, model.config.latent_channels, 4, 4)
    with torch.no_grad():
        small, large = model.decode(latents), model.decode_large(latents)
    assert large.shape == (1, 3, 2 * small.shape[2], 2 * small.shape[3])
    assert torch.equal(large, enlarged(small))


def test_enlarging_leaves_the_small_picture_alone(tmp_path: Path) -> None:
    before = vqgan()
    bank = PictureBank(SceneSet(tmp_path / "large", 2, scale=2, workers=1), None, CPU)
    batch = bank.crops(torch.Generator().manual_seed(1), 2, 64)
    crops = OneBatch(batch._replace(styles=torch.tensor([0, 2])), bank.scale)
    *steps, after = sharpen(
        20, before, crops, tmp_path, CPU, side=64, peak=2e-3, large_alone=True, report_every=1
    )  # fmt: skip
    assert isinstance(after, VQGAN)
    mine, theirs = after.state_dict(), before.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    assert {n for n in mine if n not in theirs} == {n for n in mine if ".large_" in n} != set()
    losses = [e.metrics["loss"] for e in steps if isinstance(e, TrainStep)]
    assert losses[-1] < 0.95 * losses[0]
    looks = after.decoder.large_style.weight.abs().amax(1) > 0
    assert looks.tolist() == [n in (0, 2) for n in range(1 + len(STYLES))]
    assert (tmp_path / "enlarge.pt").exists()
    assert not (tmp_path / "sharpen.pt").exists()
    with torch.no_grad():  # sharpened further since: what draws large is learned anew
        before.decoder.out.weight.mul_(2)
    *steps, again = sharpen(1, before, crops, tmp_path, CPU, side=64, large_alone=True)
    assert len(steps) == 1
    assert torch.equal(again.decoder.out.weight, before.decoder.out.weight)  # type: ignore[union-attr]


def test_large_pictures_have_the_look_of_the_style_they_are_told(tmp_path: Path) -> None:
    torch.manual_seed(0)
    size = replace(VQGAN_CONFIG, large_channels=8, finest_channels=8)
    model = VQGAN(replace(size, large_styles=("pencil", "crayon")))
    for name in ("large_style", "large_out"):
        torch.nn.init.normal_(getattr(model.decoder, name).weight)
    save_model(model, model.config, tmp_path)
    model = VQGAN.from_pretrained(tmp_path, CPU)
    latents = torch.randn(1, model.config.latent_channels, 4, 4)
    named = {style: model.finish(latents, style) for style in ("pencil", "crayon", "storybook")}
    assert torch.equal(named["storybook"], model.decode_large(latents))
    assert torch.equal(named["crayon"], model.decode_large(latents, torch.tensor([2])))
    for one, other in combinations(named.values(), 2):
        assert not torch.allclose(one, other, atol=1e-3)
    plain = VQGAN(size)
    assert torch.equal(plain.finish(latents, "pencil"), plain.finish(latents))


def test_a_model_that_drew_large_pictures_in_another_way(tmp_path: Path) -> None:
    model = vqgan()
    model.decoder.large_block = torch.nn.Conv2d(3, 3, 1)
    save_model(model, model.config, tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    del values["large_channels"], values["large_blocks"]
    (tmp_path / "config.json").write_text(json.dumps(values | {"large": True}))
    again = VQGAN.from_pretrained(tmp_path, CPU)
    assert not again.config.large
    picture = torch.zeros(1, 3, 32, 32)
    assert torch.allclose(again.encode(picture), vqgan().encode(picture), atol=1e-2)


def test_the_adversary_has_a_fixed_share_of_the_gradient() -> None:
    weight = torch.ones(4, requires_grad=True)
    reconstruction, adversarial = (2 * weight).sum(), (8 * weight).sum()
    share = adaptive_weight(reconstruction, adversarial, weight)
    assert share.item() == pytest.approx(0.25, rel=1e-3)


def test_the_command_writes_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = functools.partial(train, config=VQGAN_CONFIG, side=32, unquantised=0.4)
    monkeypatch.setattr(command, "train", small)
    out = tmp_path / "weights" / "vqgan"
    arguments = ["--steps", "3", "--batch", "4", "--out", str(out), "--runs", str(tmp_path)]
    arguments += ["--sharpen-steps", "2", "--enlarge-steps", "2", "--scenes", "6"]
    arguments += ["--large-scenes", "3"]
    monkeypatch.setattr(sys, "argv", ["vqgan", *arguments, "--device", "cpu"])
    command.main()
    model = VQGAN.from_pretrained(out, CPU)
    assert model.config == replace(VQGAN_CONFIG, large_channels=LARGE_CHANNELS, large_styles=STYLES)
    assert model.decode(model.encode(torch.zeros(1, 3, 64, 64))).isfinite().all()
    command.main()  # a finished run is not trained again: it writes the same model
    again = VQGAN.from_pretrained(out, CPU)
    for a, b in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


# --- somebody's own pictures -------------------------------------------------------------


def own_command(monkeypatch: pytest.MonkeyPatch, mine: Path, *more: str) -> None:
    """`python -m finetune.vqgan --pictures` at a size that a test can afford."""
    small = functools.partial(train, side=32)
    monkeypatch.setattr(command, "train", small)
    monkeypatch.setattr(command, "EMBEDDED", VQGAN_CONFIG)
    where = {"pictures": mine / "pictures", "out": mine / "models", "runs": mine / "runs"}
    arguments = [f"--{name}={folder}" for name, folder in where.items()]
    arguments += ["--batch=2", "--device=cpu", "--side=128", *more]
    monkeypatch.setattr(sys, "argv", ["vqgan", *arguments])
    command.main()


@pytest.fixture
def unsignalled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands take SIGTERM for themselves; tests leave it as it is."""
    monkeypatch.setattr("finetune.own.signal.signal", lambda *_: None)


@pytest.mark.usefixtures("unsignalled")
def test_the_command_learns_own_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(tmp_path / "pictures", 4)
    own_command(monkeypatch, tmp_path, "--steps", "3", "--sharpen-steps", "1")
    home = tmp_path / "models" / "vqgan"
    model = VQGAN.from_pretrained(home, CPU)
    assert model.config == VQGAN_CONFIG  # pictures of 160 pixels teach no large ones
    told = json.loads((home / "training.json").read_text())
    assert (told["pictures"], told["held out"]) == (3, 1)
    assert told["figures"]["PSNR"] > 3
    assert -1 <= told["figures"]["SSIM"] <= 1
    assert 1 <= told["figures"]["codebook perplexity"] <= 16
    grids = sorted(p.name for p in (tmp_path / "runs" / "samples").iterdir())
    assert grids == ["codes-000003.png", "sharpen-000001.png"]
    with Image.open(tmp_path / "runs" / "samples" / grids[0]) as grid:
        assert grid.size == (128, 256)  # the held-out picture above its reconstruction
    painter = VQGANCLIPPipeline.from_pretrained(str(tmp_path / "models"), device=CPU)
    assert painter.transformer is None  # until there is one, pictures begin from a sketch
    page = painter(FOX, replace(QUICK, start="noise", steps=1, enlarge=False))
    assert page.image().size == (128, 128)


@pytest.mark.usefixtures("unsignalled")
def test_own_large_pictures_are_enlarged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(tmp_path / "pictures", 2)
    alone = ("--phase", "enlarge", "--enlarge-steps", "1")
    with pytest.raises(SystemExit, match="There is nothing to enlarge"):
        own_command(monkeypatch, tmp_path, *alone)
    save_model(vqgan(), VQGAN_CONFIG, tmp_path / "base" / "vqgan")
    alone += ("--base", str(tmp_path / "base"))
    with pytest.raises(SystemExit, match="of 512 pixels a side or more"):
        own_command(monkeypatch, tmp_path, *alone)
    for n in range(2):
        picture(n, 2 * SIZE).save(tmp_path / "pictures" / f"{n:02d}.png")
    own_command(monkeypatch, tmp_path, *alone, "--gradient-checkpointing")
    home = tmp_path / "models" / "vqgan"
    model = VQGAN.from_pretrained(home, CPU)
    assert model.config == replace(VQGAN_CONFIG, large_channels=LARGE_CHANNELS)
    base = VQGAN.from_pretrained(tmp_path / "base" / "vqgan", CPU).state_dict()
    assert all(torch.equal(model.state_dict()[name], base[name]) for name in base)
    told = json.loads((home / "training.json").read_text())
    assert told["figures"]["PSNR"] == told["before"]["PSNR"]
    assert told["figures"]["PSNR of large pictures"] > 3


@pytest.mark.usefixtures("unsignalled")
def test_a_run_on_other_pictures_is_refused_and_a_dry_run_does_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder(tmp_path / "pictures", 3)
    own_command(monkeypatch, tmp_path, "--dry-run")
    told = capsys.readouterr().out
    assert "2 pictures to learn from, 1 held out" in told
    assert "memory: about" in told
    assert not (tmp_path / "runs").exists()
    own_command(monkeypatch, tmp_path, "--steps", "1", "--phase", "codes")
    picture(20).save(tmp_path / "pictures" / "more.png")
    with pytest.raises(SystemExit, match=r"another run \(different: data\)"):
        own_command(monkeypatch, tmp_path, "--steps", "2", "--phase", "codes")
    with pytest.raises(SystemExit, match="Name a folder for your models"):
        own_command(monkeypatch, tmp_path, "--out", str(command.OUT))
    with pytest.raises(SystemExit, match=r"needs about .* of memory"):
        own_command(monkeypatch, tmp_path, "--batch", "10000000")
    with pytest.raises(SystemExit, match=r"does not hold LPIPS"):
        own_command(monkeypatch, tmp_path, "--lpips", str(tmp_path))


def test_a_base_is_where_it_starts(bank: PictureBank, tmp_path: Path) -> None:
    base = vqgan()
    *_, after = begin(bank, tmp_path, 1, base=base, unquantised=0.0, peak=1e-9)
    assert isinstance(after, VQGAN)
    for part in ("encoder", "decoder"):
        mine, theirs = getattr(after, part).state_dict(), getattr(base, part).state_dict()
        assert all(torch.allclose(mine[k], theirs[k], atol=1e-6) for k in mine)
    moved = (after.quantizer.codebook - base.quantizer.codebook).abs().amax(-1)
    assert (moved < 1.0).float().mean() > 0.5  # the codes are those of the base, adapted


def test_the_eyes_distance(tmp_path: Path) -> None:
    a, b = (cut_of(n) for n in (1, 2))
    near = a + 0.02 * torch.randn(a.shape, generator=torch.Generator().manual_seed(1))
    lpips = LPIPS()
    for lin in lpips.lins:  # channels count for something, as in the authors' file
        torch.nn.init.constant_(lin.weight, 0.1)  # type: ignore[arg-type]
    for distance in (CLIPDistance(clip()), lpips):
        with torch.no_grad():
            assert distance(a, a) == 0
            assert 0 < distance(near, a) < distance(b, a)
    network = {f"features.{k}": v for k, v in lpips.features.state_dict().items()}
    torch.save(network | {"classifier.0.weight": torch.zeros(1)}, tmp_path / "vgg16.pth")
    weights = {f"lin{n}.model.1.weight": lin.weight for n, lin in enumerate(lpips.lins)}
    torch.save(weights, tmp_path / "vgg.pth")
    read = LPIPS.from_pretrained(tmp_path, CPU)
    assert list(read.features)[-1] == "28"  # as torchvision numbers VGG16's last convolution
    with torch.no_grad():
        assert read(a, b) == lpips(a, b)


def cut_of(seed: int) -> torch.Tensor:
    pixels = torch.from_numpy(np.array(picture(seed, 32))).permute(2, 0, 1)[None]
    return pixels.float() / 127.5 - 1
