"""Many runs: which they are, where each stands, and who trains them."""
