"""The database behind the ports: tables, the store, the change feed, the event writer and the journal."""
