"""How the processes of a job find each other, look at their nodes, and part."""
