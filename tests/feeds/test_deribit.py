"""Deribit's decoder on recorded frames; expected values are typed in from their text.

The frames lie beside the repository (fixtures/deribit) and are never copied here.
"""

import math

import numpy as np
import pytest

from feeds.events import Flag, FrameKind, Kind
from tests.conftest import shared
from tests.feeds.deribit_frames import clean, decoded, f32, tuples

STREAM = "fixtures/deribit/ws_stream_2021-07-22_options_book_ticker_raw.jsonl"
TARDIS = "fixtures/deribit/ws_samples_tardis_2019-2024.jsonl"
MSGPARSER = "fixtures/deribit/ws_rest_samples_cryptomsgparser_2021-2023.jsonl"
MARKPRICE = "fixtures/deribit/ws_docexample_markprice_options.jsonl"

STREAM_IDS = {
    "ETH-30JUL21-2800-C": 0,
    "BTC-31DEC21-300000-C": 1,
    "BTC-30JUL21-24000-P": 2,
    "BTC-24SEP21-8000-P": 3,
    "BTC-24JUN22-15000-C": 4,
}


def recorded(path: str) -> list[bytes]:
    """Frames as received, cut out of the lines as text: nothing is parsed and printed again."""
    return [
        line[line.index('"msg":') + len('"msg":') : -1].encode()
        for line in shared(path).read_text().splitlines()
        if '"dir":"in"' in line[:120]
    ]


def of_channel(frames: list[bytes], text: str) -> list[bytes]:
    return [frame for frame in frames if text.encode() in frame[:200]]


# ---- recorded stream of 2021 ------------------------------------------------------------------


def test_snapshot_rows_carry_the_recorded_levels_best_first():
    frame = of_channel(recorded(STREAM), '"book.BTC-30JUL21-24000-P.raw"')[0]
    out = clean([frame], STREAM_IDS)
    rows = out.rows.view()
    assert tuples(rows, "side", "level", "price", "size") == [
        (1, 0, 0.002, f32(91.6)),
        (1, 1, 0.0015, f32(56.6)),
        (1, 2, 0.001, f32(65.0)),
        (1, 3, 0.0005, f32(34.5)),
        (-1, 0, 0.0025, f32(13.7)),
        (-1, 1, 0.003, f32(105.5)),
        (-1, 2, 0.0035, f32(78.3)),
        (-1, 3, 0.007, f32(5.0)),
        (-1, 4, 0.0075, f32(0.5)),
        (-1, 5, 0.0095, f32(0.1)),
        (-1, 6, 0.04, f32(2.0)),
    ]
    assert rows["flags"].tolist() == [Flag.SNAPSHOT_START, *[0] * 9, Flag.LAST]
    assert set(rows["kind"].tolist()) == {Kind.BOOK_SNAPSHOT}
    assert set(rows["ex_ns"].tolist()) == {1626993720915000000}
    assert set(rows["rx_ns"].tolist()) == {1000}
    assert set(rows["seq"].tolist()) == {33195892239}
    assert out.frames.view().tolist() == [
        (2, FrameKind.SNAPSHOT, 33195892239, 33195892239, -1, 1000, 0, 11)
    ]


def test_change_with_two_levels_is_one_update_of_absolute_sizes():
    frame = of_channel(recorded(STREAM), '"book.BTC-31DEC21-300000-C.raw"')[1]
    out = clean([frame], STREAM_IDS)
    # One offer is deleted and another appears: a single message, so a single update.
    fields = ("kind", "side", "price", "size", "flags", "level", "seq", "ex_ns")
    delta, change, at = Kind.BOOK_DELTA, 33195896452, 1626993734016000000
    assert tuples(out.rows.view(), *fields) == [
        (delta, -1, 0.0935, 0.0, 0, 0, change, at),
        (delta, -1, 0.093, f32(0.1), Flag.LAST, 0, change, at),
    ]
    assert out.frames.view().tolist() == [
        (1, FrameKind.DELTA, 33195896452, 33195896452, 33195892355, 1000, 0, 2)
    ]


def test_every_recorded_change_follows_the_one_before():
    frames = clean(of_channel(recorded(STREAM), '"book.'), STREAM_IDS).frames.view()
    last: dict[int, int] = {}
    for listing, kind, _, seq_last, seq_prev, *_ in frames.tolist():
        assert seq_prev == (-1 if kind == FrameKind.SNAPSHOT else last[listing])
        last[listing] = seq_last
    assert last == {
        0: 13169031288,
        1: 33195896452,
        2: 33195892239,
        3: 33195898166,
        4: 33190041117,
    }


def dictionary_book(rows: np.ndarray, listing: int) -> dict[int, dict[float, float]]:
    """Oracle: side -> price -> size, applied row by row."""
    book: dict[int, dict[float, float]] = {1: {}, -1: {}}
    for row in rows[rows["listing_id"] == listing]:
        if row["flags"] & Flag.SNAPSHOT_START:
            book = {1: {}, -1: {}}
        book[int(row["side"])][float(row["price"])] = float(row["size"])
        if row["size"] == 0:
            del book[int(row["side"])][float(row["price"])]
    return book


def test_books_at_the_end_of_the_stream_are_those_read_off_the_text():
    rows = clean(of_channel(recorded(STREAM), '"book.'), STREAM_IDS).rows.view()
    # The 0.001 offer of BTC-24SEP21-8000-P comes and goes; its last message deletes it.
    put = dictionary_book(rows, 3)
    assert put[1] == {0.0005: f32(153.1)}
    assert sorted(put[-1].items())[:3] == [(0.0015, f32(94.7)), (0.002, 22.0), (0.0025, 1.0)]
    # One change raises the best bid of ETH-30JUL21-2800-C from 4714 to 4737.
    call = dictionary_book(rows, 0)
    assert sorted(call[1].items(), reverse=True) == [
        (0.0015, 4737.0),
        (0.001, 861.0),
        (0.0005, 1.0),
    ]
    assert min(call[-1].items()) == (0.0025, 873.0)
    assert dictionary_book(rows, 4) == {1: {0.583: 9.0, 0.0005: 1.0}, -1: {0.6235: 9.0}}


def test_the_offer_that_comes_and_goes_is_best_while_it_rests():
    frames = of_channel(recorded(STREAM), '"book.BTC-24SEP21-8000-P.raw"')
    rows = clean(frames[:2], STREAM_IDS).rows.view()
    assert min(dictionary_book(rows, 3)[-1].items()) == (0.001, f32(2.6))


def test_ticker_values_are_the_recorded_ones_with_volatilities_as_fractions():
    frame = of_channel(recorded(STREAM), '"ticker.ETH-30JUL21-2800-C.raw"')[0]
    out = clean([frame], STREAM_IDS)
    assert out.rows.count == 0
    (row,) = out.tickers.view()
    assert (row["rx_ns"], row["ex_ns"], row["listing_id"]) == (1000, 1626993723632000000, 0)
    assert (row["mark"], row["forward"], row["index"]) == (0.001972, 2003.61, 2006.72)
    assert row["iv_bid"] == np.float32(1.1562)
    assert row["iv_ask"] == np.float32(1.2563)
    assert row["iv_mark"] == np.float32(1.2074)
    assert row["delta"] == np.float32(0.03127)
    assert row["gamma"] == np.float32(0.0002)
    assert row["vega"] == np.float32(0.20072)
    assert row["theta"] == np.float32(-1.64029)
    assert (row["open_interest"], row["oi_ns"]) == (12685.0, 1626993723632000000)


def test_recorded_delta_is_the_one_without_premium_adjustment():
    """N(d1) of the recorded forward, strike, volatility and time; a premium would take 0.002."""
    forward, strike, iv = 2003.61, 2800.0, 1.2074
    years = (1627632000000 - 1626993723632) / (365 * 86_400_000)
    deviation = iv * math.sqrt(years)
    d1 = math.log(forward / strike) / deviation + deviation / 2
    assert 0.5 * math.erfc(-d1 / math.sqrt(2)) == pytest.approx(0.03127, abs=2e-5)
    vega_per_point = forward * math.exp(-d1 * d1 / 2) / math.sqrt(2 * math.pi) * math.sqrt(years)
    assert vega_per_point / 100 == pytest.approx(0.20072, abs=2e-4)


def test_whole_stream_decodes_and_only_the_answer_is_left_out():
    out = clean(recorded(STREAM), STREAM_IDS)
    assert out.skipped == {"answer": 1}


# ---- recorded single frames -------------------------------------------------------------------


def test_recorded_perpetual_trades_sell_and_buy_with_their_ids():
    frames = of_channel(recorded(TARDIS), '"trades.BTC-PERPETUAL.raw"')
    out = clean(frames, {"BTC-PERPETUAL": 7})
    fields = ("side", "price", "size", "seq", "ex_ns", "flags", "aux")
    assert tuples(out.rows.view(), *fields) == [
        (-1, 9598.5, 2000.0, 20944815, 1567296022565000000, Flag.LAST, 0),
        (-1, 9598.5, 50.0, 20944816, 1567296022565000000, Flag.LAST, 0),
        (-1, 4469.5, 1120.0, 40781986, 1584058044032000000, Flag.LAST, 0),
        (1, 4458.5, 2500.0, 40782080, 1584058067675000000, Flag.LAST, 0),
    ]
    assert out.trade_keys == [39355898, 39355899, 66460463, 66460626]
    assert out.frames.count == 0


def test_recorded_option_trade_buys_a_tenth_of_a_coin():
    frames = of_channel(recorded(MSGPARSER), '"trades.option.any.raw"')
    out = clean(frames, {"BTC-26MAR21-62000-C": 1})
    assert tuples(out.rows.view(), "kind", "side", "price", "size") == [
        (Kind.TRADE, 1, 0.007, f32(0.1))
    ]
    assert out.trade_keys == [137488100]


def test_recorded_quote_is_a_bid_row_and_an_ask_row():
    frames = of_channel(recorded(TARDIS), '"quote.BTC-PERPETUAL"')
    out = clean(frames, {"BTC-PERPETUAL": 7})
    fields = ("kind", "side", "price", "size", "flags", "ex_ns")
    assert tuples(out.rows.view(), *fields) == [
        (Kind.QUOTE, 1, 9600.5, 162800.0, 0, 1567296000183000000),
        (Kind.QUOTE, -1, 9601.0, 49710.0, Flag.LAST, 1567296000183000000),
    ]


def test_recorded_books_of_2019_have_no_type_and_are_told_apart_by_the_previous_id():
    frames = of_channel(recorded(TARDIS), '"book.ETH-PERPETUAL.raw"')
    out = clean(frames, {"ETH-PERPETUAL": 2})
    assert out.frames.view().tolist() == [
        (2, FrameKind.SNAPSHOT, 1776289261, 1776289261, -1, 1000, 0, 4),
        (2, FrameKind.DELTA, 1776294623, 1776294623, 1776294621, 1001, 4, 7),
    ]
    assert tuples(out.rows.view()[4:], "side", "price", "size", "flags") == [
        (1, 217.8, 0.0, 0),
        (-1, 219.2, 64903.0, 0),
        (-1, 219.1, 19343.0, Flag.LAST),
    ]


def test_recorded_snapshot_with_a_previous_id_still_starts_the_chain():
    frames = of_channel(recorded(TARDIS), '"book.LINK_USDC-PERPETUAL.raw"')
    out = clean(frames, {"LINK_USDC-PERPETUAL": 3})
    assert out.frames.view().tolist() == [
        (3, FrameKind.SNAPSHOT, 1232767964, 1232767964, -1, 1000, 0, 5)
    ]
    assert tuples(out.rows.view(), "side", "level", "price", "size")[0] == (1, 0, 7.562, 34.0)
    assert set(out.rows.view()["side"].tolist()) == {1}


def test_recorded_window_is_a_whole_book():
    frames = of_channel(recorded(MSGPARSER), '"book.BTC-30SEP22-60000-C.none.20.100ms"')
    out = clean(frames, {"BTC-30SEP22-60000-C": 5})
    assert tuples(out.rows.view(), "side", "level", "price", "size", "flags") == [
        (1, 0, 0.011, f32(15.4), Flag.SNAPSHOT_START),
        (1, 1, 0.0105, f32(42.2), 0),
        (1, 2, 0.01, f32(4.1), 0),
        (-1, 0, 0.012, f32(10.2), 0),
        (-1, 1, 0.0125, f32(16.6), 0),
        (-1, 2, 0.013, f32(44.4), Flag.LAST),
    ]
    assert out.frames.view().tolist() == [
        (5, FrameKind.WINDOW, 45176637818, 45176637818, -1, 1000, 0, 6)
    ]


def test_recorded_ticker_of_a_settled_option_has_no_price_and_no_bid_volatility():
    frames = of_channel(recorded(TARDIS), '"ticker.BTC-8JUN20-8750-P.raw"')
    (row,) = clean(frames, {"BTC-8JUN20-8750-P": 0}).tickers.view()
    assert math.isnan(row["mark"])
    assert math.isnan(row["iv_bid"])
    assert row["iv_ask"] == 5.0
    assert row["iv_mark"] == np.float32(0.7)
    assert (row["forward"], row["index"], row["open_interest"]) == (9724.48, 9729.25, 0.0)
    assert (row["delta"], row["vega"]) == (0.0, 0.0)  # greeks rounded to 0 are values


def test_recorded_ticker_without_any_quote_keeps_the_mark():
    frames = of_channel(recorded(TARDIS), '"ticker.ETH-10JUN20-270-C.raw"')
    (row,) = clean(frames, {"ETH-10JUN20-270-C": 0}).tickers.view()
    assert (row["mark"], row["iv_mark"]) == (0.000632, np.float32(0.7296))
    assert math.isnan(row["iv_bid"])
    assert math.isnan(row["iv_ask"])


def test_recorded_linear_option_with_a_fractional_strike():
    frames = of_channel(recorded(TARDIS), '"ticker.MATIC_USDC-9MAR24-1d02-C.raw"')
    (row,) = clean(frames, {"MATIC_USDC-9MAR24-1d02-C": 9}).tickers.view()
    assert (row["listing_id"], row["mark"], row["index"]) == (9, 0.139, 1.1367)
    assert row["iv_mark"] == np.float32(2.0964)
    assert row["gamma"] == np.float32(1.70098)


def test_recorded_perpetual_ticker_has_neither_forward_nor_greeks():
    frames = of_channel(recorded(TARDIS), '"ticker.BTC-PERPETUAL.raw"')
    first, second = clean(frames, {"BTC-PERPETUAL": 0}).tickers.view()
    assert (first["mark"], first["index"], first["open_interest"]) == (
        10094.1,
        10091.15,
        66128281.0,
    )
    assert (second["mark"], second["index"]) == (8304.39, 8305.94)
    assert all(
        math.isnan(first[name]) for name in ("forward", "delta", "vega", "iv_mark", "iv_bid")
    )


def test_tickers_of_combinations_are_left_out_negative_volatility_and_all():
    out = clean(of_channel(recorded(TARDIS), "ticker.BTC-CSR12") + recorded(TARDIS)[12:13], {})
    assert out.tickers.count == 0
    assert out.skipped == {"unknown_symbol": 2}


def test_documented_mark_prices_are_fractions_already():
    symbols = {"BTC-2JUN21-37000-P": 0, "BTC-1JUN21-37000-C": 1}
    out = clean(recorded(MARKPRICE), symbols)
    assert tuples(out.tickers.view(), "listing_id", "mark", "iv_mark", "ex_ns") == [
        (0, 0.0333, f32(0.9), 1622470378005000000),
        (1, 0.0098, f32(0.9), 1622470378005000000),
    ]
    assert np.isnan(out.tickers.view()["open_interest"]).all()
    assert out.tickers.view()["oi_ns"].tolist() == [0, 0]
    assert out.skipped == {"unknown_symbol": 3}


@pytest.mark.parametrize("path", [STREAM, TARDIS, MSGPARSER, MARKPRICE])
def test_no_recorded_frame_is_an_error(path):
    out = decoded(recorded(path), {})
    assert out.errors == []
    assert out.skipped["unknown_symbol"] > 0


@pytest.mark.parametrize(
    ("name", "skipped"),
    [
        ("nautilus_ws_subscribe_response.json", {"answer": 1}),
        ("nautilus_ws_error.json", {"answer": 1}),
        ("nautilus_ws_test_request.json", {"heartbeat": 1}),
    ],
)
def test_session_frames_are_no_market_data(name, skipped):
    assert clean([shared(f"fixtures/deribit/{name}").read_bytes()], {}).skipped == skipped


def test_indented_frames_decode_like_plain_ones():
    window = shared("fixtures/deribit/nautilus_ws_book_grouped_snapshot.json").read_bytes()
    quote = shared("fixtures/deribit/nautilus_ws_quote.json").read_bytes()
    out = clean([window, quote], {"BTC-PERPETUAL": 0})
    rows = tuples(out.rows.view(), "kind", "side", "price", "size")
    assert rows[0] == (Kind.BOOK_SNAPSHOT, 1, 89532.5, 254900.0)
    assert rows[10] == (Kind.BOOK_SNAPSHOT, -1, 89533.0, 91570.0)
    assert rows[20:] == [(Kind.QUOTE, 1, 92288.0, 133440.0), (Kind.QUOTE, -1, 92288.5, 99470.0)]
    assert out.frames.view()["kind"].tolist() == [FrameKind.WINDOW]
