"""Text in a vault stays text on the page: it changes no element, attribute or script."""

from __future__ import annotations

import dataclasses
import json
from html.parser import HTMLParser

import msgspec
import pytest

from keyvault.core.keys import Key
from keyvault.core.text import printable
from keyvault.errors import ConfigError, UsageError
from keyvault.operations import keys, rotation
from keyvault.operations.site import default_templates
from keyvault.site.build import build
from keyvault.site.headers import CSP
from keyvault.site.pages import Templates
from tests.errors import fails
from tests.site.vaults import EC_SETS, HOUR, Lab, MakeVault, new_lab

BENIGN = "harmless"
PAYLOADS = {
    "script": "<script>alert(1)</script>",
    "attribute": '"><img src=x onerror=alert(1)>',
    "single quote": "' onmouseover='alert(1)",
    "end of style and title": "</title></style></textarea><svg onload=alert(1)>",
    "comment": "<!--",
    "end of comment": "--><b>",
    "cdata": "<![CDATA[<b>",
    "expression": "{{7*7}}",
    "statement": "{% for x in range(9) %}x{% endfor %}",
    "template comment": "{# gone #}",
    "workflow": "${{ github.token }}",
    "entity": "&lt;script&gt;&#60;b&#62;",
    "meta": '<meta http-equiv="refresh" content="0;url=https://evil.example">',
    "base": '<base href="https://evil.example/">',
    "link": '<a href="javascript:alert(1)">x</a>',
    "script URL": "javascript:alert(1)",
}
RIGHT_TO_LEFT = "see \u202egnp.exe"


class Structure(HTMLParser):
    """The tags and the text of a page, as a browser parses them."""

    def __init__(self, page: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs)
        self.parts.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        self.parts.append(("/" + tag, {}))

    def handle_comment(self, data: str) -> None:
        self.parts.append(("comment", {"data": data}))

    def unknown_decl(self, data: str) -> None:
        self.parts.append(("declaration", {"data": data}))

    def handle_pi(self, data: str) -> None:
        self.parts.append(("instruction", {"data": data}))

    def handle_data(self, data: str) -> None:
        self.text += data


def fill_texts(lab: Lab, text: str) -> None:
    """Write *text* into every text field that pages show."""
    lab.edit_policy('title = "Published keys"', f"title = {json.dumps(text)}")
    lab.rotate("id-token")
    lab.wait(HOUR)
    rotation.rollback(lab.context(), "id-token", note=text)
    lab.wait(HOUR)
    rotation.rotate(lab.context(), ["access-token"], forced=text)
    rotation.revoke(lab.context(), lab.key("access-token", "retiring").kid, reason="compromised", note=text)
    keys.remove_set(lab.context(), "access-token", forced=text)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A vault whose text fields are all harmless."""
    lab = new_lab(tmp_path_factory.mktemp("story") / "vault", *EC_SETS)
    fill_texts(lab, BENIGN)
    return lab


def with_text(story: Lab, text: str) -> dict[str, bytes]:
    """Return the site of *story*, with *text* in place of each harmless text."""
    state = story.state
    site = dataclasses.replace(state.policy.site, title=text)

    def changed(key: Key) -> Key:
        data = msgspec.json.encode(key).replace(json.dumps(BENIGN).encode(), msgspec.json.encode(text))
        return msgspec.json.decode(data, type=Key)

    state = dataclasses.replace(
        state,
        policy=dataclasses.replace(state.policy, site=site),
        keys={kid: changed(key) for kid, key in state.keys.items()},
    )
    return dict(build(state, story.repository.event_commits(state.commit), Templates(default_templates())))


def pages_of(site: dict[str, bytes]) -> list[str]:
    """Return the paths of all pages."""
    return [path for path in site if path.endswith(".html")]


@pytest.mark.parametrize("payload", [*PAYLOADS.values(), RIGHT_TO_LEFT], ids=[*PAYLOADS, "right to left"])
def test_text_changes_no_element_and_no_attribute(story: Lab, payload: str) -> None:
    """Every page has the same elements and attributes as with harmless text, and shows the text unchanged."""
    benign_site, hostile_site = story.site(), with_text(story, payload)
    shown = 0
    assert set(benign_site) == set(hostile_site)
    for page in pages_of(benign_site):
        benign, hostile = Structure(benign_site[page]), Structure(hostile_site[page])

        expected = [
            (tag, {name: value and value.replace(BENIGN, printable(payload)) for name, value in attributes.items()})
            for tag, attributes in benign.parts
        ]
        assert hostile.parts == expected, page
        assert hostile.text == benign.text.replace(BENIGN, printable(payload)), page
        shown += benign.text.count(BENIGN)
    assert shown > len(pages_of(benign_site))


def test_text_is_only_in_attributes_for_text(story: Lab) -> None:
    """Text of a vault is in the meta description, and in no link, class or handler."""
    found = {
        (tag, name)
        for page in pages_of(story.site())
        for tag, attributes in Structure(story.site()[page]).parts
        for name, value in attributes.items()
        if value and BENIGN in value
    }

    assert found == {("meta", "content")}


def test_every_field_reaches_a_page(story: Lab) -> None:
    """The comparison above is not empty: pages show the title, two notes, the note of a revocation, and two reasons."""
    site = story.site()
    shown = [Structure(site[page]).text for page in pages_of(site)]

    assert all(BENIGN in text for text in shown), "the title"
    for words in ("Resumed signing\n", "Revoked: compromised", "Overrode a safety gate: harmless"):
        assert any(words.strip() in text for text in shown), words
    rolled_back = Structure(site[f"keys/{story.key('id-token', 'active').kid}/index.html"]).text
    assert rolled_back.count(BENIGN) == 3, "twice the title, and its event"


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
def test_text_is_itself_in_history_json(story: Lab, payload: str) -> None:
    """history.json has the text unchanged: only pages escape it."""
    found = json.loads(with_text(story, payload)["history.json"])

    assert found["title"] == payload
    notes = {event.get("note") for key in found["keys"] for event in key["events"]}
    assert notes == {None, payload}


def test_commands_take_payloads_as_text(make_vault: MakeVault) -> None:
    """A payload that goes through commands and commits is text on the page."""
    lab = make_vault()
    fill_texts(lab, PAYLOADS["attribute"])
    site = lab.site()
    structures = [Structure(site[page]) for page in pages_of(site)]

    assert not [part for page in structures for part in page.parts if part[0] in ("img", "iframe", "object")]
    assert all(part[1].get("src") for page in structures for part in page.parts if part[0] == "script")
    assert sum(page.text.count(PAYLOADS["attribute"]) for page in structures) >= 6


def test_right_to_left_text_is_refused_where_it_is_typed(vault: Lab) -> None:
    """Commands and policy refuse text that would reverse the direction of a page."""
    kid = vault.key("id-token", "next").kid
    with fails("text-invalid", UsageError) as caught:
        rotation.revoke(vault.context(), kid, reason="compromised", note=RIGHT_TO_LEFT)
    assert caught.value.message == "--note must be one line of 1 to 500 printable characters"

    vault.edit_policy('title = "Published keys"', f'title = "{RIGHT_TO_LEFT}"')
    with fails("policy-member-invalid", ConfigError) as caught:
        vault.site()
    assert "title in [site]" in caught.value.message


def test_pages_have_no_inline_script_or_style(story: Lab) -> None:
    """Our own pages follow their strict CSP: no inline script, style or handler, and no other host."""
    site = story.site()
    for page in pages_of(site):
        structure = Structure(site[page])
        root = "/" if page == "404.html" else "../" * page.count("/")
        for tag, attributes in structure.parts:
            assert tag not in ("style", "iframe", "object", "embed", "base", "form")
            assert not [name for name in attributes if name.startswith("on") or name == "style"]
            if tag in ("script", "img") or (tag == "link" and attributes["rel"] in ("icon", "stylesheet")):
                assert str(attributes.get("href", attributes.get("src"))).startswith(root + "assets/")


def test_meta_policy_says_what_the_header_says(story: Lab) -> None:
    """Pages contain the policy, too, for hosts that send no headers."""
    structure = Structure(story.site()["index.html"])
    metas = [attributes for tag, attributes in structure.parts if tag == "meta"]
    (policy,) = [str(meta["content"]) for meta in metas if meta.get("http-equiv") == "Content-Security-Policy"]

    assert "default-src 'none'" in policy
    assert CSP.startswith(policy)
