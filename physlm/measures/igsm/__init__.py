"""What is measured on models of iGSM, grade-school mathematics (arXiv 2407.20311 and 2408.16293)."""
