"""How classifiers stand up to changed images, told beside each other: records, table, notes and charts."""
