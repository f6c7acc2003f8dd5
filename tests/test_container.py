import numpy as np
import pytest
import safetensors.numpy

from charrnn.container import NO_DIGEST, layout, pack, sign

TENSORS = {
    "b.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a": np.arange(5, dtype=np.uint8),
    "B": np.float32([1.5]),
    "é": np.zeros((1, 2, 2), np.float32),
}


@pytest.mark.parametrize("metadata", [{"a": 'é "\\'}, {"format": "pt"}], ids=str)
@pytest.mark.parametrize("names", [["b.weight"], ["a"], ["a", "B"], list(TENSORS)], ids=str)
def test_what_is_packed_is_read_by_the_package(names, metadata):
    tensors = {name: TENSORS[name] for name in names}
    read = safetensors.numpy.load(b"".join(pack(tensors, metadata)))
    assert read.keys() == tensors.keys()
    for name, value in tensors.items():
        assert read[name].dtype == value.dtype
        np.testing.assert_array_equal(read[name], value)


def test_ascii_is_packed_as_the_package_does():
    tensors = {name: TENSORS[name] for name in ("b.weight", "a", "B")}
    metadata = {"charrnn": '{"a":"\\u00e9 \\"\\\\"}'}
    expected = safetensors.numpy.save(tensors, metadata=metadata)
    assert b"".join(pack(tensors, metadata)) == expected


def test_layout_leaves_no_gaps():
    specs = {"a": ("F16", (3,)), "b": ("F32", (2, 2)), "c": ("F64", (1,))}
    found = layout(specs)
    assert [(n, e["data_offsets"]) for n, e in found.items()] == [
        ("c", [0, 8]),
        ("b", [8, 24]),
        ("a", [24, 30]),
    ]
    assert layout(specs, ["a", "b", "c"])["b"]["data_offsets"] == [6, 22]


def test_only_the_marked_place_is_signed():
    pieces = pack({"a": TENSORS["a"]}, {"one": NO_DIGEST, "two": "m" * 64, "three": NO_DIGEST})
    before = bytes(pieces[0])
    digest = sign(pieces, "m" * 64)
    assert bytes(pieces[0]) == before.replace(b"m" * 64, digest.encode())
