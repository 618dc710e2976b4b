"""The plugin base class, hook specifications, the loader, and the gateway as plugins see it."""
