"""`plugway models`."""

import typer

models_app = typer.Typer(name="models", help="Local models.")
