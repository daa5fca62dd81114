"""Values that look like secrets are blanked, other code is left as it is."""

from __future__ import annotations

import time

import pytest

from mlops_jupyter.analysis import redact


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ('password = "hunter22"', "hunter22"),
        ("API_KEY = 'abc123'", "abc123"),
        ('db_password: str = "pw"', '"pw"'),
        ("connect(user='u', password='p w')", "p w"),
        ('{"api_key": "v1", "n": 3}', "v1"),
        ('os.environ["AWS_SECRET_ACCESS_KEY"] = "zz/zz"', "zz/zz"),
        ("%env MY_TOKEN=abcdef", "abcdef"),
        ("!curl --token abcdefg http://h", "abcdefg"),
        ("postgres://user:s3cret@host/db", "s3cret"),
        ("k = 'AKIA" + "A" * 16 + "'", "AKIA"),
        ("k = 'ghp_" + "a" * 36 + "'", "ghp_"),
        ("k = 'sk-" + "a" * 40 + "'", "sk-aaa"),
        ("k = 'hf_" + "a" * 30 + "'", "hf_aaa"),
        ("headers = {'Authorization': 'Bearer " + "x" * 40 + "'}", "xxxxx"),
    ],
)
def test_secrets_are_blanked(text: str, secret: str) -> None:
    assert secret not in redact(text)
    assert "***" in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "max_tokens = 5",
        "tokens = ['a', 'b']",
        "tokenizer = 'bert-base'",
        "for key in keys: print(key)",
        "df.sort_values(key='a')",
        "token = get_token()",
        "password = os.environ['X'] ",
        "url = 'https://host:8080/path'",
        "compass = 'north'",
        "{'password': variable, 'user': 'x'}",
        "x = passes == 'a'",
    ],
)
def test_ordinary_code_is_left_alone(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    "text", ["password_" * 50_000, "a" * 500_000 + "pass", "secret = '" + "x" * 500_000, "token" * 100_000]
)
def test_time_is_linear(text: str) -> None:
    begin = time.perf_counter()
    redact(text)
    assert time.perf_counter() - begin < 5
