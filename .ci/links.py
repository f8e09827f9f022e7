"""Fails if a link in rendered pages leads nowhere: `links.py FOLDER [FOLDER…]`.

Each folder is looked through for `*.html`. A relative link must lead to a file that is there, inside of the same folder,
and an anchor to an element that the page has. Links to other sites are skipped, because whether a site answers today is not
a fact about a commit. The exception is an address of a file of this repository, which must name a file that it has.
Skipped, too, are links without the name of a file: rustdoc copies them from the documents of other crates.
"""

import html.parser
import pathlib
import sys
import urllib.parse

REPOSITORY = "https://github.com/retryproof/retryproof/blob/main/"
HERE = pathlib.Path(__file__).resolve().parent.parent


class Page(html.parser.HTMLParser):
    """The anchors of a page, and the targets of its links."""

    def __init__(self, path):
        super().__init__()
        self.anchors, self.links, self.redirect = set(), [], None
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.anchors.update(value for name in ("id", "name") if (value := attributes.get(name)))
        if tag == "meta" and attributes.get("http-equiv") == "refresh":
            self.redirect = attributes["content"].partition("URL=")[2]
        if tag == "a" and attributes.get("href"):
            self.links.append(attributes["href"])


def complaint(page, link, pages, folder):
    """The problem of a link, or nothing."""
    if link.startswith(REPOSITORY):
        path = urllib.parse.unquote(link.removeprefix(REPOSITORY).split("#")[0])
        return None if (HERE / path).exists() else "no such file in the repository"
    parts = urllib.parse.urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    target = page if not parts.path else (page.parent / urllib.parse.unquote(parts.path)).resolve()
    if target.is_dir():
        target /= "index.html"
    elif not target.suffix:
        return None
    if not target.is_relative_to(folder) or not target.exists():
        return "no such page"
    anchor = parts.fragment
    # rustdoc's pages of source code have lines as anchors, made by a script.
    if not anchor or target.suffix != ".html" or target.is_relative_to(folder / "src"):
        return None
    if target not in pages:
        pages[target] = Page(target)
    # rustdoc redirects from the module that defines a name to the one that exports it.
    if pages[target].redirect:
        return complaint(target, f"{pages[target].redirect.split('#')[0]}#{anchor}", pages, folder)
    # rustdoc writes some anchors encoded.
    is_there = {anchor, urllib.parse.unquote(anchor)} & pages[target].anchors
    return None if is_there else "no such anchor"


def main(folders):
    count, broken = 0, []
    for folder in folders:
        folder = pathlib.Path(folder).resolve()
        # rustdoc's pages of sources are made of what has been checked before; those two are for all crates at once.
        of_rustdoc = (folder / "help.html", folder / "settings.html")
        files = [path for path in sorted(folder.rglob("*.html"))
                 if not path.is_relative_to(folder / "src") and path not in of_rustdoc]
        assert files, f"{folder} has no pages"
        pages = {path: Page(path) for path in files}
        for path in files:
            for link in pages[path].links:
                count += 1
                if wrong := complaint(path, link, pages, folder):
                    broken.append(f"{path.relative_to(folder)}: {link}: {wrong}")
    print(f"{count} links")
    assert count > 0, "pages without a link"
    for line in sorted(set(broken)):
        print(line, file=sys.stderr)
    sys.exit(bool(broken))


if len(sys.argv) < 2:
    sys.exit(__doc__)
main(sys.argv[1:])
