"""The demo: agents check a folder of Markdown documents for one another."""
