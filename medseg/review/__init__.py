"""The local web application in which people look at masks, mend them and give verdicts."""
