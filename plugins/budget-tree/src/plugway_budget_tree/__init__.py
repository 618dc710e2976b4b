"""A hard limit for a conversation with all its subagents; see the README."""

from plugway_budget_tree._plugin import BudgetTree

__all__ = ["BudgetTree"]
