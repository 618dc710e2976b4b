"""What models cost: dated prices of vendors, your own prices, and the exact cost of a request."""

from plugway_prices._catalogue import Catalogue
from plugway_prices._money import DOLLAR, dollars, nano_dollars
from plugway_prices._options import PriceOptions, PricesOptions, TierOptions
from plugway_prices._plugin import Prices, TellsPrices, missing_price, prices_in
from plugway_prices._price import FREE, Price, Rates, choices_of

__all__ = [
    "DOLLAR",
    "FREE",
    "Catalogue",
    "Price",
    "PriceOptions",
    "Prices",
    "PricesOptions",
    "Rates",
    "TellsPrices",
    "TierOptions",
    "choices_of",
    "dollars",
    "missing_price",
    "nano_dollars",
    "prices_in",
]
