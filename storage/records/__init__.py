"""The records: who, what, when and in which state. SQLite when embedded, PostgreSQL in production.

``schema`` holds the tables, ``database`` connections and transactions, ``roles`` PostgreSQL's
privileges; ``captures``, ``casebook``, ``accounts`` and ``outbox`` read and write by topic,
and ``oversight`` answers questions over many cases.
Every function takes an open connection: the caller decides what belongs to one transaction.
"""
