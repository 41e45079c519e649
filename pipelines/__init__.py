"""Storybrush as a library: words become a story, sentences become pictures, pages a book."""
