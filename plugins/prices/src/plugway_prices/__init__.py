"""What models cost: dated prices of vendors, your own prices, and the exact cost of a request."""

from plugway_prices._catalogue import Catalogue
from plugway_prices._media import (
    DOCUMENT_TOKENS,
    IMAGE_TOKENS,
    Media,
    blocks_in,
    media_in,
    replies_in,
)
from plugway_prices._money import DOLLAR, dollars, nano_dollars
from plugway_prices._options import PriceOptions, PricesOptions, TierOptions
from plugway_prices._plugin import Prices, TellsPrices, missing_price, prices_in
from plugway_prices._price import FREE, LONG, Price, Rates, choices_of

__all__ = [
    "DOCUMENT_TOKENS",
    "DOLLAR",
    "FREE",
    "IMAGE_TOKENS",
    "LONG",
    "Catalogue",
    "Media",
    "Price",
    "PriceOptions",
    "Prices",
    "PricesOptions",
    "Rates",
    "TellsPrices",
    "TierOptions",
    "blocks_in",
    "choices_of",
    "dollars",
    "media_in",
    "missing_price",
    "nano_dollars",
    "prices_in",
    "replies_in",
]
