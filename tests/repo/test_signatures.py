CODES = set()
