"""x"""

import typer

users_app = typer.Typer()
groups_app = typer.Typer()
