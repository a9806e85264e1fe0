"""The demo: one agent asks others to check a folder of Markdown documents."""
