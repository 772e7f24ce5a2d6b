"""Results for people: pictures, plots and pages."""
