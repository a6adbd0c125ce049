"""The HTTP face of a review: pages, slices as raw bytes, verdicts and edits as JSON.

Clients name cases by their id, which is looked up; no part of an address ever becomes a path.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from medseg.config import parse_json
from medseg.errors import BadConfig, MedsegError
from medseg.review.desk import UNBLINDING, Desk
from medseg.review.niivue import niivue_script
from medseg.review.security import Guard
from medseg.review.smaller import preview, small_nifti
from medseg.review.uncertainty import MAPS

#: What a browser may ask for, with its type.
PAGES = {
    "": ("index.html", "text/html; charset=utf-8"),
    "review.css": ("review.css", "text/css; charset=utf-8"),
    **{
        name: (name, "text/javascript; charset=utf-8")
        for name in ("main.js", "api.js", "list.js", "viewer.js", "drawing.js", "solid.js")
    },
}

#: Layers of one byte or two a voxel.
LAYERS = ("scan", "mask", "prediction", "truth", *MAPS)
#: Bytes of a request that changes something.
LARGEST_ORDER = 8_000_000

Handler = Callable[[Request], Awaitable[Response]]


def build_app(desk: Desk, *, token: str, cookie: str = "medseg-review") -> Starlette:
    """The application of one review.

    Args:
        desk: the state behind it.
        token: the secret that a browser must bring.
        cookie: name of the cookie that keeps it.
    """
    pages = Pages(desk)
    routes = [
        *(Route(f"/{name}", _page(*page)) for name, page in PAGES.items()),
        Route("/niivue.js", _niivue),
        Route("/api/list", pages.overview),
        Route("/api/raters", pages.raters),
        Route("/api/cases/{case}", pages.describe),
        Route("/api/cases/{case}/preview", pages.preview),
        Route("/api/cases/{case}/small/{layer}.nii", pages.small),
        Route("/api/cases/{case}/{layer}/{plane}/{position:int}", pages.slice),
        Route("/api/cases/{case}/verdict", pages.judge, methods=["POST"]),
        Route("/api/cases/{case}/edit", pages.edit, methods=["POST"]),
        Route("/api/cases/{case}/undo", pages.undo, methods=["POST"]),
        Route("/api/cases/{case}/save", pages.save, methods=["POST"]),
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(Guard, token=token, name=cookie)],
        exception_handlers={MedsegError: _refused},
    )


class Pages:
    """Answers to requests; the work is done in threads."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def overview(self, request: Request) -> Response:
        """The list."""
        return JSONResponse(await run_in_threadpool(self._desk.overview))

    async def raters(self, request: Request) -> Response:
        """Agreement between raters."""
        return JSONResponse(await run_in_threadpool(self._desk.agreement))

    async def describe(self, request: Request) -> Response:
        """Shape, spacing, layers and state of a case."""
        case = self._case(request)
        return JSONResponse(await run_in_threadpool(self._desk.describe, case))

    async def preview(self, request: Request) -> Response:
        """The scan, coarse: int16 in the order R, A, S, its shape in a header."""
        opened = await run_in_threadpool(self._desk.opened, self._case(request))
        if opened.shades is None:
            raise BadConfig("this case has no scan")
        small = await run_in_threadpool(preview, opened.shades.data, opened.geometry)
        shape = ",".join(map(str, small.shape))
        return _bytes(small, {"X-Shape": shape})

    async def small(self, request: Request) -> Response:
        """A cropped, coarse NIfTI for the view in 3D."""
        opened = await run_in_threadpool(self._desk.opened, self._case(request))
        layer = self._layer(request)
        content = await run_in_threadpool(small_nifti, opened, layer)
        return Response(content, media_type="application/octet-stream")

    async def slice(self, request: Request) -> Response:
        """One plane of a layer: rows from top to bottom, little-endian."""
        case, layer = self._case(request), self._layer(request)
        plane, position = request.path_params["plane"], request.path_params["position"]
        pixels = await run_in_threadpool(self._desk.pixels, case, layer, plane, position)
        return _bytes(pixels, {})

    async def judge(self, request: Request) -> Response:
        """A verdict."""
        order = await _order(request)
        verdict, note = _text(order, "verdict"), _text(order, "note")
        case = self._case(request)
        return JSONResponse(await run_in_threadpool(self._desk.judge, case, verdict, note))

    async def edit(self, request: Request) -> Response:
        """A change with a tool."""
        order = await _order(request)
        case = self._case(request)
        return JSONResponse(await run_in_threadpool(self._desk.edit, case, order))

    async def undo(self, request: Request) -> Response:
        """The last change taken back."""
        await _order(request)
        case = self._case(request)
        return JSONResponse(await run_in_threadpool(self._desk.undo, case))

    async def save(self, request: Request) -> Response:
        """The corrected mask written."""
        await _order(request)
        case = self._case(request)
        return JSONResponse(await run_in_threadpool(self._desk.save, case))

    def _case(self, request: Request) -> str:
        case = str(request.path_params["case"])
        if self._desk.item(case) is None:
            raise BadConfig("no such case")
        return case

    def _layer(self, request: Request) -> str:
        layer = str(request.path_params["layer"])
        if layer not in LAYERS or (self._desk.review.blind and layer in UNBLINDING):
            raise BadConfig("no such layer")
        return layer


def _page(name: str, kind: str) -> Handler:
    content = files("medseg.review").joinpath("static", name).read_bytes()

    async def page(request: Request) -> Response:
        return Response(content, headers={"Content-Type": kind})

    return page


async def _niivue(request: Request) -> Response:
    path: Path | None = niivue_script()
    if path is None:
        return Response("NiiVue is not installed", 404)
    return FileResponse(path, media_type="text/javascript")


async def _order(request: Request) -> dict[str, Any]:
    """The JSON object of a request.

    Raises:
        BadConfig: it is none, or too large.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if kind != "application/json":
        raise BadConfig("not JSON", expected="Content-Type: application/json")
    content = bytearray()
    try:
        async for part in request.stream():
            content += part
            if len(content) > LARGEST_ORDER:
                raise BadConfig("the request is too large", expected=f"{LARGEST_ORDER} bytes")
    except ClientDisconnect:
        raise BadConfig("the request was cut off") from None
    try:
        order = parse_json(content.decode() or "{}")
    except ValueError:
        raise BadConfig("not JSON", expected="one object in UTF-8") from None
    if not isinstance(order, dict):
        raise BadConfig("not a JSON object")
    return order


def _text(order: dict[str, Any], key: str) -> str:
    """A text of an order; empty where it is absent.

    Raises:
        BadConfig: it is no text, or holds half a letter, which no file can keep.
    """
    text = order.get(key, "")
    try:
        if isinstance(text, str):
            text.encode()
            return text
    except UnicodeEncodeError:
        pass
    raise BadConfig(f"the {key} is no text", found=repr(text)[:60])


async def _refused(request: Request, error: Exception) -> Response:
    """A foreseen refusal, in the user's words."""
    status = 404 if isinstance(error, BadConfig) and error.problem.startswith("no such") else 400
    text = str(error.about(None)) if isinstance(error, MedsegError) else "refused"
    return JSONResponse({"error": text}, status)


def _bytes(array: np.ndarray[Any, Any], headers: dict[str, str]) -> Response:
    ordered = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return Response(ordered.tobytes(), media_type="application/octet-stream", headers=headers)
