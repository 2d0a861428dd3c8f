"""Where trials on other machines leave their files: a shared folder or an object store, by pyarrow's file systems.

An object store cannot rename, so a folder is whole there when its manifest is, which is written last.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medalign.config.secrets import redacted
from medalign.errors import StorageError

_MANIFEST = "MANIFEST.files.json"


class Storage:
    """A place by its address, below which everything is named by relative paths.

    Args:
        uri: An absolute folder or an address such as `s3://BUCKET/PREFIX`; a store that only speaks S3 is named by
            `s3://BUCKET/PREFIX?endpoint_override=HOST:PORT&scheme=http`. Keys come from the environment
            or from where AWS's own tools look for them, on every machine for itself.

    Raises:
        StorageError: From every method: the place cannot be used.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def below(self, name: str) -> Storage:
        """The place of that name in it."""
        base, mark, options = self.uri.partition("?")
        return Storage(f"{base.rstrip('/')}/{name}{mark}{options}")

    def check(self) -> None:
        """Writes, reads and removes a small file."""
        name, content = f".medalign-{secrets.token_hex(8)}", secrets.token_bytes(16)
        self.write(name, content)
        with self._used("read back what was written to"):
            held = self.read(name)
            self._system.delete_file(self._path(name))
        if held != content:
            raise StorageError(f"storage_path: {redacted(self.uri)} gives back other bytes than were written")

    def write(self, name: str, content: bytes) -> None:
        with self._used("write to"):
            path = self._path(name)
            self._system.create_dir(path.rpartition("/")[0], recursive=True)
            with self._system.open_output_stream(path) as stream:
                stream.write(content)

    def read(self, name: str) -> bytes | None:
        """The content of a file; None if there is none."""
        from pyarrow.fs import FileType

        with self._used("read from"):
            path = self._path(name)
            if self._system.get_file_info(path).type == FileType.NotFound:
                return None
            with self._system.open_input_stream(path) as stream:
                return bytes(stream.read())

    def names(self, folder: str) -> list[str]:
        """Names of what lies directly in a folder, sorted; empty if it is not there."""
        from pyarrow.fs import FileSelector

        with self._used("list"):
            found = self._system.get_file_info(FileSelector(self._path(folder), allow_not_found=True))
            return sorted(info.base_name for info in found)

    def put_folder(self, local: Path, name: str) -> None:
        """Copies a folder there in place of any of that name; it counts once it is whole."""
        self.remove(name)
        files = [file for file in sorted(local.rglob("*")) if file.is_file()]
        for file in files:
            self.write(f"{name}/{file.relative_to(local).as_posix()}", file.read_bytes())
        manifest = {file.relative_to(local).as_posix(): file.stat().st_size for file in files}
        self.write(f"{name}/{_MANIFEST}", json.dumps(manifest).encode())

    def fetch_folder(self, name: str, local: Path) -> bool:
        """Copies a folder from there to a local place, whole or not at all.

        Returns:
            Whether there was one.

        Raises:
            StorageError: A file that its manifest names is missing or cut.
        """
        raw = self.read(f"{name}/{_MANIFEST}")
        if raw is None:
            return False
        local.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{local.name}-", dir=local.parent))
        try:
            for file, size in json.loads(raw).items():
                content = self.read(f"{name}/{file}")
                if content is None or len(content) != size:
                    raise StorageError(f"storage_path: {redacted(self.uri)}/{name}/{file} is missing or cut")
                (unfinished / file).parent.mkdir(parents=True, exist_ok=True)
                (unfinished / file).write_bytes(content)
            shutil.rmtree(local, ignore_errors=True)
            os.replace(unfinished, local)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        return True

    def remove(self, name: str) -> None:
        """Removes a folder with all that is in it; nothing happens if it is not there."""
        # The manifest first: a folder that is half removed must not count.
        for action, path in (("delete_file", f"{name}/{_MANIFEST}"), ("delete_dir", name)):
            with self._used("remove from"), contextlib.suppress(FileNotFoundError):
                getattr(self._system, action)(self._path(path))

    @property
    def _system(self) -> Any:
        return _opened(self.uri)[0]

    def _path(self, name: str) -> str:
        return f"{_opened(self.uri)[1].rstrip('/')}/{name}"

    @contextlib.contextmanager
    def _used(self, what: str) -> Iterator[None]:
        import pyarrow

        try:
            yield
        except (OSError, pyarrow.ArrowException) as error:
            first_line = next(iter(str(error).splitlines()), type(error).__name__)
            raise StorageError(
                redacted(
                    f"storage_path: cannot {what} {self.uri} ({first_line[:240]}); name a folder that all machines "
                    "share, or an object store with its keys in the environment of every machine"
                )
            ) from error


@functools.lru_cache(maxsize=8)
def _opened(uri: str) -> tuple[Any, str]:
    """pyarrow's file system of an address, and the path in it."""
    import pyarrow
    from pyarrow.fs import FileSystem, LocalFileSystem

    if "://" not in uri:
        return LocalFileSystem(), str(Path(uri).absolute())
    try:
        system, path = FileSystem.from_uri(uri)
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        first_line = next(iter(str(error).splitlines()), type(error).__name__)
        raise StorageError(
            redacted(
                f"storage_path: '{uri}' is no place that can be used ({first_line}); use a folder or s3://..."
            )
        ) from error
    return system, str(path)
