"""Data types: requests, replies, events and errors. Imports no other package of the kernel."""
