"""Data types: requests, replies, exchanges, backends, errors. Imports no other kernel package."""
