"""Serves the token app from an origin of its own, as a host of static files does."""

import mimetypes
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from string import Template

from example_project import environment as env

FOLDERS = {
    "/static/site/": env.PROJECT_DIR / "static" / "site",
    "/static/authmodes/client/": env.PROJECT_DIR.parent / "authmodes/static/authmodes/client",
}
# The app, and a page that tries to use a login of the site from here: its form goes there.
PAGES = {"/": ("spa.html", "'none'"), "/elsewhere/": ("elsewhere.html", env.SITE_URL)}


def policy(form_action: str) -> str:
    """Return the Content Security Policy of a page."""
    return "; ".join(
        [
            "default-src 'self'",
            f"connect-src 'self' {env.SITE_URL}",
            f"frame-src {form_action}",
            "object-src 'none'",
            "base-uri 'none'",
            f"form-action {form_action}",
            "frame-ancestors 'none'",
        ]
    )


def page(name: str) -> bytes:
    """Return a page: the part that the site shows as well, and where the site is."""
    shell = Template(Path(__file__).with_name(name).read_text(encoding="utf-8"))
    app = in_english(env.PROJECT_DIR / "templates/site/token_app.html")
    return shell.substitute(app=app, site_url=env.SITE_URL).encode()


def in_english(template: Path) -> str:
    """Return a template with its texts as they are written; it has no tags but those of texts."""
    text = template.read_text(encoding="utf-8")
    return re.sub(r'{% translate "([^"]*)" %}|{% .*? %}', lambda tag: tag[1] or "", text)


def files() -> dict[str, Path]:
    """Return the files by URL path; nothing else can be asked for."""
    return {
        prefix + path.relative_to(folder).as_posix(): path
        for prefix, folder in FOLDERS.items()
        for path in folder.rglob("*")
        if path.is_file()
    }


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path in PAGES:
            name, form_action = PAGES[path]
            self.answer("text/html; charset=utf-8", page(name), form_action)
        elif found := files().get(path):
            content_type = mimetypes.guess_type(path)[0] or "application/octet-stream"
            self.answer(content_type, found.read_bytes())
        else:
            self.send_error(404)

    def answer(self, content_type: str, body: bytes, form_action: str = "'none'") -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", policy(form_action))
        # An edit of a file shows at the next reload.
        self.send_header("Cache-Control", "no-cache")
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    # Some systems have a different type for scripts, and browsers refuse such modules.
    mimetypes.add_type("text/javascript", ".js")
    ThreadingHTTPServer(("127.0.0.1", env.SPA_PORT), Handler).serve_forever()
