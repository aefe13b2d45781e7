"""From raw records to a :class:`cmust.city.City`."""
