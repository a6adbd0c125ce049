"""A compiled network gives the same mask, and one that cannot be compiled still gives one."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from medseg.config import InferConfig
from medseg.errors import BadConfig
from medseg.inference import Engine, Segmenter, segment
from medseg.networks import build_network
from medseg.networks.unet import UNet
from tests.inference.models import TinyModel, scan
from tests.transforms.grids import NATIVE

INFER = InferConfig(window=(12, 10, 14), batch=4)


def test_what_cannot_be_compiled_runs_as_it_is_with_a_warning(monkeypatch):
    def broken(network, **options):
        def call(windows):
            raise RuntimeError("InvalidCxxCompiler: no working C++ compiler\nand a long trace")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    volume = scan(NATIVE["axial LPS"])
    result = Segmenter(TinyModel(infer=INFER), engine=Engine.COMPILED)(volume)
    assert np.array_equal(
        result.labelmap.data, segment(TinyModel(infer=INFER), volume).labelmap.data
    )
    assert result.warnings == (
        "torch.compile failed, the network runs as it is: "
        "InvalidCxxCompiler: no working C++ compiler",
    )


def test_shortage_of_memory_is_no_failure_to_compile(monkeypatch):
    def short(network, **options):
        def call(windows):
            if len(windows) > 1:
                raise torch.OutOfMemoryError("out of memory")
            return network(windows)

        return call

    monkeypatch.setattr(torch, "compile", short)
    volume = scan(NATIVE["axial LPS"])
    result = Segmenter(TinyModel(infer=INFER), engine=Engine.COMPILED)(volume)
    assert [w.split(":")[0] for w in result.warnings] == ["memory ran out", "memory ran out"]


def test_openvino_gives_the_same_mask(monkeypatch):
    pytest.importorskip("openvino", reason="openvino is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    volume = scan(NATIVE["axial LPS"], seed=2)
    model = UNetModel(infer=InferConfig(window=(16, 16, 16), batch=4))
    plain = segment(model, volume).labelmap.data
    asked = []
    monkeypatch.setattr(UNet, "forward", counting(UNet.forward, asked))
    fast = Segmenter(model, engine=Engine.OPENVINO)
    assert (fast(volume).labelmap.data == plain).mean() > 0.9999
    before = len(asked)
    fast(volume)
    assert len(asked) == before, "torch ran again: the conversion was not kept"


def counting(forward, calls):
    def count(self, image):
        calls.append(tuple(image.shape))
        return forward(self, image)

    return count


@dataclass(frozen=True, eq=False)
class UNetModel(TinyModel):
    """A model of one real network."""

    def networks(self, device="cpu"):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = build_network(
                "unet", dims=3, in_channels=1, out_channels=4, options={"features": [4, 8]}
            )
            network.heads[0].weight.data *= 20
        return [network.eval().to(device)]


def test_openvino_is_refused_where_it_cannot_run(monkeypatch):
    monkeypatch.setattr("medseg.extras.find_spec", lambda name: None)
    with pytest.raises(BadConfig, match=r"no openvino.*pip install 'medseg\[openvino\]'"):
        Segmenter(TinyModel(infer=INFER), engine=Engine.OPENVINO)
    monkeypatch.setattr("medseg.extras.find_spec", lambda name: object())
    with pytest.raises(BadConfig, match="cpu, float64"):
        Segmenter(TinyModel(infer=INFER), engine=Engine.OPENVINO, precision="float64")


@pytest.mark.slow
def test_a_compiled_network_gives_the_same_mask():
    volume = scan(NATIVE["axial LPS"], seed=2)
    plain = segment(TinyModel(infer=INFER), volume).labelmap.data
    fast = Segmenter(TinyModel(infer=INFER), engine=Engine.COMPILED)(volume)
    assert fast.warnings == ()
    assert (fast.labelmap.data == plain).mean() > 0.9999
