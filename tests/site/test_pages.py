"""The pages of the site, their links and their sizes, for vaults in memory."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

import pytest

from keyvault.core.events import Event
from keyvault.core.keys import Key
from keyvault.core.policy import Policy, SetPolicy, SitePolicy
from keyvault.core.state import VaultState
from keyvault.operations.site import default_templates
from keyvault.site.build import build
from keyvault.site.links import commit_url
from keyvault.site.pages import HISTORY_MAX, LISTED_PER_PAGE, Templates
from tests.core import build as make
from tests.core.build import DAY, HOUR, SITE, T0
from tests.errors import fails

COMMIT = "c" * 40
FORMS = {
    "https://github.com/example/keys.git": f"https://github.com/example/keys/commit/{COMMIT}",
    "https://github.com/example/keys": f"https://github.com/example/keys/commit/{COMMIT}",
    "https://gitlab.com/example/keys": f"https://gitlab.com/example/keys/-/commit/{COMMIT}",
    "https://gitlab.example.com/group/sub/keys": f"https://gitlab.example.com/group/sub/keys/-/commit/{COMMIT}",
    "https://codeberg.org/example/keys": f"https://codeberg.org/example/keys/commit/{COMMIT}",
    "https://git.example.com/keys/": f"https://git.example.com/keys/commit/{COMMIT}",
    "https://git.example.com/?p=keys.git;h={commit}": None,
    "https://git.example.com/keys/{commit}/view": f"https://git.example.com/keys/{COMMIT}/view",
}


def policy(name: str, **more: Any) -> SetPolicy:
    return make.set_policy(name, "EdDSA", **more)


def line(name: str, count: int, *, every: timedelta = DAY) -> list[Key]:
    """Return *count* successive keys of a set: the last is next, and the key before it active."""
    keys = []
    for number in range(count):
        at = T0 + every * number
        events: list[Event] = [make.created(at - every if number else at), make.published(at)]
        if number < count - 1:
            events.append(make.activated(at))
        if number < count - 2:
            gone = at + every
            events += [make.deactivated(gone, gone + HOUR), Event(at=gone + 2 * HOUR, event="withdrawn")]
        keys.append(Key(format=1, set=name, public=make.public_key("EdDSA"), events=tuple(events)))
    return keys


def site(sets: Mapping[str, SetPolicy], keys: list[Key], **more: Any) -> dict[str, bytes]:
    """Return the rendered site of such a vault."""
    whole = Policy(site=SitePolicy(url=SITE, **more), sets=dict(sets))
    state = VaultState(COMMIT, whole, {key.kid: key for key in keys})
    commits = {key.path: [(COMMIT, 0)] * len(key.events) for key in keys}
    return dict(build(state, commits, Templates(default_templates())))


class Links(HTMLParser):
    """The targets of a page's links."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.targets.append(str(dict(attrs)["href"]))


def test_five_hundred_keys_in_one_history_stay_a_light_page() -> None:
    """The history of a set with 500 keys is a page of less than 300 KB that lists every key."""
    keys = line("id-token", 500)
    files = site(
        {"id-token": policy("id-token", cryptoperiod=DAY * 90)}, keys, repo_url="https://github.com/example/keys"
    )

    for path in ("index.html", "sets/id-token/index.html"):
        page = files[path].decode()
        assert len(files[path]) < 300_000
        assert all(f">{key.kid}</code>" in page for key in keys)


def test_three_keys_and_five_hundred_are_drawn_in_few_shapes() -> None:
    """A short history has a tooltip on every bar; a long history is drawn with a path for each phase."""
    few = site({"a": policy("a")}, line("a", 3, every=90 * DAY))["sets/a/index.html"].decode()
    many = site({"a": policy("a")}, line("a", 500))["sets/a/index.html"].decode()
    drawing = many[many.index("<svg") : many.index("</svg>")]

    assert few.count("<rect") >= 4
    assert re.search(r"<rect[^>]*><title>\S{12}… active, 2026-11-23 to 2027-02-21</title>", few)
    assert drawing.count('<path class="bar-') <= 8
    assert len(drawing) < 40_000


def test_the_timeline_says_in_words_what_it_shows() -> None:
    """The text alternative describes every set in words."""
    page = site({"a": policy("a")}, line("a", 3, every=90 * DAY))["sets/a/index.html"].decode()
    words = re.search(r'<desc id="timeline-text">(.*?)</desc>', page)

    assert words is not None
    assert words[1] == "a: 3 keys, active since 2027-02-21, the next key is due on 2027-05-22."


def test_a_longer_history_is_on_the_pages_of_the_sets() -> None:
    """With too many keys, the first page says how many there are and where their history is."""
    sets = {name: policy(name) for name in ("a", "b")}
    keys = [key for name in sets for key in line(name, HISTORY_MAX // 2 + 1)]
    files = site(sets, keys)

    assert f"{len(keys)} keys are too many for this page".encode() in files["index.html"]
    assert keys[0].kid.encode() in files["sets/a/index.html"]
    assert b"table" not in files["index.html"]


@pytest.mark.parametrize("shared", [True, False], ids=["sets", "issuers"])
def test_many_are_listed_page_by_page(shared: bool) -> None:
    """Every set, or issuer, is on exactly one page, and the pages link each other."""
    names = [f"s{number:03}" for number in range(2 * LISTED_PER_PAGE + 1)]
    sets = {name: policy(name, **({} if shared else {"issuer": f"{SITE}/{name}"})) for name in names}
    files = site(sets, [key for name in names for key in line(name, 2)])
    pages = ["index.html", "page/2/index.html", "page/3/index.html"]

    assert [path for path in files if path.startswith("page/")] == pages[1:]
    listed = []
    for page in pages:
        root = "../" * page.count("/")
        targets = Links(files[page]).targets
        listed += [
            name
            for name in names
            if (f"{root}sets/{name}/index.html" if shared else f"{root}{name}/index.html") in targets
        ]
        for number, other in enumerate(pages, 1):
            assert page == other or f"{root}{'' if number == 1 else f'page/{number}/'}index.html" in targets
    assert listed == names


def test_no_link_leads_nowhere() -> None:
    """Every relative link of every page has a file as its target."""
    sets = {"a": policy("a"), "b": policy("b", issuer=f"{SITE}/deep/er"), "c": policy("c", issuer=f"{SITE}/x")}
    gone = [key for key in line("former", 4) if key.state == "withdrawn"]
    files = site(sets, [*(key for name in sets for key in line(name, 4)), *gone])

    for path, page in files.items():
        if path.endswith(".html") and path != "404.html":
            for target in Links(page).targets:
                if "://" not in target and not target.startswith("#"):
                    parts = path.split("/")[:-1]
                    for part in target.split("/"):
                        parts = parts[:-1] if part == ".." else [*parts, part]
                    assert "/".join(parts) in files, (path, target)


def test_a_set_that_is_gone_keeps_its_page() -> None:
    """Its page shows its keys with their history, and the first page links to it."""
    gone = [key for key in line("former", 4) if key.state == "withdrawn"]
    files = site({"a": policy("a")}, [*line("a", 2), *gone])

    assert "sets/former/index.html" in Links(files["index.html"]).targets
    assert all(key.kid.encode() in files["sets/former/index.html"] for key in gone)
    assert b"no longer in use" in files["sets/former/index.html"]


@pytest.mark.parametrize(("repo_url", "expected"), FORMS.items(), ids=range(len(FORMS)))
def test_commits_link_to_the_code_host(repo_url: str, expected: str | None) -> None:
    """The URLs of GitHub, GitLab and Forgejo are known; any other needs {commit}."""
    from keyvault import config
    from keyvault.errors import ConfigError

    text = f'format = 1\n[site]\nurl = "{SITE}"\nrepo_url = "{repo_url}"\n'
    if expected is None:
        with fails("policy-member-invalid", ConfigError) as caught:
            config.read_policy(text.encode())
        assert "repo_url" in caught.value.message
        return
    assert commit_url(config.read_policy(text.encode()).site, COMMIT) == expected


@pytest.mark.parametrize(
    "repo_url", ["http://git.example.com/x", "javascript:alert(1)", "https://u:p@example.com/x", "x"]
)
def test_a_repo_url_that_is_no_plain_https_is_refused(repo_url: str) -> None:
    """A link on a page never runs a script or contains a password."""
    from keyvault import config
    from keyvault.errors import ConfigError

    with fails("policy-member-invalid", ConfigError) as caught:
        config.read_policy(f'format = 1\n[site]\nurl = "{SITE}"\nrepo_url = "{repo_url}"\n'.encode())
    assert "repo_url" in caught.value.message


def test_without_a_repo_url_commits_are_plain_text() -> None:
    """Without a repo_url, the page has no links to commits."""
    files = site({"a": policy("a")}, line("a", 2))

    assert f"<code>{COMMIT[:10]}</code>".encode() in files["index.html"]
    assert not [target for target in Links(files["index.html"]).targets if COMMIT in target]


@pytest.mark.parametrize("span", [timedelta(minutes=5), HOUR, DAY, 10 * DAY, 60 * DAY, 400 * DAY])
def test_the_axis_has_a_few_labels_whatever_the_span(span: timedelta) -> None:
    """For any span, from minutes to years, the axis has labels but not too many."""
    files = site({"a": policy("a", cryptoperiod=max(span, 7 * DAY))}, line("a", 4, every=span))
    page = files["sets/a/index.html"].decode()

    assert 1 <= page.count('<text class="when"') <= 16


def test_instants_do_not_depend_on_the_language_of_the_machine() -> None:
    """Months have English names, whatever the locale."""
    page = site({"a": policy("a")}, line("a", 4, every=60 * DAY))["sets/a/index.html"].decode()
    labels = re.findall(r'<text class="when"[^>]*>([^<]*)<', page)

    assert {"Dec", "2027"} & {word for label in labels for word in label.split()}


def test_a_post_quantum_key_has_neither_curve_nor_length() -> None:
    """Its page names the key type alone, since ``alg`` determines the rest."""
    key = make.active_key(spec="ML-DSA-44", set_name="pq")
    files = site({"pq": make.set_policy("pq", "ML-DSA-44")}, [key])
    page = files[f"keys/{key.kid}/index.html"].decode()

    assert "ML-DSA-44, AKP, signatures" in page
    assert not [path for path, data in files.items() if b"UNSET" in data]


@pytest.mark.parametrize(
    ("alg", "java", "rejected"),
    [
        ("RS256", "JWSAlgorithm.RS256", None),
        ("EdDSA", "JWSAlgorithm.EdDSA", "EdDSA"),
        ("ML-DSA-44", 'JWSAlgorithm.parse("ML-DSA-44")', "ML-DSA"),
    ],
)
def test_the_java_snippet_names_the_algorithm(alg: str, java: str, rejected: str | None) -> None:
    """An algorithm whose name has a hyphen is no Java identifier; the page says which tokens the library rejects."""
    page = site({"a": make.set_policy("a", alg)}, [make.active_key(spec=alg, set_name="a")])["index.html"].decode()

    assert f"Set.of({java});" in page
    assert re.findall(r"it rejects tokens signed with (\S+)\.</p>", page) == ([rejected] if rejected else [])
