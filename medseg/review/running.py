"""The server of a review: on this machine's loopback address, until it is interrupted."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from medseg.errors import BadConfig
from medseg.review.desk import Desk
from medseg.review.remembered import Named, remember_places
from medseg.review.security import new_token
from medseg.review.server import build_app
from medseg.review.survey import surveyed
from medseg.review.table import NAME as TABLE
from medseg.review.table import write_review
from medseg.writers.guard import guard_outputs

HOST = "127.0.0.1"


def serve(desk: Desk, named: Named, *, port: int, tell: Callable[[str, int], None]) -> None:
    """Answer until Ctrl-C; then ``review.csv`` is up to date.

    Args:
        desk: the state behind the pages.
        named: what the user named, for ``medseg cohort add``.
        port: of the loopback address; 0 takes a free one.
        tell: called with the address to open and the port, once it answers.

    Raises:
        BadConfig: the port is taken.
        BadOutput: the output folder cannot be written.
    """
    token = new_token()
    output = desk.review.output
    with (
        guard_outputs(
            output,
            "review",
            claims=[TABLE],
            patterns=[TABLE, "corrected/*"],
            inputs=[item.mask for item in desk.items()],
            overwrite=None,
        ),
        _bound(port) as listener,
    ):
        own_port = listener.getsockname()[1]
        app = build_app(desk, token=token, cookie=f"medseg-review-{own_port}")
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=2,
        )
        remember_places(desk.store, named)
        try:
            with surveyed(desk):
                tell(f"http://{HOST}:{own_port}/?token={token}", own_port)
                uvicorn.Server(config).run(sockets=[listener])
        finally:
            write_review(output, desk.store)
            desk.store.close()


@contextmanager
def _bound(port: int) -> Iterator[socket.socket]:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen()  # a browser that is quicker than the server waits
    except OSError as error:
        raise BadConfig(
            f"port {port} cannot be used",
            found=error.strerror,
            remedy="Give another --port; 0 takes a free one.",
        ) from None
    with listener:
        yield listener
