"""The testing kit for plugins, an alias of the package `plugway-testing`."""

try:
    from plugway_testing import *  # noqa: F403  # pyright: ignore[reportWildcardImportFromLibrary]
    from plugway_testing import __all__ as __all__
except ModuleNotFoundError as error:
    if error.name != "plugway_testing":
        raise
    raise ImportError(
        "`plugway.testing` needs the package `plugway-testing`: `pip install ./plugins/testing`",
        name=error.name,
    ) from None
