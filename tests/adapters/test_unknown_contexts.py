"""A site that takes descriptions with contexts that it does not know, and fetches none."""

import json
import socket
from pathlib import Path

from tests.conformance.wot.things import DirectoryClient, new_id, thing
from tests.running import Gateway


def test_a_site_may_take_contexts_that_it_does_not_know(tmp_path: Path):
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        Gateway(tmp_path, config="[directory]\nunknown_contexts = true\n") as site,
    ):
        listener.settimeout(0.5)
        directory, id_ = DirectoryClient(site), new_id()
        mine = f"http://127.0.0.1:{listener.getsockname()[1]}/context"
        context = ["https://www.w3.org/2022/wot/td/v1.1", mine]
        document = thing(id_, **{"@context": context, "my:x": {"y": 1}})
        assert directory.put(document).status == 201
        view = directory.get(id_).json()
        assert view["my:x"] == {"y": 1}
        assert mine in view["@context"]
        assert json.loads(directory.get(id_, "?view=submitted").body) == document
        try:
            listener.accept()
        except TimeoutError:
            return
        raise AssertionError("the context was fetched")
