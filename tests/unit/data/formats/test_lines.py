import pytest

from fm_algo.data.formats import lines
from fm_algo.data.formats.lines import Block, LineCutter
from fm_algo.errors import UserError

BLANK = r"^line {}: blank, expected a row; blank lines may only stand after the last row$"


def cut(*pieces, blank_is_row=False):
    cutter = LineCutter(blank_is_row=blank_is_row)
    blocks = [block for piece in pieces for block in cutter.feed(piece)]
    return [*blocks, *cutter.close()]


def numbered(blocks):
    return [
        (number, line)
        for block in blocks
        for number, line in enumerate(block.text.split(b"\n")[:-1], block.first_line)
    ]


def test_a_line_comes_out_once_it_is_complete():
    cutter = LineCutter()
    assert list(cutter.feed(b"a")) == []
    assert list(cutter.feed(b"b\nc")) == [Block(b"ab\n", 1)]
    assert list(cutter.feed(b"d\ne\n")) == [Block(b"cd\ne\n", 2)]
    assert list(cutter.close()) == []


def test_the_last_line_may_go_without_its_end():
    assert cut(b"a\nb") == [Block(b"a\n", 1), Block(b"b\n", 2)]


def test_no_bytes_are_no_line():
    assert cut() == cut(b"") == cut(b"", b"") == []


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_byte_order_mark_at_the_start_is_passed_over(size):
    data = b"\xef\xbb\xbfa\nb"
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    assert numbered(cut(*pieces)) == [(1, b"a"), (2, b"b")]


@pytest.mark.parametrize("blank_is_row", [False, True])
def test_a_byte_order_mark_alone_is_no_line(blank_is_row):
    assert cut(b"\xef\xbb", b"\xbf", blank_is_row=blank_is_row) == []


def test_a_byte_order_mark_further_on_is_text():
    for pieces in [(b"a\n\xef\xbb\xbf\n",), (b"a\n", b"\xef\xbb\xbf\n")]:
        assert numbered(cut(*pieces)) == [(1, b"a"), (2, b"\xef\xbb\xbf")]


def test_large_text_comes_in_blocks_of_whole_lines(monkeypatch):
    monkeypatch.setattr(lines, "_BLOCK_BYTES", 6)
    assert cut(b"a\nb\nc\nlonger than a block\nd\n") == [
        Block(b"a\nb\nc\n", 1),
        Block(b"longer than a block\n", 4),
        Block(b"d\n", 5),
    ]


@pytest.mark.parametrize("end", [b"\n", b"\n\n", b" \t\r\n", b"\n\r\n  \n"])
def test_blank_lines_may_follow_the_last_row(end):
    assert cut(b"a\n" + end) == [Block(b"a\n", 1)]
    assert cut(b"a\n", *(end[i : i + 1] for i in range(len(end)))) == [Block(b"a\n", 1)]


@pytest.mark.parametrize("blank", [b"", b" ", b"\t\r"])
def test_a_row_after_a_blank_line_is_an_error_after_the_rows_before(blank):
    cutter = LineCutter()
    blocks = cutter.feed(b"a\nb\n" + blank + b"\nc\n")
    assert next(blocks) == Block(b"a\nb\n", 1)
    with pytest.raises(UserError, match=BLANK.format(3)):
        next(blocks)


def test_the_first_of_the_blank_lines_is_named_however_the_bytes_came():
    for pieces in [(b"a\n\n\n\nb",), (b"a\n", b"\n", b"\n\n", b"b"), (b"a\n\n", b"\nb", b"\n")]:
        with pytest.raises(UserError, match=BLANK.format(2)):
            cut(*pieces)


def test_other_white_space_is_not_blank():
    assert numbered(cut(b"a\n\x0b\n")) == [(1, b"a"), (2, b"\x0b")]
    with pytest.raises(UserError, match=BLANK.format(2)):
        cut(b"a\n\n\x0b\n")


def test_a_blank_first_line_is_an_error():
    with pytest.raises(UserError, match=BLANK.format(1)):
        cut(b"\na\n")


def test_blank_lines_are_lines_where_they_are_rows():
    assert numbered(cut(b"\na\n\n", b"\n", blank_is_row=True)) == [
        (1, b""),
        (2, b"a"),
        (3, b""),
        (4, b""),
    ]
