"""The folder of secrets with which the gateway authenticates at endpoints."""

from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from gateway.identity.endpoint_secrets import Basic, EndpointSecrets, Kept, Secret


def test_secrets_survive_a_restart_and_a_damaged_file(tmp_path: Path, caplog) -> None:
    first = EndpointSecrets(tmp_path)
    kept = Kept("s/lamp#sc", "user:a", Basic("u", "hidden"))
    first.write(kept)
    first.write(Kept("s/lamp#other", "user:a", Basic("u", "v")))
    (tmp_path / "endpoint-secrets" / "x.json").write_text('{"password": "hidden"')
    second = EndpointSecrets(tmp_path)
    second.load()
    assert second.find("s/lamp#sc", "user:a") == Basic("u", "hidden")
    assert second.find("s/lamp#sc", "user:b") is None
    assert len(list(second.of("s/lamp"))) == len(list(second.of(""))) == 2
    assert "x.json" in caplog.text
    assert "hidden" not in caplog.text
    second.erase("s/lamp#sc")
    third = EndpointSecrets(tmp_path)
    third.load()
    assert [one.reference for one in third.of("")] == ["s/lamp#other"]


@given(st.binary(max_size=80) | st.text(max_size=80).map(str.encode))
def test_no_bytes_become_a_secret_that_breaks_a_head(data: bytes) -> None:
    document = {"scheme": "bearer", "token": data.decode("latin-1")}
    try:
        secret: Any = msgspec.convert(document, Secret)
    except msgspec.ValidationError:
        return
    assert not set(secret.token) & set("\r\n\0 ")
