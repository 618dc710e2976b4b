"""Plugway: one local address between an agent client and every model."""
