"""Facts about the workspace, from `cargo metadata`, one per line, for the loops of .ci/run.

facts.py members                 name
facts.py packages                name of each that is published
facts.py published               fails if the manifest of one that is published lacks what its page on the registry shows
facts.py features MEMBER         each feature of it but `default`
facts.py examples                member, example, the features it needs (or -)
facts.py tests                   each test binary of the members but the root
facts.py nightly                 member, test binary, test: those that are ignored as `nightly: …`
facts.py powerset MEMBER         each set of its features
facts.py benches                 member, bench, the features it needs (or -)
facts.py msrv                    fails if a member declares none, or a dependency in its build needs a newer one
facts.py readme                  the commands that README.md tells a newcomer to try
"""

import itertools
import json
import pathlib
import re
import subprocess
import sys


def metadata(*more):
    command = ["cargo", "metadata", "--format-version=1", "--locked", *more]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def members(data):
    return [package for package in data["packages"] if package["id"] in data["workspace_members"]]


def targets(kind):
    for package in members(metadata("--no-deps")):
        for target in package["targets"]:
            if kind in target["kind"]:
                yield package["name"], target["name"], ",".join(target.get("required-features", [])) or "-"


def tests():
    """Member, name and file of each test binary. The names of members differ from those of the root, because they run by name."""
    named = [(package["name"], target) for package in members(metadata("--no-deps"))
             for target in package["targets"] if "test" in target["kind"]]
    both = ({target["name"] for member, target in named if (member == "retryproof") == is_root} for is_root in (True, False))
    assert not (shared := set.intersection(*both)), f"test binaries of the root and of a member: {shared}"
    return [(member, target["name"], pathlib.Path(target["src_path"])) for member, target in named]


def nightly():
    """Member, binary and name of each nightly test. If a binary has a folder, its tests are in that folder."""
    pattern = re.compile(r'#\[ignore = "nightly: [^"]*"\]\n(?:#.*\n)*(?:pub )?(?:async )?fn (\w+)')
    for member, name, path in tests():
        files = sorted(path.parent.rglob("*.rs")) if path.name == "main.rs" else [path]
        for file in files:
            for test in pattern.findall(file.read_text(encoding="utf-8")):
                yield member, name, test


def published():
    """Checks the metadata for the registry and docs.rs, and the versions that members require of each other."""
    ours = members(metadata("--no-deps"))
    names = {package["name"] for package in ours if package["publish"] != []}
    # An attribute expands to hidden items of its crate, so the versions must be equal.
    exact = {("retryproof", "retryproof-macros"), ("crash-points", "crash-points-macros")}
    wrong = []
    for package in ours:
        name = package["name"]
        if name not in names:
            continue
        wrong += [f"{name} has no {key}" for key in ("description", "license", "repository", "homepage", "documentation",
                                                     "readme", "keywords", "categories") if not package[key]]
        if not ((package["metadata"] or {}).get("docs") or {}).get("rs", {}).get("all-features"):
            wrong.append(f"{name} does not tell docs.rs to show all features")
        for dependency in package["dependencies"]:
            if dependency["kind"] == "dev" or "path" not in dependency:
                continue
            version = ("=" if (name, dependency["name"]) in exact else "^") + package["version"]
            if dependency["name"] not in names:
                wrong.append(f"{name} depends on {dependency['name']}, which is not published")
            elif dependency["req"] != version:
                wrong.append(f"{name} asks for {dependency['name']} {dependency['req']}, and not for {version}")
    print(f"{len(names)} packages")
    for line in wrong:
        print(line, file=sys.stderr)
    sys.exit(bool(wrong))


def number(version):
    return tuple(int(part) for part in (version.split(".") + ["0", "0"])[:3])


def built_from(name):
    """The dependencies of a member with all its features. `cargo metadata` would include those of weak features, too."""
    command = ["cargo", "tree", "--locked", "-p", name, "--all-features", "-e", "no-dev", "--target", "all", "--prefix", "none"]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return {tuple(line.split()[:2]) for line in printed.splitlines() if line}


def msrv():
    data = metadata("--all-features")
    needs = {(package["name"], f"v{package['version']}"): package["rust_version"] for package in data["packages"]}
    wrong = []
    for member in members(data):
        ours = member["rust_version"]
        if not ours:
            wrong.append(f"{member['name']} declares no rust-version")
            continue
        built = built_from(member["name"])
        for name, version in sorted(built):
            theirs = needs[name, version]
            if theirs and number(theirs) > number(ours):
                wrong.append(f"{member['name']} supports Rust {ours}, but {name} {version} needs {theirs}")
        print(f"{member['name']}: Rust {ours}, and so do the {len(built) - 1} crates that it is built from")
    for line in wrong:
        print(line, file=sys.stderr)
    sys.exit(bool(wrong))


def readme():
    page = open("README.md", encoding="utf-8").read()
    section = page.split("\n## Try it\n")[1].split("\n## ")[0]
    block = re.search(r"```sh\n(.*?)```", section, re.S).group(1)
    print(block, end="")


match sys.argv[1:]:
    case ["members"]:
        print("\n".join(package["name"] for package in members(metadata("--no-deps"))))
    case ["packages"]:
        published = [package for package in members(metadata("--no-deps")) if package["publish"] != []]
        print("\n".join(package["name"] for package in published))
    case ["published"]:
        published()
    case ["features", name]:
        package = next(p for p in members(metadata("--no-deps")) if p["name"] == name)
        print("\n".join(feature for feature in package["features"] if feature != "default"))
    case ["examples"]:
        print("\n".join(" ".join(example) for example in targets("example")))
    case ["tests"]:
        print("\n".join(sorted({name for member, name, _ in tests() if member != "retryproof"})))
    case ["nightly"]:
        print("\n".join(" ".join(test) for test in nightly()))
    case ["powerset", name]:
        package = next(p for p in members(metadata("--no-deps")) if p["name"] == name)
        features = sorted(feature for feature in package["features"] if feature != "default")
        sets = itertools.chain.from_iterable(itertools.combinations(features, n) for n in range(len(features) + 1))
        print("\n".join(",".join(features) for features in sets))
    case ["benches"]:
        print("\n".join(" ".join(bench) for bench in targets("bench")))
    case ["msrv"]:
        msrv()
    case ["readme"]:
        readme()
    case _:
        sys.exit(__doc__)
