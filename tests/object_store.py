"""A server on the loopback address that speaks S3, with one bucket; moto's, which keeps everything in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

# Moto takes any; pyarrow does not go without.
KEYS = {"AWS_ACCESS_KEY_ID": "made-up-key", "AWS_SECRET_ACCESS_KEY": "made-up-secret-of-a-test"}
_BUCKET = "trials"


@contextmanager
def object_store() -> Iterator[str]:
    """Yields an address for `--storage-path`, whose place is empty."""
    from moto.server import ThreadedMotoServer
    from pyarrow.fs import S3FileSystem

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        maker = S3FileSystem(
            access_key=KEYS["AWS_ACCESS_KEY_ID"],
            secret_key=KEYS["AWS_SECRET_ACCESS_KEY"],
            endpoint_override=f"{host}:{port}",
            scheme="http",
            allow_bucket_creation=True,
        )
        maker.create_dir(_BUCKET)
        yield f"s3://{_BUCKET}/medalign?endpoint_override={host}:{port}&scheme=http"
    finally:
        server.stop()
