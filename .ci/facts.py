"""Facts about the workspace, from `cargo metadata`, one a line: what .ci/run loops over.

facts.py members                 name
facts.py packages                name of each that is published
facts.py features MEMBER         each feature of it but `default`
facts.py examples                member, example, the features it needs (or -)
facts.py benches                 member, bench, the features it needs (or -)
facts.py msrv                    fails if a member declares none, or a dependency in its build needs a newer one
facts.py readme                  the commands that README.md tells a newcomer to try
"""

import json
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


def number(version):
    return tuple(int(part) for part in (version.split(".") + ["0", "0"])[:3])


def built_from(name):
    """What a member is built from, with all its features. `cargo metadata` lists what weak features could bring in, too."""
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
    case ["features", name]:
        package = next(p for p in members(metadata("--no-deps")) if p["name"] == name)
        print("\n".join(feature for feature in package["features"] if feature != "default"))
    case ["examples"]:
        print("\n".join(" ".join(example) for example in targets("example")))
    case ["benches"]:
        print("\n".join(" ".join(bench) for bench in targets("bench")))
    case ["msrv"]:
        msrv()
    case ["readme"]:
        readme()
    case _:
        sys.exit(__doc__)
