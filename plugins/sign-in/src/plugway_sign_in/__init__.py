"""Claude Code's `/login` to the gateway; see the README."""

from plugway_sign_in._options import OidcOptions, SignInOptions
from plugway_sign_in._plugin import SignIn

__all__ = ["OidcOptions", "SignIn", "SignInOptions"]
