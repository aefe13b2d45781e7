"""One small file per public source: from its files as published to a :class:`cmust.city.City`."""
