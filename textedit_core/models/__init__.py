"""The networks behind the methods, as frozen dataclasses, and the zoo that loads them."""
