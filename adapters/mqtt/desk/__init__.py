"""What packets mean: who a client is, topics as names, calls, offers, subscriptions."""
