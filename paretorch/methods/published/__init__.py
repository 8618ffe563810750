"""Cards of published methods that do not ship, by the component of their main cell."""
