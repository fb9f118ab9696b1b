"""Templates of a vault: overrides, errors of broken templates, and the sandbox."""

from __future__ import annotations

import re

import pytest

from keyvault.errors import RecordError, RenderError
from keyvault.operations.site import default_templates
from keyvault.site.pages import Templates
from tests import revisions
from tests.errors import fails
from tests.site.vaults import Lab


def test_a_file_of_the_vault_replaces_only_ours_of_that_name(vault: Lab) -> None:
    """If a vault overrides the style sheet, our pages stay, and nothing else of the site changes."""
    before = vault.site()
    vault.commit({"site_template/assets/style.css": "body { color: teal }\n"})
    after = vault.site()
    (old,) = set(before) - set(after)
    (new,) = set(after) - set(before)

    assert re.fullmatch(r"assets/style-[0-9a-f]{10}\.css", old)
    assert re.fullmatch(r"assets/style-[0-9a-f]{10}\.css", new)
    assert after[new] == b"body { color: teal }\n"
    changed = {
        path for path in set(before) & set(after) if before[path].replace(old.encode(), new.encode()) != after[path]
    }
    assert changed == {"index.html", "history.json"}, "the two name the commit"


def test_page_of_the_vault_gets_the_documented_context(vault: Lab) -> None:
    """A page of the vault gets title, url, commit, the issuer with its sets, and the history."""
    vault.commit(
        {
            "site_template/issuer.html": (
                "{{ title }}|{{ url }}|{{ rendered.commit }}|{{ issuer.jwks_uri }}|"
                "{% for set in sets %}{{ set.name }}={{ set.keys[0].kid }}|{% endfor %}"
                "{{ history[0].state }}|{{ history[0].created }}\n"
            )
        }
    )
    access, identity = vault.key("access-token", "active").kid, vault.key("id-token", "active").kid
    page = vault.site()["index.html"].decode()

    assert page.startswith(
        f"Published keys|https://keys.example.com|{vault.head}|https://keys.example.com/.well-known/jwks.json|"
        f"access-token={access}|id-token={identity}|"
    )
    assert page.endswith("|2026-11-23 17:00\n")


def test_pages_may_share_a_base_of_the_vault(vault: Lab) -> None:
    """A vault may have files that its pages extend, include and import; they are not published."""
    vault.commit(
        {
            "site_template/base.html": "<title>{% block title %}{% endblock %}</title>\n",
            "site_template/parts/macros.html": "{% macro shout(text) %}<b>{{ text }}</b>{% endmacro %}",
            "site_template/issuer.html": (
                '{% extends "base.html" %}{% import "parts/macros.html" as parts %}'
                "{% block title %}{{ parts.shout(title) }}{% endblock %}"
            ),
        }
    )
    site = vault.site()

    assert site["index.html"] == b"<title><b>Published keys</b></title>\n"
    assert "base.html" not in site
    assert "parts/macros.html" not in site


def test_assets_that_a_vault_adds_are_published_as_they_are(vault: Lab) -> None:
    """A font of the vault keeps its name, so that a style sheet can load it, and is not treated as a template."""
    data = bytes(range(256)) + b"{{ 7 * 7 }}"
    vault.commit({"site_template/assets/fonts/inter.woff2": data, "site_template/assets/raw.html": "{{ 7 * 7 }}"})
    site = vault.site()

    assert site["assets/fonts/inter.woff2"] == data
    assert site["assets/raw.html"] == b"{{ 7 * 7 }}"


def test_templates_come_from_the_commit_and_not_from_the_work_tree(vault: Lab) -> None:
    """Only committed templates are published: an uncommitted file in the working tree does not count."""
    (vault.folder / "site_template").mkdir()
    (vault.folder / "site_template" / "404.html").write_text("from the work tree")
    expected = vault.site()["404.html"]

    assert b"from the work tree" not in expected
    assert vault.site(worktree=True)["404.html"] == b"from the work tree"


def test_worktree_takes_templates_only(vault: Lab) -> None:
    """With ``--worktree``, templates come from the working tree; keys and policy still come from the commit."""
    policy = vault.folder / "keyvault.toml"
    policy.write_text(policy.read_text().replace("Published keys", "Not committed"))
    (vault.folder / "site_template").mkdir()
    (vault.folder / "site_template" / "404.html").write_text("{{ title }}")

    assert vault.site(worktree=True)["404.html"] == b"Published keys"


def test_worktree_does_not_follow_links(vault: Lab) -> None:
    """A link in the templates of a working tree does not publish its target."""
    secret = vault.folder.parent / "secret.txt"
    secret.write_text("not for the site")
    assets = vault.folder / "site_template" / "assets"
    assets.mkdir(parents=True)
    (assets / "style.css").symlink_to(secret)
    (assets / "more").symlink_to(vault.folder.parent)
    site = vault.site(worktree=True)

    assert not [path for path, data in site.items() if b"not for the site" in data]


def test_link_in_a_commit_is_refused(vault: Lab) -> None:
    """A symbolic link in the templates of a commit is an error that names it."""
    (vault.folder / "site_template").mkdir()
    (vault.folder / "site_template" / "issuer.html").symlink_to("/etc/hostname")
    vault.git("add", "--all")
    vault.git("commit", "--quiet", "-m", "a link")

    with fails("unexpected-mode", RecordError) as caught:
        vault.site()
    assert "site_template/issuer.html" in caught.value.message


# --- broken ones ----------------------------------------------------------------------------------------

BROKEN = {
    "syntax error": ("<p>\n{% if title %}\n<b>\n", "line 2|line 3|line 4", "end of template"),
    "unknown tag": ("<p>\n{% wibble %}\n", "line 2", "unknown tag 'wibble'"),
    "undefined name": ("<p>\n\n{{ titel }}\n", "line 3", "'titel' is undefined"),
    "undefined member": ("<p>\n{{ title.jwks }}\n", "line 2", "has no attribute 'jwks'"),
    "unknown filter": ("<p>\n{{ title | shout }}\n", "line 2", "No filter named 'shout'"),
    "division by zero": ("<p>\n\n\n{{ 1 // 0 }}\n", "line 4", "division"),
    "wrong type": ("<p>\n{{ title + 1 }}\n", "line 2", "str"),
    "missing index": ("<p>\n{{ [1][9] }}\n", "line 2", "no element 9"),
    "call of nothing": ("<p>\n{{ title() }}\n", "line 2", "not callable"),
}


@pytest.mark.parametrize("page", ["issuer.html", "set.html", "key.html", "404.html"])
@pytest.mark.parametrize("case", BROKEN)
def test_broken_template_is_named_with_its_line(vault: Lab, case: str, page: str) -> None:
    """The error of a broken template names the file, the line and the mistake."""
    text, lines, reason = BROKEN[case]
    vault.commit({f"site_template/{page}": text})

    with fails("template-broken", RenderError) as caught:
        vault.site()
    assert re.match(rf"template {page}, ({lines}): ", caught.value.message)
    assert reason in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("directive", ["include", "extends"])
def test_mistake_in_a_file_that_a_page_uses_names_that_file(vault: Lab, directive: str) -> None:
    """If a page includes or extends another file, the error names the file with the mistake."""
    vault.commit(
        {
            "site_template/issuer.html": f'\n\n\n\n{{% {directive} "parts/head.html" %}}\n',
            "site_template/parts/head.html": "<title>\n{{ titel }}\n</title>\n",
        }
    )

    with fails("template-broken", RenderError) as caught:
        vault.site()
    assert caught.value.message == "template parts/head.html, line 2: 'titel' is undefined"


def test_syntax_error_in_an_included_file_names_that_file(vault: Lab) -> None:
    """If an included file does not parse, the error names that file, not the page."""
    vault.commit(
        {"site_template/issuer.html": '{% include "head.html" %}', "site_template/head.html": "\n{{ title \n\n"}
    )

    with fails("template-broken", RenderError) as caught:
        vault.site()
    assert re.match(r"template head\.html, line [23]: ", caught.value.message)


@pytest.mark.parametrize(
    "text",
    [
        '{% extends "frame.html" %}',
        '{% include "frame.html" %}',
        '{% import "frame.html" as base %}',
        '{% from "frame.html" import x %}',
    ],
)
def test_missing_template_is_named(vault: Lab, text: str) -> None:
    """The error names a missing file that a page uses."""
    vault.commit({"site_template/issuer.html": text})

    with fails("template-missing", RenderError) as caught:
        vault.site()
    assert "frame.html" in caught.value.message


def test_templates_without_a_page_are_refused(vault: Lab) -> None:
    """A package without its templates is an error, instead of a site without a page."""
    from keyvault.site.build import build

    templates = {path: data for path, data in default_templates().items() if path != "issuer.html"}

    with fails("template-missing", RenderError) as caught:
        list(build(vault.state, {}, Templates(templates)))
    assert "issuer.html" in caught.value.message


def test_template_that_is_not_utf_8_is_named(vault: Lab) -> None:
    """The error names a template in another encoding."""
    vault.commit({"site_template/404.html": "Schlüssel".encode("latin-1")})

    with fails("template-not-utf8", RenderError) as caught:
        vault.site()
    assert "404.html" in caught.value.message


def test_template_name_with_escapes_is_shown_printable(vault: Lab) -> None:
    """Escapes for the terminal in a file name are shown as text."""
    vault.commit({"site_template/issuer.html": '{% include "\x1b[31mred" %}'})

    with fails("template-missing", RenderError) as caught:
        vault.site()
    assert caught.value.message.endswith(" \\x1b[31mred")


# --- hostile ones ---------------------------------------------------------------------------------------

HOSTILE = {
    "classes": "{{ ''.__class__.__mro__ }}",
    "classes by filter": "{{ ''|attr('__class__') }}",
    "classes by subscript": "{{ ''['__class__'] }}",
    "subclasses": "{{ ().__class__.__base__.__subclasses__() }}",
    "classes by format": "{{ '{0.__class__}'.format(title) }}",
    "classes by format_map": "{{ '{x.__class__}'.format_map({'x': title}) }}",
    "indirect format": "{{ ('{0.__class__}'|attr('format'))(title) }}",
    "globals of a function": "{{ range.__globals__ }}",
    "globals of a builtin": "{{ lipsum.__globals__['os'].popen('id').read() }}",
    "globals of cycler": "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "the template itself": "{{ self.__init__.__globals__ }}",
    "code of a method": "{{ title.upper.__code__ }}",
    "an import": "{{ __import__('os').getcwd() }}",
    "an open": "{{ open('/etc/hostname').read() }}",
    "a module": "{% import 'os' as os %}{{ os.getcwd() }}",
    "a file by its path": '{% include "/etc/hostname" %}',
    "a file by a relative path": '{% include "../keyvault.toml" %}',
    "a list changed": "{{ history.append(1) }}",
    "a list emptied": "{{ history.clear() }}",
    "a dictionary changed": "{{ assets.update({}) }}",
    "a dictionary emptied": "{{ assets.clear() }}",
    "internals of a record": "{{ history[0].__dataclass_fields__ }}",
    "a huge loop": "{% for x in range(10**9) %}x{% endfor %}",
    "a template in itself": '{% include "issuer.html" %}',
    "a macro in itself": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
}


@pytest.mark.parametrize("case", HOSTILE)
def test_template_cannot_reach_out(vault: Lab, case: str) -> None:
    """A template of a vault cannot run code, read files or change data."""
    vault.commit({"site_template/issuer.html": f"\n{HOSTILE[case]}\n"})

    with pytest.raises(RenderError) as caught:
        vault.site()
    assert caught.value.code in ("template-broken", "template-missing")
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 400


def test_safe_filter_is_the_only_way_to_markup(vault: Lab) -> None:
    """Autoescaping is on for every template, including files with odd names."""
    vault.edit_policy('title = "Published keys"', "title = '<b>bold</b>'")
    vault.commit(
        {
            "site_template/issuer.html": '{{ title }}{% include "odd.name.html" %}',
            "site_template/odd.name.html": "{{ title }}{% set t %}{{ title }}{% endset %}{{ t }}",
        }
    )

    assert vault.site()["index.html"].decode() == "&lt;b&gt;bold&lt;/b&gt;" * 3


def test_hostile_tree_with_dot_dot_is_never_written_outside(vault: Lab) -> None:
    """A commit whose tree leaves the templates with ``..`` is refused, and no file is written elsewhere."""

    blob = vault.git("hash-object", "-w", "--stdin", stdin=b"climbed out")
    tree = f"100644 blob {blob}\tescaped.txt\n".encode()
    for name in ("..", "..", "..", "assets", "site_template"):
        oid = vault.git("mktree", "--missing", stdin=tree)
        tree = f"040000 tree {oid}\t{name}\n".encode()
    root = vault.git("ls-tree", "HEAD").encode() + b"\n" + tree
    commit = vault.git("commit-tree", vault.git("mktree", stdin=root), "-p", "HEAD", "-m", "hostile")
    vault.git("update-ref", "refs/heads/main", commit)
    output = vault.folder.parent / "out" / "site"

    with pytest.raises((RenderError, RecordError)):
        revisions.render(vault.context(), output)
    assert not list(vault.folder.parent.rglob("escaped.txt"))
    assert not output.exists()
