"""The savings report for people: Markdown, and a page of HTML; both made of the report's JSON."""
