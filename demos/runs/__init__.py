"""What the buttons of each tab set going, as generators of plain values; no widget is known here."""
