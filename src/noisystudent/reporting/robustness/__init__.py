"""How classifiers stand up to changed pictures, told beside each other: records, table, notes and charts."""
