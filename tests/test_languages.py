"""The catalogues of translations: complete, compiled, and consistent with the source."""

import re
from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from babel.messages import Catalog, Message
from babel.messages.extract import DEFAULT_KEYWORDS, extract
from babel.messages.mofile import read_mo
from babel.messages.pofile import read_po
from django.utils import timezone, translation
from django.utils.translation import templatize

from authmodes.models import ago

from .support.logins import PASSWORD

ROOT = Path(__file__).parent.parent
CATALOGUES = sorted(
    path
    for folder in ("authmodes", "example_project")
    for path in (ROOT / folder / "locale").glob("*/LC_MESSAGES/django.po")
)
LANGUAGES = {"ar", "de", "es", "fr", "ja", "pt_BR", "zh_Hans"}
# The plural forms of CLDR's cardinal rules, without those of fractions and of millions.
PLURALS = {"ar": 6, "ja": 1, "zh_Hans": 1}
LAZY = {f"{name}_lazy": spec for name, spec in DEFAULT_KEYWORDS.items() if "gettext" in name}
KEYWORDS: Any = {**DEFAULT_KEYWORDS, **LAZY}
PLACEHOLDER = re.compile(r"%\(\w+\)[a-z]|\{\w+\}|%[sd]")
EACH = pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: str(path.parts[-5:-2:2]))

Key = tuple[str | None, Any]


def strings_of(path: Path) -> Iterator[Key]:
    """Yield the context and the text of each string of a source file, as makemessages does."""
    text = path.read_text()
    if path.suffix != ".py":
        # Of a template, Django leaves the strings; the rest has no meaning and no indentation.
        lines = templatize(text, origin=str(path)).splitlines()
        text = "\n".join(line.strip() for line in lines)
    for _line, text_or_forms, _comments, context in extract(
        "python", BytesIO(text.encode()), keywords=KEYWORDS, options={"encoding": "utf-8"}
    ):
        yield context, text_or_forms


@cache
def source(folder: Path) -> frozenset[Key]:
    suffixes = {".py", ".html", ".txt"}
    files = [each for each in folder.rglob("*") if each.suffix in suffixes]
    return frozenset(key for each in files for key in strings_of(each))


@cache
def catalogue(path: Path) -> Catalog:
    with path.open("rb") as file:
        return read_po(file, locale=path.parts[-3], abort_invalid=True)


def messages(catalog: Catalog) -> list[Message]:
    return [each for each in catalog if each.id]


def key(message: Message) -> Key:
    return message.context, message.id if isinstance(message.id, str) else tuple(message.id)


def forms(message: Message) -> tuple[str, ...]:
    return (message.string,) if isinstance(message.string, str) else tuple(message.string)


class Tags(HTMLParser):
    """The tags of a text, with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[Any] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.found.append((tag, *attrs))

    def handle_endtag(self, tag: str) -> None:
        self.found.append(f"/{tag}")


def test_each_language_has_a_catalogue():
    assert {path.parts[-3] for path in CATALOGUES if path.parts[-5] == "authmodes"} == LANGUAGES


@EACH
def test_a_catalogue_has_each_string_of_the_source_and_no_other(path):
    folder = path.parents[3]
    known = {key(each) for each in messages(catalogue(path))}
    assert known - source(folder) == set(), "no longer in the source"
    assert source(folder) - known == set(), "not in the catalogue"
    assert not catalogue(path).obsolete


@EACH
def test_each_string_is_translated_with_its_placeholders_and_tags(path):
    count = PLURALS.get(path.parts[-3], 2)
    assert catalogue(path).num_plurals == count
    for message in messages(catalogue(path)):
        assert not message.fuzzy, message.id
        plural = not isinstance(message.id, str)
        assert len(forms(message)) == (count if plural else 1), message.id
        of = message.id[-1] if plural else message.id
        for text in forms(message):
            assert text.strip(), message.id
            assert sorted(PLACEHOLDER.findall(text)) == sorted(PLACEHOLDER.findall(of)), text
            assert sorted(map(str, Tags(text).found)) == sorted(map(str, Tags(of).found)), text


@EACH
def test_a_compiled_catalogue_is_that_of_its_source(path):
    with path.with_suffix(".mo").open("rb") as file:
        compiled = read_mo(file)
    assert compiled.plural_forms == catalogue(path).plural_forms
    assert {key(each): forms(each) for each in messages(compiled)} == {
        key(each): forms(each) for each in messages(catalogue(path))
    }


@pytest.mark.parametrize(
    ("language", "text"), [("de", "vor 3 Tagen"), ("ar", "منذ 3 أيام"), ("ja", "3 日前")]
)
def test_a_past_time_is_in_the_case_that_its_sentence_takes(language, text):
    with translation.override(language):
        assert ago(timezone.now() - timedelta(days=3)).replace("\xa0", " ") == text


@pytest.mark.parametrize(
    ("language", "detail"),
    [
        ("de", "Kein aktives Konto mit diesen Zugangsdaten gefunden"),
        ("ar", "لم يتم العثور على حساب نشط للبيانات المقدمة"),
        ("nl", "No active account found with the given credentials"),
    ],
)
def test_an_error_of_the_api_is_in_the_language_of_the_request(
    settings, client, alice, language, detail
):
    settings.MIDDLEWARE = ["django.middleware.locale.LocaleMiddleware", *settings.MIDDLEWARE]
    wrong = {"username": "alice", "password": f"not-{PASSWORD}"}
    # LocaleMiddleware leaves the language of a request behind in its thread.
    with translation.override(None):
        answer = client.post(
            "/auth/login/", wrong, "application/json", headers={"Accept-Language": language}
        )
    assert answer.json() == {"detail": detail, "code": "no_active_account"}
    assert "Accept-Language" in answer["Vary"]


def test_the_error_of_a_long_name_is_in_the_language_of_each_request(settings, client, db):
    """DRF's own text for it keeps the language that it is read in first."""
    settings.MIDDLEWARE = ["django.middleware.locale.LocaleMiddleware", *settings.MIDDLEWARE]
    long = {"username": "a" * 321, "password": PASSWORD}
    told = {}
    with translation.override(None):
        for language in ("de", "en", "ar"):
            answer = client.post(
                "/auth/login/", long, "application/json", headers={"Accept-Language": language}
            )
            told[language] = answer.json()["errors"]["username"]
    assert told["en"] == ["Ensure this field has no more than 320 characters."]
    assert len({str(each) for each in told.values()}) == 3
