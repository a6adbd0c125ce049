"""Does a compiled network give the same mask, and one that cannot be compiled still a mask?"""

import numpy as np
import pytest
import torch

from medseg.config import InferConfig
from medseg.inference import Engine, Segmenter, segment
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


@pytest.mark.slow
def test_a_compiled_network_gives_the_same_mask():
    volume = scan(NATIVE["axial LPS"], seed=2)
    plain = segment(TinyModel(infer=INFER), volume).labelmap.data
    fast = Segmenter(TinyModel(infer=INFER), engine=Engine.COMPILED)(volume)
    assert fast.warnings == ()
    assert (fast.labelmap.data == plain).mean() > 0.9999
