"""The room score: every OOD score of every sample, higher = more in-distribution."""
