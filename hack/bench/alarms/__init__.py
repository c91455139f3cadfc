"""How far alarms of a monitor can be believed, and how fast it is: false alarms, delay, and Evidently beside it."""
