"""Who pays for what: the credits ledger, prices, and what callers see of both."""
