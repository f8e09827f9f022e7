"""Fails if a link in rendered pages leads nowhere: `links.py FOLDER [FOLDER…]`.

Each folder is looked through for `*.html`. A relative link must lead to a file that is there, inside of the same folder,
and an anchor to an element that the page has. Links to other sites are not looked at: whether a site answers today is no
fact about a commit. One kind of them is: an address of a file of this repository must name a file that it has.
"""

import html.parser
import pathlib
import sys
import urllib.parse

REPOSITORY = "https://github.com/retryproof/retryproof/blob/main/"
HERE = pathlib.Path(__file__).resolve().parent.parent


class Page(html.parser.HTMLParser):
    """The anchors of a page, and where its links lead."""

    def __init__(self, path):
        super().__init__()
        self.anchors, self.links = set(), []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.anchors.update(value for name in ("id", "name") if (value := attributes.get(name)))
        if tag == "a" and attributes.get("href"):
            self.links.append(attributes["href"])


def complaint(page, link, pages, folder):
    """What is wrong with a link, if anything."""
    if link.startswith(REPOSITORY):
        path = urllib.parse.unquote(link.removeprefix(REPOSITORY).split("#")[0])
        return None if (HERE / path).exists() else "no such file in the repository"
    parts = urllib.parse.urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    target = page if not parts.path else (page.parent / urllib.parse.unquote(parts.path)).resolve()
    if target.is_dir():
        target /= "index.html"
    if not target.is_relative_to(folder) or not target.exists():
        return "no such page"
    anchor = urllib.parse.unquote(parts.fragment)
    # rustdoc's pages of source code have lines as anchors, made by a script.
    if not anchor or target.suffix != ".html" or target.is_relative_to(folder / "src"):
        return None
    if target not in pages:
        pages[target] = Page(target)
    return None if anchor in pages[target].anchors else "no such anchor"


def main(folders):
    count, broken = 0, []
    for folder in folders:
        folder = pathlib.Path(folder).resolve()
        files = [path for path in sorted(folder.rglob("*.html")) if not path.is_relative_to(folder / "src")]
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
