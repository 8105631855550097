"""JSONPath (RFC 9535): the fast forms say what the library says, and hostile queries end."""

from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.search.columns import COLUMNS, Columns
from registry.search.forms import selected
from registry.search.jsonpath import compile_query
from registry.search.problems import InvalidQuery

NAMES = st.sampled_from(["a", "b", "c"])
SCALARS = st.sampled_from(
    [None, True, False, 0, 1, 2, 1.0, 1.5, "", "x", "xy", "x\n", "xyz\r", "0", "1", "true"]
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
DOCUMENTS = st.lists(st.dictionaries(NAMES, VALUES, max_size=3) | VALUES, max_size=6)
LITERALS = st.sampled_from(["null", "true", "false", "0", "1", "1.0", "1.5", "'x'", "''", "'1'"])
SINGULAR = st.lists(NAMES, min_size=1, max_size=3).map(lambda names: "@." + ".".join(names))
WILD = st.lists(NAMES | st.just("*"), min_size=1, max_size=3).map(lambda n: "@." + ".".join(n))
TERMS = st.one_of(
    st.builds("{} == {}".format, SINGULAR, LITERALS),
    st.builds("{1} == {0}".format, SINGULAR, LITERALS),
    WILD,
    st.builds("match({}, '{}.*')".format, SINGULAR, st.sampled_from(["x", "xy", "1", "t"])),
    st.builds("{}[?{} == {}]".format, SINGULAR, SINGULAR, LITERALS),
)
FILTERS = st.lists(TERMS, min_size=1, max_size=3).map(lambda terms: f"$[?{' && '.join(terms)}]")
QUERIES = st.builds(
    "{}{}".format,
    FILTERS | st.sampled_from(["$.*", "$[*]"]),
    st.lists(NAMES.map(".{}".format), max_size=2).map("".join),
)


@given(QUERIES, DOCUMENTS)
def test_a_fast_form_finds_what_the_library_finds(text, documents):
    query = compile_query(text)
    form = query.form()
    assert form is not None, "every query here has a form"
    expected = list(query.find(documents))
    found = [value for document in documents for value in selected(form, document)]
    assert msgspec.json.encode(found) == msgspec.json.encode(expected)


@given(QUERIES, DOCUMENTS, st.data())
def test_columns_find_the_same_while_documents_come_and_go(text, documents, data):
    form = compile_query(text).form()
    columns = Columns()
    kept = {}
    for document in documents:
        id_ = f"d{data.draw(st.integers(0, 3))}"
        if data.draw(st.booleans()):
            for path in columns.missing(form):
                for _ in columns.build(path):
                    pass
        if data.draw(st.integers(0, 3)) == 0:
            columns.remove(id_)
            kept.pop(id_, None)
        else:
            columns.put(id_, msgspec.json.encode(document))
            kept[id_] = document
    for path in columns.missing(form):
        for _ in columns.build(path):
            pass
    bare = form._replace(projection=())
    expected = {id_ for id_, document in kept.items() if list(selected(bare, document))}
    assert set(columns.matching(form)) == expected


def test_a_column_sees_what_changes_while_it_is_made():
    columns = Columns()
    for number in range(4):
        columns.put(f"d{number}", b'{"a":1}')
    form = compile_query("$[?@.a==1]").form()
    building = columns.build(form.tests[0].path)
    next(building)
    columns.put("d0", b'{"a":2}')
    columns.put("d9", b'{"a":1}')
    columns.remove("d1")
    columns.remove("d2")
    for _ in building:
        pass
    assert set(columns.matching(form)) == {"d3", "d9"}
    with pytest.raises(KeyError):
        columns.matching(compile_query("$[?@.b==1]").form())


def test_only_so_many_columns_are_kept():
    columns = Columns()
    columns.put("d", b'{"a":1}')
    for number in range(COLUMNS + 1):
        for _ in columns.build((f"a{number}",)):
            pass
    assert columns.missing(compile_query("$[?@.a0]").form()) == [("a0",)]
    assert columns.missing(compile_query("$[?@.a1]").form()) == []


@pytest.mark.parametrize(
    "text",
    ["$..title", "$[0]", "$", "$[?@.a || @.b]", "$[?@.a > 1]", "$[?@.a == @.b]", "$[0:2]",
     "$[?search(@.a, 'x')]", "$[?match(@.a, 'x+.*')]", "$[?length(@.a) == 1]", "$['a','b']",
     "$[?@.a].*", "$[?@]", "$[?@.a == $.b]", "$[?" + " && ".join(["@.a"] * 9) + "]"],
)  # fmt: skip
def test_other_queries_have_no_fast_form(text):
    assert compile_query(text).form() is None


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("$[?@.a ==]", 1),
        ("title", 1),
        ("$[?foo(@.a)]", 1),
        ("$[?@.*==1]", 1),
        ("$\n[?foo(@.a)]", 2),
    ],
)
def test_what_is_no_query_is_refused_with_its_place(text, place):
    with pytest.raises(InvalidQuery) as refused:
        compile_query(text)
    assert refused.value.line == place
    assert refused.value.column >= 1


@pytest.mark.parametrize(
    "text",
    [
        "$" + "[?@" * 60,
        "$[?" + "!" * 2000 + "@.a]",
        "$" + ".a" * 4096,
        "$[99999999999999999]",
        "$[?@.a==1e999999999]",
        "",
        "\ud800",
    ],
)
def test_hostile_queries_are_refused(text):
    with pytest.raises(InvalidQuery):
        compile_query(text)


@given(st.text(max_size=60) | st.text("$[]?@.*'\"()!=<>&|ab1, ", max_size=40).map("${}".format))
def test_any_text_is_a_query_or_refused(text):
    with suppress(InvalidQuery):
        list(compile_query(text).find([{"a": 1}]))


def test_deep_documents_end_with_an_error():
    deep = []
    for _ in range(500):
        deep = [deep]
    with pytest.raises(InvalidQuery, match=r"recursion|deep"):
        list(compile_query("$..a").find(deep))
