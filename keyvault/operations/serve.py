"""Serve a preview of the site on this machine; it follows the vault and the templates of the working tree."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from keyvault.operations.context import Context
from keyvault.operations.site import TEMPLATES, files_below, site_files


class Preview:
    """The current site: rendered again when the vault's commit or a template of the working tree changes."""

    def __init__(
        self, context: Context, *, on_render: Callable[[str], None], on_error: Callable[[Exception], None]
    ) -> None:
        """
        Args:
            context: The vault.
            on_render: Called with the commit after each rendering.
            on_error: Called if a rendering fails; the previous site is kept.
        """
        self._context, self._on_render, self._on_error = context, on_render, on_error
        self._files: Mapping[str, bytes] = {}
        self._rendered: object = None
        self._checked_at = 0.0

    def __call__(self) -> Mapping[str, bytes]:
        """Return the files of the site."""
        from keyvault.errors import KeyVaultError

        if time.monotonic() - self._checked_at < 0.5:
            return self._files
        self._checked_at = time.monotonic()
        try:
            commit = self._context.repository.head()
            source = commit, self._templates()
            if source != self._rendered:
                self._rendered = source  # an error is reported once, not at each request
                _, files = site_files(self._context, commit, worktree=True)
                self._files = dict(files)
                self._on_render(commit)
        except (KeyVaultError, OSError) as error:  # an editor may be replacing a template right now
            self._on_error(error)
        return self._files

    def _templates(self) -> object:
        """Return a value that changes when a template of the working tree does."""
        folder = self._context.repository.folder / TEMPLATES
        return [(str(path), path.stat().st_mtime_ns) for path in files_below(folder)]


def serve(
    context: Context,
    *,
    port: int,
    on_ready: Callable[[str], None],
    on_render: Callable[[str], None],
    on_error: Callable[[Exception], None],
) -> None:
    """
    Serve a preview on 127.0.0.1 until interrupted.

    Args:
        context: The vault.
        port: The port to listen on; 0 takes a free port.
        on_ready: Called with the address.
        on_render: Called with the commit after each rendering.
        on_error: Called if a rendering fails.
    """
    from keyvault.publish.preview import make_server
    from keyvault.site.headers import headers

    policy = context.state().policy
    preview = Preview(context, on_render=on_render, on_error=on_error)
    base = urlsplit(policy.site.url).path
    server = make_server(preview, lambda path: headers(path, max_age=policy.site.max_age), port=port, base=base)
    preview()
    # Ctrl-C interrupts the main thread, which only sleeps, and no thread in the middle of its work. It does not join:
    # an interrupted join would mark the running thread as stopped.
    loop = threading.Thread(target=server.serve_forever, daemon=True)
    try:
        loop.start()
        on_ready(f"http://127.0.0.1:{server.server_address[1]}{base}/")
        while loop.is_alive():
            time.sleep(0.2)
    finally:
        if loop.is_alive():
            server.shutdown()
        server.server_close()
