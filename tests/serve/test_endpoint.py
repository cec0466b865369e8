"""Addresses a client can use, and a curl line a shell can run."""

from __future__ import annotations

import json
import shlex

import pytest

from glm_rocm.errors import UsageError
from glm_rocm.serve import check_port
from glm_rocm.serve.endpoint import Endpoint


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000/v1"),
        ("0.0.0.0", "http://127.0.0.1:8000/v1"),
        ("::", "http://[::1]:8000/v1"),
        ("gpu-7.example", "http://gpu-7.example:8000/v1"),
    ],
)
def test_a_wildcard_address_is_listened_on_and_not_connected_to(host: str, url: str) -> None:
    assert Endpoint(host, 8000, "glm-4.6").url == url


def test_curl_line_survives_the_shell_with_quotes_in_the_question() -> None:
    words = shlex.split(Endpoint("127.0.0.1", 8000, "glm-4.6").curl('What\'s 2 + 2 in "Air"?'))
    body = json.loads(words[words.index("-d") + 1])
    assert body == {"model": "glm-4.6", "messages": [{"role": "user", "content": 'What\'s 2 + 2 in "Air"?'}]}


def test_key_is_neither_in_the_curl_line_nor_in_the_repr() -> None:
    endpoint = Endpoint("127.0.0.1", 8000, "glm-4.6", "s3cret-key")
    assert "s3cret-key" not in endpoint.curl("hi") + repr(endpoint)
    assert "$GLM_ROCM_API_KEY" in endpoint.curl("hi")


@pytest.mark.parametrize(("host", "port"), [("192.0.2.1", 8000), ("127.0.0.1", 70000), ("no-such-host.invalid", 8000)])
def test_address_that_is_not_this_machines_is_refused(host: str, port: int) -> None:
    with pytest.raises(UsageError, match="cannot listen on"):
        check_port(host, port)
