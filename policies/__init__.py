"""The brain: pure functions and value objects for acceptance, policy and decision. No I/O, no clock."""
