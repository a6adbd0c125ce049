"""Every network can be exported, compiled and written as ONNX, and the results agree."""

from __future__ import annotations

import pytest
import torch

from medseg.networks import NETWORKS
from tests.networks.test_table import SIZE, image, small

pytestmark = pytest.mark.slow

every_network = pytest.mark.parametrize("name", NETWORKS)
every_dims = pytest.mark.parametrize("dims", [2, 3])


@every_network
@every_dims
def test_an_exported_graph_gives_the_same_logits(name, dims):
    network = small(name, dims).eval()
    graph = torch.export.export(network, (image(dims),)).module()
    torch.testing.assert_close(graph(image(dims)), network(image(dims)), atol=1e-5, rtol=1e-4)


@every_network
def test_a_compiled_network_gives_the_same_logits_and_gradients(name):
    network = small(name, 2)
    expected = network(image(2))
    expected.square().mean().backward()
    gradients = [parameter.grad.clone() for parameter in network.parameters()]
    network.zero_grad()
    logits = torch.compile(network)(image(2))
    logits.square().mean().backward()
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-4)
    for parameter, gradient in zip(network.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, atol=1e-5, rtol=1e-3)


@every_network
@every_dims
def test_onnx_gives_the_same_logits(name, dims, tmp_path):
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    network = small(name, dims).eval()
    path = tmp_path / "network.onnx"
    torch.onnx.export(network, (image(dims),), path, dynamo=True, input_names=["image"])
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"image": image(dims).numpy()})
    assert logits.shape == (1, 3, *SIZE[:dims])
    torch.testing.assert_close(torch.from_numpy(logits), network(image(dims)), atol=1e-4, rtol=1e-3)
