"""The Messages API as bytes, events and errors; see the README."""
