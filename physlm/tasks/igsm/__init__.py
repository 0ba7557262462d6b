"""iGSM (Part 2): grade-school mathematics with full solutions, its generator and a checker apart from it."""
