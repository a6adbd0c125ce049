"""A network's figure shows its own sizes and channels, and is written by the verb."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from medseg.cli import run
from medseg.networks import NETWORKS, build_network
from medseg.networks.outline import outline
from medseg.reports.network_figure import draw_network


def texts(svg: bytes) -> list[str]:
    return [each.text or "" for each in ElementTree.fromstring(svg).iter() if "text" in each.tag]


def arrows(svg: bytes, kind: str) -> int:
    return len(re.findall(rf'marker-end="url\(#{kind}\)"', svg.decode())) - 1  # the legend's


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_map_is_there_with_its_size(name, dims):
    features = (2, 3, 4, 5, 6) if name.startswith("fcn") else (2, 3, 4)
    network = build_network(
        name, dims=dims, in_channels=1, out_channels=3, options={"features": features}
    )
    shape = (1, 1, *(32,) * dims)
    said = texts(draw_network(network, shape, title="a < b"))
    power = "²" if dims == 2 else "³"
    for each in outline(network, shape):
        assert f"{each.size[0]}{power}" in said and str(each.channels) in said
    assert "a < b" in said


def test_the_original_is_drawn_with_its_tile_and_four_copies():
    network = build_network("unet_original", dims=2, in_channels=1, out_channels=2)
    svg = draw_network(network, (1, 1, 388, 388), title="U-Net")
    assert {"572²", "388²", "28²", "1024"} <= set(texts(svg))
    assert any("388² is mirrored" in text for text in texts(svg))
    assert (arrows(svg, "copy"), arrows(svg, "pooling"), arrows(svg, "upsampling")) == (4, 4, 4)


@pytest.mark.parametrize(("skips", "copies"), [("concat", 2), ("sum", 2), ("none", -1)])
def test_skips_are_drawn_as_they_are(skips, copies):
    options = {"features": (2, 3, 4), "skips": skips}
    network = build_network("unet", dims=2, in_channels=1, out_channels=2, options=options)
    assert arrows(draw_network(network, (1, 1, 32, 32), title=""), "copy") == copies


@pytest.mark.parametrize(("name", "scores"), [("fcn32s", 1), ("fcn16s", 2), ("fcn8s", 3)])
def test_an_fcn_is_drawn_with_the_levels_it_scores(name, scores):
    network = build_network(name, dims=2, in_channels=1, out_channels=2)
    assert arrows(draw_network(network, (1, 1, 64, 64), title=""), "score") == scores


def test_the_verb_writes_the_figure_and_replaces_nobody_s_file(tmp_path, capsys):
    words = ["networks", "--figure", "unet", "--dims", "2", "--patch", "32"]
    words += ["--option", "features=[2,4]", "--output"]
    assert run(*words, tmp_path / "unet.svg") == 0
    assert "32²" in texts((tmp_path / "unet.svg").read_bytes())
    foreign = tmp_path / "mine.svg"
    foreign.write_text("mine")
    assert run(*words, foreign) != 0 and foreign.read_text() == "mine"
    assert run("networks", "--figure", "vgg", "--output", tmp_path / "x.svg") == 2
    assert "fcn8s" in capsys.readouterr().err and not (tmp_path / "x.svg").exists()
