"""
A stand-in for ``gh``: the calls that the workflows use, on issues and pull requests in a file.

``FAKE_GH`` names the file, which contains {"issues": [{number, title, body, labels, state, comments}], "labels": [],
"pulls": [{number, headRefName, baseRefName, state, isCrossRepository, auto, by}], "calls": [[METHOD, PATH, TOKEN]],
"private": false}.
An unknown call, or a call without ``GH_TOKEN``, ends with an error.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def main(arguments: list[str]) -> int:
    """Run one command."""
    place = Path(os.environ["FAKE_GH"])
    if not os.environ.get("GH_TOKEN"):
        print("gh: set the GH_TOKEN environment variable", file=sys.stderr)
        return 4
    known: dict[str, Any] = json.loads(place.read_text()) if place.exists() else {"issues": [], "labels": []}
    if arguments[:1] == ["api"]:
        if arguments[1:] == ["repos/example/keys", "--jq", ".private"]:
            print(json.dumps(known.get("private", False)))
            return 0
        [_, option, method, path] = arguments
        assert option == "--method"
        known.setdefault("calls", []).append([method, path, os.environ["GH_TOKEN"]])
        place.write_text(json.dumps(known))
        return 0
    parser = argparse.ArgumentParser(prog="gh", allow_abbrev=False)
    group, action = arguments[:2]
    for name in ("--label", "--title", "--body", "--body-file", "--state", "--json", "--jq", "--comment", "--reason"):
        parser.add_argument(name)
    for name in ("--color", "--description", "--limit", "--repo", "--search", "--head", "--base"):
        parser.add_argument(name)
    for name in ("--auto", "--merge"):
        parser.add_argument(name, action="store_true")
    parser.add_argument("--force", action="store_true")
    parser.add_argument("what", nargs="?")
    given = parser.parse_args(arguments[2:])
    body = Path(given.body_file).read_text() if given.body_file not in (None, "-") else given.body
    if given.body_file == "-":
        body = sys.stdin.read()
    issues: list[dict[str, Any]] = known["issues"]
    if (group, action) == ("label", "create"):
        if given.what in known["labels"] and not given.force:
            print("label already exists", file=sys.stderr)
            return 1
        known["labels"] = sorted({*known["labels"], given.what})
    elif (group, action) == ("issue", "list"):
        wanted = (given.state or "open").upper()
        found = [
            {name: issue[name] for name in ("number", "title", "state", "body")}
            for issue in reversed(issues)
            if wanted in ("ALL", issue["state"]) and (given.label is None or given.label in issue["labels"])
        ]
        _print_chosen(found, given)
    elif (group, action) == ("issue", "create"):
        if given.label and given.label not in known["labels"]:
            print(f"could not add label: {given.label!r} not found", file=sys.stderr)
            return 1
        number = len(issues) + 1
        labels = [given.label] if given.label else []
        issues.append(
            {"number": number, "title": given.title, "body": body, "labels": labels, "state": "OPEN", "comments": []}
        )
        print(f"https://github.com/example/keys/issues/{number}")
    elif (group, action) in (("issue", "comment"), ("issue", "close"), ("issue", "reopen"), ("issue", "edit")):
        issue = next(issue for issue in issues if str(issue["number"]) == given.what)
        text = body if action == "comment" else given.comment
        if action == "edit":
            issue["body"] = body or issue["body"]
        elif text:
            issue["comments"].append(text)
        if action in ("close", "reopen"):
            issue["state"] = "CLOSED" if action == "close" else "OPEN"
    elif group == "pr":
        _pull_request(action, given, known.setdefault("pulls", []))
    else:
        print(f"gh: {group} {action} is not known here", file=sys.stderr)
        return 2
    place.write_text(json.dumps(known))
    return 0


def _print_chosen(found: list[dict[str, Any]], given: argparse.Namespace) -> None:
    chosen = [{name: entry[name] for name in given.json.split(",")} for entry in found]
    text = json.dumps(chosen)
    if given.jq:
        text = subprocess.run(["jq", "-r", given.jq], input=text, capture_output=True, text=True, check=True).stdout
    print(text.strip())


def _pull_request(action: str, given: argparse.Namespace, pulls: list[dict[str, Any]]) -> None:
    # gh looks for a branch by its name alone, in forks too.
    found = [
        pull
        for pull in reversed(pulls)
        if (pull["headRefName"], pull["baseRefName"], pull["state"]) == (given.head, given.base, "OPEN")
    ]
    if action == "list":
        _print_chosen(found, given)
    elif action == "create":
        assert not [pull for pull in found if not pull["isCrossRepository"]], "a pull request for branch already exists"
        names = {"headRefName": given.head, "baseRefName": given.base, "state": "OPEN", "isCrossRepository": False}
        pulls.append({"number": len(pulls) + 100, **names, "auto": False, "by": os.environ["GH_TOKEN"]})
    else:
        assert (action, given.merge, given.auto) == ("merge", True, True)
        [pull] = [pull for pull in pulls if str(pull["number"]) == given.what]
        pull["auto"] = True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
