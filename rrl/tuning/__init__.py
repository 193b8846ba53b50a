"""The loop of tuning: episodes, what they cost, what can be set, and who asks whom."""
