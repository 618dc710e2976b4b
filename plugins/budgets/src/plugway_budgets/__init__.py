"""Budgets in dollars and tokens, and rates, for people, groups and keys."""

from plugway_budgets._options import BudgetsOptions
from plugway_budgets._owners import Member, Owner, owner_of
from plugway_budgets._plugin import Budgets

__all__ = ["Budgets", "BudgetsOptions", "Member", "Owner", "owner_of"]
