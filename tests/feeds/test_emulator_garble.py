"""Texts made strange or wrong: what changes, and that nothing else does."""

import msgspec
import numpy as np
import pytest

from feeds.emulator.garble import (
    with_strange_entry,
    with_unknown_fields,
    with_wrong_type,
)

FRAME = b'{"a":"t","d":{"p":0.1,"q":[["0.038","200"],[1,2.5]],"n":null,"g":{"delta":-0.5}}}'
LIST = (
    b'{"result":{"note":["x"],"list":[{"kind":"option","name":"B-1","tick":5},'
    b'{"kind":"option","name":"B-2","tick":5}],"page":{"count":2}}}'
)


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_every_object_gets_a_field_and_keeps_its_own_in_order() -> None:
    strange = msgspec.json.decode(with_unknown_fields(FRAME, rng()))
    frames = [strange, strange["d"], strange["d"]["g"]]
    assert [next(iter(found)) for found in frames] == ["a", "p", "delta"]
    assert [len([k for k in f if k.startswith("unknown_")]) for f in frames] == [1, 1, 1]
    for found, fields in zip(frames, ("ad", "pqng", None), strict=True):
        kept = [k for k in found if not k.startswith("unknown_")]
        assert kept == (list(fields) if fields else ["delta"])
    for found in frames:
        for key in [k for k in found if k.startswith("unknown_")]:
            del found[key]
    assert msgspec.json.encode(strange) == FRAME


def test_places_of_strange_fields_vary_with_the_generator() -> None:
    assert len({with_unknown_fields(FRAME, rng(seed)) for seed in range(20)}) > 5


def test_one_leaf_changes_its_type_and_the_rest_stays() -> None:
    def leaves(tree: object, path: str = "") -> dict[str, object]:
        """Leaves of the parts that are there both before and after."""
        if isinstance(tree, dict) and tree:
            return {k: v for key, x in tree.items() for k, v in leaves(x, f"{path}.{key}").items()}
        if isinstance(tree, list) and tree:
            return {k: v for n, x in enumerate(tree) for k, v in leaves(x, f"{path}.{n}").items()}
        return {path: tree}

    before, seen = leaves(msgspec.json.decode(FRAME)), set()
    for seed in range(200):
        after = leaves(msgspec.json.decode(with_wrong_type(FRAME, rng(seed))))
        assert after.keys() == before.keys()
        # By text, because True equals 1.
        (changed,) = [k for k in before if repr(before[k]) != repr(after[k])]
        was, now = before[changed], after[changed]
        number = (int, float)
        assert type(was) is not type(now)
        assert not (type(was) in number and type(now) in number)
        seen.add(changed)
    assert seen == {k for k, v in before.items() if v is not None}


def test_an_instrument_of_unknown_kind_joins_the_list() -> None:
    found = msgspec.json.decode(with_strange_entry(LIST, "kind", "name"))
    assert found["result"]["list"][:2] == msgspec.json.decode(LIST)["result"]["list"]
    assert found["result"]["list"][2:] == [{"kind": "moonshot", "name": "B-1-MOON", "tick": 5}]
    assert found["result"]["page"] == {"count": 3}
    more = LIST.replace(b'"count":2', b'"count":7')  # of something else
    assert b'"count":7' in with_strange_entry(more, "kind", "name")
    assert with_strange_entry(LIST, "type", "name") == LIST


@pytest.mark.parametrize("content", [b"pong", b"", b"\xff\xfe", b'{"a":', b"null"])
def test_what_is_no_json_tree_stays_as_it_is(content: bytes) -> None:
    assert with_unknown_fields(content, rng()) == content
    assert with_wrong_type(content, rng()) == content
    assert with_strange_entry(content, "kind", "name") == content


def test_equal_generators_garble_alike() -> None:
    assert with_wrong_type(FRAME, rng(3)) == with_wrong_type(FRAME, rng(3))
    assert with_unknown_fields(FRAME, rng(3)) == with_unknown_fields(FRAME, rng(3))
    assert with_unknown_fields(b"{}", rng()) == b'{"unknown_0":{"why":[null,"not documented",1.5]}}'
    assert len({with_wrong_type(FRAME, rng(seed)) for seed in range(20)}) > 5
