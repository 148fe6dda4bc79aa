"""From scored runs to statistics: differences, intervals, verdicts, tables."""
