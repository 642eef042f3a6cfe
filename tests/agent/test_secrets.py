from __future__ import annotations

import importlib
import itertools
import json
import random
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import secrets
from agent.secrets import MASK, masked, masked_pieces

LETTERS = string.ascii_letters + string.digits


def token(length: int, alphabet: str = LETTERS) -> str:
    return "".join(random.Random(length).choices(alphabet, k=length))


JWT = f"eyJ{token(20)}.eyJ{token(60)}.{token(43)}"
KEY = f"-----BEGIN RSA PRIVATE KEY-----\n{token(64)}\n{token(64)}=\n-----END RSA PRIVATE KEY-----"
KNOWN = {
    "AWS key": f"AKIA{token(16, string.ascii_uppercase)}",
    "GitHub": f"ghp_{token(36)}",
    "GitHub, fine-grained": f"github_pat_{token(82)}",
    "GitLab": f"glpat-{token(20)}",
    "Slack": f"xoxb-{token(12, string.digits)}-{token(24)}",
    "OpenAI": f"sk-proj-{token(48)}",
    "Anthropic": f"sk-ant-api03-{token(90)}AA",
    "Hugging Face": f"hf_{token(34)}",
    "Google": f"AIza{token(35)}",
    "Stripe": f"sk_live_{token(24)}",
    "npm": f"npm_{token(36)}",
    "PyPI": f"pypi-{token(160)}",
    "JSON web token": JWT,
    "private key": KEY,
    "private key, encrypted": KEY.replace("\n", "\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,AB\n\n", 1),
}
AFTER = {
    "AWS secret": ("aws_secret_access_key = ", token(40)),
    "bearer": ("Authorization: Bearer ", token(20)),
    "basic": ('"Authorization": "Basic ', "dXNlcjpwYXNz"),
    "bare bearer": ("bearer ", token(30)),
    "password of a URL": ("postgres://me:", "hunter2%21"),
    "Slack hook": ("https://hooks.slack.com/services/", f"T{token(8)}/B{token(8)}/{token(24)}"),
}


@pytest.fixture(autouse=True)
def no_secrets_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets.os, "environ", {})


@pytest.mark.parametrize("secret", KNOWN.values(), ids=KNOWN)
def test_known_secrets_go_and_what_is_around_them_stays(secret: str):
    assert masked(f"before {secret} after") == f"before {MASK} after"
    quoted = json.dumps({"content": f"x = '{secret}'\n"})
    assert json.loads(masked(quoted)) == {"content": f"x = '{MASK}'\n"}


def test_a_private_key_without_its_end_goes_with_what_follows():
    assert masked(f"before {KEY[:100]}") == f"before {MASK}"
    assert json.loads(masked(json.dumps([KEY[:100], "after"]))) == [MASK, "after"]


@pytest.mark.parametrize(("stays", "secret"), AFTER.values(), ids=AFTER)
def test_what_names_a_secret_stays(stays: str, secret: str):
    after = "@host/db" if "//me" in stays else '" after'
    assert masked(stays + secret + after) == stays + MASK + after


@pytest.mark.parametrize(
    "text",
    [
        "disk-usage-of-the-whole-thing-in-one-line",
        "def authorization(token): return bearer",
        "https://example.org:8080/a@b",
        "git@github.com:owner/name.git",
        "sk-short",
        "-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----",
        "eyJ is how a token begins",
    ],
)
def test_what_only_looks_like_one_stays(text: str):
    assert masked(text) == text


def test_values_of_secret_variables(monkeypatch: pytest.MonkeyPatch, tmp_path):
    environ = {
        "MY_API_KEY": 'correct horse\n"battery"',
        "DB_PASSWORD": "short",
        "KEYRING": str(tmp_path),
        "LANG": "en_GB.UTF-8",
    }
    monkeypatch.setattr(secrets.os, "environ", environ)
    text = 'correct horse\n"battery" short en_GB.UTF-8 ' + str(tmp_path)

    assert masked(text) == f"{MASK} short en_GB.UTF-8 {tmp_path}"
    assert json.loads(masked(json.dumps(text))) == masked(text)


PIECES = st.lists(
    st.one_of(
        st.sampled_from(
            [*KNOWN.values(), *(a + b for a, b in AFTER.values()), MASK, "sk-", "eyJ", "@", "://u:"]
        ),
        st.text(max_size=12),
    ),
    max_size=8,
)


@given(PIECES)
def test_masking_twice_changes_nothing_more(pieces: list[str]):
    once = masked("".join(pieces))

    assert masked(once) == once


@given(PIECES, st.lists(st.integers(0, 900), max_size=9))
def test_a_secret_across_pieces_goes_and_the_pieces_stay_as_many(pieces: list[str], cuts: list[int]):
    text = "".join(pieces)
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    parts = [text[a:b] for a, b in itertools.pairwise(edges)]
    shown = masked_pieces(parts)

    assert len(shown) == len(parts) and "".join(shown) == masked(text)


PARSER = importlib.import_module("re._parser")
"""Private, and all there is: nothing public tells how a pattern is built."""


def repeats(tree, inside: bool = False, last: bool = True):
    """(is in another repeat, is unbounded, stands at the end) of every repeat that can take more than one."""
    items = list(tree)
    for n, (kind, value) in enumerate(items):
        end = last and n == len(items) - 1
        name = str(kind)
        if name in ("MAX_REPEAT", "MIN_REPEAT"):
            _least, most, body = value
            many = most > 1
            if many:
                yield inside, str(most) == "MAXREPEAT", end
            yield from repeats(body, inside or many, end)
        elif name == "SUBPATTERN":
            yield from repeats(value[-1], inside, end)
        elif name == "BRANCH":
            for branch in value[1]:
                yield from repeats(branch, inside, end)
        elif name in ("ASSERT", "ASSERT_NOT"):
            yield from repeats(value[1], inside, False)


@pytest.mark.parametrize(("stays", "secret"), secrets._PATTERNS)
def test_patterns_are_linear(stays: str, secret: str):
    parsed = PARSER.parse(stays + secret)

    for inside, unbounded, end in repeats(parsed):
        assert not inside and (end or not unbounded)


def test_the_check_of_patterns_can_fail():
    assert (True, True, True) in list(repeats(PARSER.parse("(?:a+)+")))
    assert (False, True, False) in list(repeats(PARSER.parse("a+b")))


@pytest.mark.parametrize(
    "piece", ["-----BEGIN PRIVATE KEY-----", "eyJ-", "a://b:", "sk-", "Bearer ", "AKIA", "://"]
)
def test_a_flood_of_beginnings(piece: str):
    flood = piece * (300_000 // len(piece))

    assert masked(masked(flood)) == masked(flood)
