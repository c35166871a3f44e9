"""Wait for something that the ledger knows; nothing here asks 360dialog."""
