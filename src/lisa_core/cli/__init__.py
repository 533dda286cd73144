"""The command line `lisa`: one thin file per command, mounted in `app.py`."""
