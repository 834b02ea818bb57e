"""Key files, and what hides their content."""

import os
import stat

import pytest

from feeds.errors import SecretError
from feeds.record import Redactor
from feeds.secrets import FILE_BYTES_MAX, Credentials, read_credentials

GOOD = 'key = "client-one"\nsecret = "canary-0123456789"\n'


def key_file(tmp_path, text=GOOD, mode=0o600):
    path = tmp_path / "venue.key"
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_key_file_of_its_owner_alone_is_read(tmp_path, mode):
    found = read_credentials(key_file(tmp_path, mode=mode))
    assert found == Credentials("client-one", "canary-0123456789")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o666])
def test_key_file_of_others_as_well_is_refused_and_says_its_mode(tmp_path, mode):
    with pytest.raises(SecretError, match=rf"mode was {mode:04o}, expected 0600"):
        read_credentials(key_file(tmp_path, mode=mode))


@pytest.mark.parametrize(
    "text",
    [
        "canary-0123456789",
        'key = "client-one"\n',
        'key = "client-one"\nsecret = canary-0123456789\n',
        'key = "client-one"\nsecret = "canary-0123456789"\nextra = "canary-0123456789"\n',
        'key = "client-one"\nsecret = ["canary-0123456789"]\n',
        'key = ""\nsecret = "canary-0123456789"\n',
        'key = "client-one"\nsecret = "canary-\\n0123456789"\n',
        'key = "client-one"\nsecret = "canary-é0123456789"\n',
        'key = "client-one"\nsecret = "canary"\n',
        GOOD + "#" * FILE_BYTES_MAX,
        "a = " + "[" * 5_000 + '"canary-0123456789"',
    ],
)
def test_file_that_holds_anything_else_is_refused_without_a_word_of_it(tmp_path, text):
    with pytest.raises(SecretError) as caught:
        read_credentials(key_file(tmp_path, text))
    chain = [caught.value, caught.value.__cause__]
    assert not any("canary" in repr(error) or "canary" in str(error) for error in chain)
    assert str(caught.value).startswith(str(tmp_path))


def test_missing_file_and_a_pipe_are_refused_at_once(tmp_path):
    with pytest.raises(SecretError, match="No such file"):
        read_credentials(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe", stat.S_IRUSR | stat.S_IWUSR)
    with pytest.raises(SecretError, match="not a file"):
        read_credentials(tmp_path / "pipe")


def test_credentials_show_themselves_nowhere():
    one = Credentials("client-one", "canary-0123456789")
    assert f"{one} {one!r}" == "Credentials([redacted]) Credentials([redacted])"


def test_both_halves_and_the_basic_pair_are_hidden_but_no_short_key():
    assert Credentials("client-one", "canary-01").hidden() == (
        "client-one",
        "canary-01",
        "Y2xpZW50LW9uZTpjYW5hcnktMDE=",
    )
    assert "bob" not in Credentials("bob", "canary-01").hidden()


def test_redactor_finds_a_secret_as_it_is_in_json_and_in_a_url():
    redact = Redactor(['a/b"c=canary+1'])
    echoes = [b'a/b"c=canary+1', b'a/b\\"c=canary+1', b"a%2Fb%22c%3Dcanary%2B1"]
    for echo in echoes:
        assert redact(b"<" + echo + b">") == b"<[redacted]>"
    assert redact.text('closed: a/b"c=canary+1 \ud800') == "closed: [redacted] ?"
