"""What strangers may do in Firebase: nothing."""

from __future__ import annotations

import json
import os
import re
import urllib.error
import urllib.request

import pytest

from storage.firestore import FirestoreIndex
from tests.storage.books import make_book
from tests.storage.conftest import RULES


def test_strangers_can_neither_read_nor_write_the_list(
    bucket_name: str, firestore_emulator: None
) -> None:
    index = FirestoreIndex(bucket_name, "rules")
    index.put(make_book(), 1, "")
    assert index.editions() == {"0" * 16: 1}
    host = os.environ["FIRESTORE_EMULATOR_HOST"]
    place = f"http://{host}/v1/projects/demo-storybrush/databases/(default)/documents/rules"
    data = json.dumps({"fields": {}}).encode()
    json_body = {"Content-Type": "application/json"}
    for request in (
        urllib.request.Request(f"{place}/{'0' * 16}"),
        urllib.request.Request(place),
        urllib.request.Request(f"{place}/mine", data, json_body, method="PATCH"),
        urllib.request.Request(f"{place}/{'0' * 16}", method="DELETE"),
    ):
        with pytest.raises(urllib.error.HTTPError, match="403") as refused:
            urllib.request.urlopen(request, timeout=20)
        refused.value.close()
    assert index.editions() == {"0" * 16: 1}


@pytest.mark.parametrize("name", ["firestore.rules", "storage.rules"])
def test_every_rule_refuses(name: str) -> None:
    rules = re.sub(r"//.*", "", (RULES / name).read_text())
    assert re.findall(r"allow ([^;]+);", rules) == ["read, write: if false"]
    assert rules.count("{") == rules.count("}")
