"""How bytes and readings arrive. A new kind of source is a new module here."""
