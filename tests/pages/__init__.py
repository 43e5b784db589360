"""Follows the pages for administrators to the letter: see `blocks` for the notation of a page."""
