"""Agents as clients register and see them."""
